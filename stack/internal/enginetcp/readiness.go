package enginetcp

import (
	"sync/atomic"

	"shardnet/stack/flow"
)

// readiness is what an application asked to be told by. It is guarded by mu, but
// for posted.
type readiness struct {
	fn     func(flow.Events)
	task   flow.Task
	posted atomic.Bool // task is on the shard's list
	self   flow.Task   // runs task: the socket that this is part of
}

// event tells the application of ev.
func (r *readiness) event(f *TCP, ev flow.Events) {
	switch {
	case r.task != nil:
		if !r.posted.Swap(true) {
			f.cfg.Shard.Post(r.self)
		}
	case r.fn != nil:
		f.cfg.Shard.NoteWoken()
		r.fn(ev)
	}
}

// run is the socket's RunOnShard.
func (r *readiness) run(f *TCP) {
	r.posted.Store(false)
	f.mu.Lock()
	t := r.task
	f.mu.Unlock()
	if t != nil {
		f.cfg.Running.Task = t
		t.RunOnShard()
	}
}
