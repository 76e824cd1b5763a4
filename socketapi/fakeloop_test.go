package socketapi

import (
	"sync"
	"sync/atomic"

	"shardnet/stack"
)

// fakeLoop is the loop of a fake shard: a goroutine that runs tasks, from the
// first one to the end of the host.
type fakeLoop struct {
	mu      sync.Mutex
	cond    *sync.Cond
	tasks   []stack.Task
	running []stack.Task
	started bool
	over    bool
	done    chan struct{}
}

// Post implements shard.
func (sh *fakeShard) Post(t stack.Task) {
	l := &sh.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	if !l.started {
		l.started = true
		l.cond = sync.NewCond(&l.mu)
		l.done = make(chan struct{})
		go l.run()
	}
	l.tasks = append(l.tasks, t)
	l.cond.Signal()
}

func (l *fakeLoop) run() {
	defer close(l.done)
	for {
		l.mu.Lock()
		for len(l.tasks) == 0 && !l.over {
			l.cond.Wait()
		}
		if len(l.tasks) == 0 {
			l.mu.Unlock()
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

// fakeServed has notices post a task, several before it runs once.
type fakeServed struct {
	sh     *fakeShard
	t      stack.Task
	posted atomic.Bool
}

func (s *fakeServed) notice(stack.Events) {
	if !s.posted.Swap(true) {
		s.sh.Post(s)
	}
}

func (s *fakeServed) RunOnShard() {
	s.posted.Store(false)
	s.t.RunOnShard()
}

// Serve implements shard.
func (sh *fakeShard) Serve(socket interface{ Shard() int }, t stack.Task) error {
	s := &fakeServed{sh: sh, t: t}
	socket.(interface{ Notify(func(stack.Events)) }).Notify(s.notice)
	s.notice(0)
	return nil
}
