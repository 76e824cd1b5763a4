package socketapi

import (
	"sync"
	"sync/atomic"
	"time"
)

// A waiter parks the goroutine that waits in one direction of one socket: the
// reader of a connection, its writer, or whoever accepts.
//
// The stack's notices are edges and come from its own goroutines, with its locks
// held, so signal must not block nor call back. The protocol that loses none:
//
//	for {
//		w.clear()                      // forget earlier notices
//		if closed or expired: return
//		if the flow gave something: return
//		w.park()                       // returns at once if signalled since clear
//	}
//
// Whoever makes something ready does so first and signals then. Either the try
// after clear sees it, or park sees the signal.
//
// Between a notice and the next wait nothing is stored but one word, and the
// channel is touched only when a goroutine really sleeps. So a notice that no one
// waits for costs one atomic load or swap, and a stale one never wakes anybody.
//
// One goroutine at a time may be in the loop: it holds mu.
type waiter struct {
	mu    sync.Mutex    // held through an operation: serialises readers, writers, accepters
	state atomic.Uint32 // idle, signalled, waiting
	over  atomic.Uint32 // why operations fail at once: closed, expired
	ch    chan struct{} // capacity 1; made before the first sleep, by the holder of mu
	dl    atomic.Pointer[deadline]
}

// Values of waiter.state. The holder of mu moves it to idle and waiting, anyone
// moves it to signalled. Who moves it from waiting to signalled sends once on ch,
// so ch never holds more than one token.
const (
	idle uint32 = iota
	signalled
	waiting
)

// Bits of waiter.over.
const (
	closed uint32 = 1 << iota
	expired
)

// signal wakes the waiting goroutine, or makes the coming park return at once. It
// may be called from anywhere and never blocks.
func (w *waiter) signal() {
	// The common case on a busy socket: somebody signalled already, and nobody
	// looked since. Leaving the word alone keeps its cache line shared.
	if w.state.Load() == signalled {
		return
	}
	if w.state.Swap(signalled) == waiting {
		w.ch <- struct{}{}
	}
}

// clear forgets earlier signals. What they told of must be looked at after it.
func (w *waiter) clear() {
	if w.state.Load() != idle {
		w.state.Store(idle)
	}
}

// park sleeps until signal was called since the last clear.
func (w *waiter) park() {
	if w.prepare() {
		<-w.ch
	}
}

// parkOr is park, but also returns when one of the two channels is closed.
func (w *waiter) parkOr(a, b <-chan struct{}) {
	if !w.prepare() {
		return
	}
	select {
	case <-w.ch:
		return
	case <-a:
	case <-b:
	}
	if !w.state.CompareAndSwap(waiting, idle) {
		<-w.ch // a signal came meanwhile: its token is there or about to be
	}
}

// prepare reports whether there is need to sleep; if so, a token will come.
func (w *waiter) prepare() bool {
	if w.ch == nil {
		w.ch = make(chan struct{}, 1)
	}
	return w.state.CompareAndSwap(idle, waiting)
}

// close makes every operation fail from now on and wakes the one under way. It
// reports whether this was the first call.
func (w *waiter) close() bool {
	if w.over.Or(closed)&closed != 0 {
		return false
	}
	if d := w.dl.Load(); d != nil {
		d.stop()
	}
	w.signal()
	return true
}

func (w *waiter) isClosed() bool { return w.over.Load()&closed != 0 }

// err says why an operation may not begin or go on.
func (w *waiter) err() error {
	over := w.over.Load()
	if over == 0 {
		return nil
	}
	return overError(over)
}

// setDeadline makes operations fail from t on: the zero time is never, and one in
// the past is at once.
func (w *waiter) setDeadline(t time.Time) error {
	d := w.dl.Load()
	if d == nil {
		if t.IsZero() {
			return w.errClosed()
		}
		d = &deadline{w: w}
		if !w.dl.CompareAndSwap(nil, d) {
			d = w.dl.Load()
		}
	}
	d.set(t)
	return w.errClosed()
}

func (w *waiter) errClosed() error {
	if w.isClosed() {
		return overError(closed)
	}
	return nil
}

// A deadline is made by the first SetDeadline that asks for one; most sockets
// never need it.
//
// Servers move deadlines forward with each request. That only stores the time:
// the timer stays as it is, finds itself too early when it fires, and is set
// again. The same look at the clock makes a firing that was overtaken by a new
// deadline harmless.
type deadline struct {
	w     *waiter
	mu    sync.Mutex
	timer *time.Timer
	when  time.Time // what was asked for; zero: none
	armed time.Time // when the timer fires; zero: it will not
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.w.isClosed() {
		return // stop was called, or is about to be
	}
	if t.IsZero() {
		d.when = time.Time{}
		d.w.over.And(^expired)
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.when = time.Time{}
		d.w.over.Or(expired)
		d.w.signal()
		return
	}
	d.w.over.And(^expired)
	// On the monotonic clock, whatever t was made from: a later step of the wall
	// clock moves no deadline.
	d.when = time.Now().Add(left)
	if d.armed.IsZero() || d.when.Before(d.armed) {
		d.arm(left)
	}
}

func (d *deadline) arm(left time.Duration) {
	d.armed = d.when
	if d.timer == nil {
		d.timer = time.AfterFunc(left, d.fire)
	} else {
		d.timer.Reset(left)
	}
}

func (d *deadline) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = time.Time{}
	if d.when.IsZero() || d.w.isClosed() {
		return
	}
	if left := time.Until(d.when); left > 0 {
		d.arm(left)
		return
	}
	d.when = time.Time{}
	d.w.over.Or(expired)
	d.w.signal()
}

func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}
