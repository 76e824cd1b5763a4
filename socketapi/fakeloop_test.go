package socketapi

import (
	"errors"
	"shardnet/stack/flow"
	"sync"
	"sync/atomic"
	"time"
)

// fakeLoop is the loop of a fake shard: a goroutine that runs tasks, from the
// first one to the end of the host.
type fakeLoop struct {
	mu      sync.Mutex
	cond    *sync.Cond
	tasks   []flow.Task
	running []flow.Task
	started bool
	over    bool
	dead    bool // fails: runs nothing more
	last    map[*fakeLast]struct{}
	done    chan struct{}
}

type fakeLast struct{ flow.Task }

// Post implements shard.
func (sh *fakeShard) Post(t flow.Task) {
	l := &sh.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	l.start()
	l.tasks = append(l.tasks, t)
	l.cond.Signal()
}

func (l *fakeLoop) start() {
	if !l.started {
		l.started = true
		l.cond = sync.NewCond(&l.mu)
		l.done = make(chan struct{})
		go l.run()
	}
}

// AtEnd implements shard.
func (sh *fakeShard) AtEnd(t flow.Task) (cancel func()) {
	l := &sh.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		panic("AtEnd on a closed host") // which binds no sockets
	}
	l.start()
	last := &fakeLast{t}
	if l.last == nil {
		l.last = make(map[*fakeLast]struct{})
	}
	l.last[last] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.last, last)
	}
}

// AfterFunc implements shard.
func (sh *fakeShard) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	var over atomic.Bool
	t := time.AfterFunc(d, func() {
		sh.Post(taskFunc(func() {
			if !over.Swap(true) {
				f()
			}
		}))
	})
	return func() bool {
		t.Stop()
		return !over.Swap(true)
	}
}

// HandleDatagrams implements flow.PacketFlow.
func (p *fakePacketFlow) HandleDatagrams(flow.DatagramHandler) error {
	return errors.New("fake hosts have no frames")
}

func (l *fakeLoop) run() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.tasks) == 0 && !l.over {
			l.cond.Wait()
		}
		if l.dead || len(l.tasks) == 0 {
			last := l.last
			l.last = nil
			l.mu.Unlock()
			for t := range last {
				t.RunOnShard()
			}
			return
		}
		l.running, l.tasks = l.tasks, l.running[:0]
		l.mu.Unlock()
		for i, t := range l.running {
			l.running[i] = nil
			t.RunOnShard()
		}
	}
}

// stop ends the loop, after the tasks that it has, as a stack's sockets tell that
// they are closed before the loops end.
func (l *fakeLoop) stop() {
	l.mu.Lock()
	l.over = true
	started := l.started
	if started {
		l.cond.Signal()
	}
	l.mu.Unlock()
	if started {
		<-l.done
	}
}

// kill ends the loop at once, as the failure of its queue does.
func (sh *fakeShard) kill() {
	l := &sh.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start()
	l.over, l.dead = true, true
	l.cond.Signal()
}

// fakeServed has notices post a task, several before it runs once.
type fakeServed struct {
	sh     *fakeShard
	t      flow.Task
	posted atomic.Bool
}

func (s *fakeServed) notice(flow.Events) {
	if !s.posted.Swap(true) {
		s.sh.Post(s)
	}
}

func (s *fakeServed) RunOnShard() {
	s.posted.Store(false)
	s.t.RunOnShard()
}

// serve has sh's loop run t as socket becomes ready.
func (sh *fakeShard) serve(socket interface{ Notify(func(flow.Events)) }, t flow.Task) {
	s := &fakeServed{sh: sh, t: t}
	socket.Notify(s.notice)
	s.notice(0)
}

// Serve implements flow.Flow.
func (f *fakeFlow) Serve(t flow.Task) { f.sh.serve(f, t) }

// Serve implements flow.Listener.
func (l *fakeListener) Serve(t flow.Task) { l.sh.serve(l, t) }
