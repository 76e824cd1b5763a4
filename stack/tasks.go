package stack

import (
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/stack/flow"
)

// tasks is the list of what is to run in the loop's next turn.
type tasks struct {
	waiting     atomic.Bool  // list is not empty
	reassembled atomic.Int32 // posted reassembled packets of other shards

	mu     sync.Mutex
	list   []flow.Task
	closed bool
	run    []flow.Task // loop's own; changes places with list
	last   map[*lastTask]struct{}
}

// lastTask is a task for the end of the loop.
type lastTask struct{ flow.Task }

// Post has the loop run t, once, after the TCP processing of this turn or the
// next. It may be called from any goroutine and with a flow's locks held, as a
// Notify function is.
//
// Tasks run in the order they were posted. What is posted by a task runs in the
// next turn. Once the loop has ended tasks are dropped. A task must not call
// Stack.Close, which waits for the loop.
func (sh *Shard) Post(t flow.Task) {
	sh.tasks.mu.Lock()
	if !sh.tasks.closed {
		sh.tasks.list = append(sh.tasks.list, t)
		sh.tasks.waiting.Store(true)
	}
	sh.tasks.mu.Unlock()
	sh.kick()
}

// runTasks runs what was posted and returns how much that was. Loop only.
func (sh *Shard) runTasks() int {
	ts := &sh.tasks
	if !ts.waiting.Load() {
		return 0
	}
	ts.mu.Lock()
	ts.waiting.Store(false)
	ts.run, ts.list = ts.list, ts.run[:0]
	ts.mu.Unlock()
	for i, t := range ts.run {
		ts.run[i] = nil
		sh.running.Task = t
		t.RunOnShard()
	}
	return len(ts.run)
}

// AfterFunc has the loop run f once d has passed, to about a millisecond. stop
// keeps that from happening and reports whether it did; f does not begin after
// stop has returned. AfterFunc and stop may be called from any goroutine. f must
// not block, and does not run any more when the loop has ended.
func (sh *Shard) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	t := &loopTimer{sh: sh, f: f}
	timer := sh.clock.AfterFunc(d, t.run)
	return func() bool {
		if t.over.Swap(true) {
			return false
		}
		timer.Stop()
		return true
	}
}

// loopTimer is an AfterFunc. The wheel hands out all that is due in a turn before it
// runs the first of it: a timer stopped in that turn is kept from running here.
type loopTimer struct {
	sh   *Shard
	f    func()
	over atomic.Bool // it runs, ran or was stopped
}

func (t *loopTimer) run() {
	if !t.over.Swap(true) {
		t.sh.running.Task = t
		t.f()
	}
}

// String names the function.
func (t *loopTimer) String() string {
	return runtime.FuncForPC(reflect.ValueOf(t.f).Pointer()).Name()
}

// AtEnd has t run as the last thing of the loop, on its goroutine, when Close ends
// it or the stack has failed: what posted tasks were to do, and now can't, it still
// may. The shard's sockets can be called, though nothing is sent any more. cancel
// takes t back. If the loop has ended already, t runs at once.
//
// AtEnd and cancel may be called from any goroutine. Stack.Close waits for t.
func (sh *Shard) AtEnd(t flow.Task) (cancel func()) {
	ts := &sh.tasks
	ts.mu.Lock()
	closed, last := ts.closed, &lastTask{t}
	if !closed {
		if ts.last == nil {
			ts.last = make(map[*lastTask]struct{})
		}
		ts.last[last] = struct{}{}
	}
	ts.mu.Unlock()
	if closed {
		t.RunOnShard()
	}
	return func() {
		ts.mu.Lock()
		delete(ts.last, last)
		ts.mu.Unlock()
	}
}

// close drops the tasks that wait, and those to come, and runs those for the end.
func (ts *tasks) close() {
	ts.mu.Lock()
	ts.closed, ts.list = true, nil
	ts.waiting.Store(false)
	last := ts.last
	ts.last = nil
	ts.mu.Unlock()
	for t := range last {
		t.RunOnShard()
	}
}

// pending reports whether a task waits.
func (ts *tasks) pending() bool { return ts.waiting.Load() }
