package socketapi

import "time"

// EventTimer is a call that AfterFunc has arranged for. Its methods are called on
// the connection's loop.
type EventTimer struct {
	c          *EventConn
	f          func(c *EventConn)
	fire       func() // what the shard is given
	stop       func() bool
	when       time.Time // when f is to be called
	armed      time.Time // when the shard's timer fires; zero: it will not
	next, prev *EventTimer
}

// AfterFunc calls f on the shard with c once d has passed, to about a millisecond.
// It does not if OnClose was called before. Close does not stop timers, so one may
// Abort a connection that Close could not end. Afterwards, input that was not
// consumed is offered again.
func (c *EventConn) AfterFunc(d time.Duration, f func(c *EventConn)) *EventTimer {
	t := &EventTimer{c: c, f: f}
	t.fire = t.fired
	t.Reset(d)
	return t
}

// Reset sets the timer to d from now, whether its function was called already, was
// stopped or waits. Moving a timer to a later time only reads the clock, so a
// deadline may be moved with each request.
func (t *EventTimer) Reset(d time.Duration) {
	if t.c.state&connOver != 0 {
		return
	}
	if t.when.IsZero() {
		t.link()
	}
	t.when = time.Now().Add(d)
	if t.armed.IsZero() {
		t.arm(d)
	} else if t.when.Before(t.armed) {
		t.stop()
		t.arm(d)
	}
}

// Stop keeps the function from being called, and reports whether it did.
func (t *EventTimer) Stop() bool {
	if t.when.IsZero() {
		return false
	}
	t.unlink()
	t.when = time.Time{}
	if !t.armed.IsZero() {
		t.stop()
		t.armed = time.Time{}
	}
	return true
}

func (t *EventTimer) arm(d time.Duration) {
	t.armed = t.when
	t.stop = t.c.loop.sh.AfterFunc(d, t.fire)
}

// fired runs on the loop.
func (t *EventTimer) fired() {
	t.armed = time.Time{}
	if t.when.IsZero() {
		return
	}
	if left := time.Until(t.when); left > 0 {
		t.arm(left) // it was moved forward
		return
	}
	t.when = time.Time{}
	t.unlink()
	l := t.c.loop
	l.startRun()
	t.f(t.c)
	t.c.offer()
	l.runDirty()
}

// link puts t on its connection's list of timers.
func (t *EventTimer) link() {
	x := t.c.extraState()
	t.next = x.timers
	if t.next != nil {
		t.next.prev = t
	}
	x.timers = t
}

func (t *EventTimer) unlink() {
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		t.c.extra.timers = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.next, t.prev = nil, nil
}

// stopTimers stops all there are.
func (c *EventConn) stopTimers() {
	if c.extra == nil {
		return
	}
	for c.extra.timers != nil {
		c.extra.timers.Stop()
	}
}
