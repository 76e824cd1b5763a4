package netstack

import (
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/waiter"

	"shardnet/stack/flow"
)

// notifier carries readiness from a netstack waiter queue to the function set by
// Notify, or to the task set by Flow.Serve. Every socket embeds it.
type notifier struct {
	n      *Netstack
	wq     *waiter.Queue
	entry  waiter.Entry
	fn     atomic.Pointer[func(flow.Events)]
	task   atomic.Pointer[flow.Task]
	posted atomic.Bool // task is on the shard's list
}

const notifyMask = waiter.ReadableEvents | waiter.WritableEvents | waiter.EventHUp | waiter.EventErr | waiter.EventRdHUp

// init has l, which is s or embeds it, listen to wq.
func (s *notifier) init(n *Netstack, wq *waiter.Queue, l waiter.EventListener) {
	s.n, s.wq = n, wq
	s.entry.Init(l, notifyMask)
	wq.EventRegister(&s.entry)
}

// NotifyEvent implements waiter.EventListener. It is called with the endpoint's
// lock held.
func (s *notifier) NotifyEvent(mask waiter.EventMask) {
	if s.task.Load() != nil {
		if !s.posted.Swap(true) {
			s.n.cfg.Shard.Post(s)
		}
	} else if f := s.fn.Load(); f != nil {
		s.n.cfg.Shard.NoteWoken()
		(*f)(eventsOf(mask))
	}
}

// RunOnShard implements flow.Task: it runs the socket's own.
func (s *notifier) RunOnShard() {
	s.posted.Store(false)
	if t := s.task.Load(); t != nil {
		s.n.cfg.Running.Task = *t
		(*t).RunOnShard()
	}
}

// set installs f, and only then asks what is ready already, so that no event
// falls between the two.
func (s *notifier) set(f func(flow.Events), ep tcpip.Endpoint) {
	if f == nil {
		s.fn.Store(nil)
		return
	}
	s.fn.Store(&f)
	if ev := eventsOf(ep.Readiness(notifyMask)); ev != 0 {
		f(ev)
	}
}

// Serve implements flow.Flow and flow.Listener: it installs t and posts it once, for what is
// ready already.
func (s *notifier) Serve(t flow.Task) {
	s.task.Store(&t)
	s.NotifyEvent(0)
}

func (s *notifier) stop() {
	s.wq.EventUnregister(&s.entry)
	s.fn.Store(nil)
}

func eventsOf(m waiter.EventMask) (ev flow.Events) {
	if m&(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr|waiter.EventRdHUp) != 0 {
		ev |= flow.Readable
	}
	if m&(waiter.WritableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		ev |= flow.Writable
	}
	if m&waiter.EventHUp != 0 {
		ev |= flow.Closed
	}
	return ev
}
