package rawload

import (
	"errors"

	"shardnet/driver"
)

// batch is how many frames are received, and sent, at a time.
const batch = 64

// link is the queue with the frames under way on this side of it. No method
// blocks; what the queue has no room for stays in out and goes with a later
// flush.
type link struct {
	q     driver.Queue
	stock [batch]driver.Frame // empty ones, from Alloc
	left  int                 // of stock
	out   [batch]driver.Frame // filled, for Transmit
	n     int                 // of out
	sent  bool                // something was filled since the last flush
	err   error               // final
}

// buffer returns an empty frame at its full length, or nil if there is none now.
// It is sent by send, or used again by the next call.
func (l *link) buffer() []byte {
	if l.n == batch {
		l.push()
		if l.n == batch {
			return nil
		}
	}
	if l.left == 0 {
		if l.left = l.q.Alloc(l.stock[:]); l.left == 0 {
			return nil
		}
	}
	data := l.stock[l.left-1].Data
	return data[:cap(data)]
}

// send queues the first n bytes of the last buffer.
func (l *link) send(n int) {
	l.left--
	f := l.stock[l.left]
	f.Data = f.Data[:n]
	l.out[l.n] = f
	l.n++
	l.sent = true
}

// push gives the queue what it takes.
func (l *link) push() {
	for range 2 {
		n, err := l.q.Transmit(l.out[:l.n])
		copy(l.out[:], l.out[n:l.n])
		l.n -= n
		if l.fail(err); l.n == 0 || l.err != nil {
			return
		}
		l.fail(l.q.Flush()) // the ring is full: let it run
	}
}

// flush sends what was queued, with one doorbell.
func (l *link) flush() {
	if l.n > 0 {
		l.push()
	}
	if l.sent || l.n > 0 {
		l.fail(l.q.Flush())
		l.sent = false
	}
}

// fail keeps errors that do not pass by themselves.
func (l *link) fail(err error) {
	if err != nil && l.err == nil && !errors.Is(err, driver.ErrLinkDown) {
		l.err = err
	}
}

// release gives all frames back, and has the queue publish that in its counters.
func (l *link) release() {
	l.q.Release(l.stock[:l.left])
	l.q.Release(l.out[:l.n])
	l.left, l.n, l.sent = 0, 0, false
	_ = l.q.Flush() // nothing is under way that could fail
}
