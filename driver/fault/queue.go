package fault

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// batch is how many frames go between the line and the inner queue in one call.
const batch = 64

// maxPull bounds, to within a batch, the frames one Receive takes from the inner
// queue.
const maxPull = 256

// retry is how long Wait sleeps at most when frames are due that the inner TX
// ring had no room for: nothing tells when it has.
const retry = time.Millisecond

// queue is the wrapped queue.
type queue struct {
	driver.Queue
	clock  clock
	rx, tx *line // nil when the direction is without faults

	// mu is held by the owner while it is in a method, so that Close can tell
	// when it is out and then act as the owner. Nobody else takes it.
	mu      sync.Mutex
	closing atomic.Bool
	cleared bool

	scratch []driver.Frame
	mtu     int

	// The caller's side of what the inner queue counts otherwise, because
	// frames are lost, made or kept in between. The owner writes.
	rxPackets, rxBytes       atomic.Uint64
	txTaken, txBytes, txFull atomic.Uint64
	txErrors                 atomic.Uint64 // of txTaken, those not sendable
}

func add(c *atomic.Uint64, n int) { c.Store(c.Load() + uint64(n)) }

// Receive implements driver.Queue. Frames of one call may have come in at
// different times.
func (q *queue) Receive(fs []driver.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Load() {
		return 0, net.ErrClosed
	}
	q.pumpAndFlush()
	if q.rx == nil {
		return q.Queue.Receive(fs)
	}
	now := q.clock.read()
	var err error
	n := q.take(fs, now)
	// Zero would tell the caller that nothing came, so go on while what comes is
	// lost or held back; but not for ever. A caller that takes less than comes in
	// leaves the rest in the NIC's ring, not on the line.
	for pulled := 0; n < len(fs) && pulled < maxPull && err == nil; {
		got := 0
		if got, err = q.Queue.Receive(q.scratch[:min(len(fs)-n, batch)]); got == 0 {
			break
		}
		for _, f := range q.scratch[:got] {
			q.rx.push(f, now)
		}
		pulled += got
		n += q.take(fs[n:], now)
	}
	q.rx.publish()
	return n, err
}

// take moves frames whose time has come from the receive line to the caller.
func (q *queue) take(fs []driver.Frame, now int64) int {
	n := q.rx.due(fs, now)
	q.rx.advance(n)
	bytes := 0
	for i := range fs[:n] {
		bytes += len(fs[i].Data)
	}
	add(&q.rxPackets, n)
	add(&q.rxBytes, bytes)
	return n
}

// Transmit implements driver.Queue. It takes frames as long as the inner queue
// takes those whose time has come; a frame lost to a fault counts as sent.
func (q *queue) Transmit(fs []driver.Frame) (n int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Load() {
		return 0, net.ErrClosed
	}
	if q.tx == nil {
		return q.Queue.Transmit(fs)
	}
	now := q.clock.read()
	_, err = q.pump(now)
	for n < len(fs) && err == nil && !q.tx.ready(now) {
		some := fs[n:min(n+batch, len(fs))]
		bytes := 0
		for i := range some {
			// A frame that the device below finds unsendable can't be told there from
			// one that was sent: so it does not come to the line.
			if !wire.FitsMTU(some[i].Data, q.mtu) {
				inc(&q.txErrors)
				q.tx.release(some[i])
				continue
			}
			bytes += len(some[i].Data)
			q.tx.push(some[i], now)
		}
		n += len(some)
		add(&q.txTaken, len(some))
		add(&q.txBytes, bytes)
		_, err = q.pump(now)
	}
	add(&q.txFull, len(fs)-n)
	q.tx.publish()
	return n, err
}

// pump gives the inner queue the frames whose time has come, as far as it takes
// them, and reports how many.
func (q *queue) pump(now int64) (moved int, err error) {
	for {
		n := q.tx.due(q.scratch, now)
		if n == 0 {
			return moved, nil
		}
		taken, err := q.Queue.Transmit(q.scratch[:n])
		q.tx.advance(taken)
		moved += taken
		if taken < n || err != nil {
			return moved, err
		}
	}
}

// pumpAndFlush sends what has become due, for callers that have nothing of
// their own to send. An error comes again from the next Flush or Wait.
func (q *queue) pumpAndFlush() {
	if q.tx == nil {
		return
	}
	if moved, err := q.pump(q.clock.read()); moved > 0 && err == nil {
		_ = q.Queue.Flush()
	}
	q.tx.publish()
}

// Alloc implements driver.Queue.
func (q *queue) Alloc(fs []driver.Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Load() {
		return 0
	}
	return q.Queue.Alloc(fs)
}

// Release implements driver.Queue.
func (q *queue) Release(fs []driver.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closing.Load() {
		q.Queue.Release(fs)
	}
}

// Flush implements driver.Queue.
func (q *queue) Flush() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Load() {
		return net.ErrClosed
	}
	return q.flush()
}

func (q *queue) flush() error {
	if q.tx == nil {
		return q.Queue.Flush()
	}
	_, err := q.pump(q.clock.read())
	q.tx.publish()
	if ferr := q.Queue.Flush(); ferr != nil {
		return ferr
	}
	return err
}

// Wait implements driver.Queue. It also returns when a frame kept back on
// receive becomes due, or one on transmit has been sent.
func (q *queue) Wait(d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closing.Load() {
		return net.ErrClosed
	}
	if q.tx != nil {
		// A link that is down is for Flush to tell; here it is nothing to wake
		// up for.
		if err := q.flush(); err != nil && !errors.Is(err, driver.ErrLinkDown) {
			return err
		}
	}
	now := q.clock.read()
	if q.rx != nil {
		if q.rx.ready(now) {
			return nil
		}
		d = earlier(d, q.rx.next(), now)
	}
	if q.tx != nil {
		if q.tx.ready(now) { // the inner ring is full
			d = earlier(d, now+int64(retry), now)
		}
		d = earlier(d, q.tx.next(), now)
	}
	err := q.Queue.Wait(d)
	if q.closing.Load() {
		return net.ErrClosed
	}
	if err == nil {
		q.pumpAndFlush()
	}
	return err
}

// BlockThread implements driver.Queue.
func (q *queue) BlockThread(on bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closing.Load() {
		q.Queue.BlockThread(on)
	}
}

// earlier shortens a wait of d so that it ends at t.
func earlier(d time.Duration, t, now int64) time.Duration {
	if t == never {
		return d
	}
	left := time.Duration(max(t-now, 0))
	if d < 0 || left < d {
		return left
	}
	return d
}

// Stats implements driver.Queue. Frames held back count as the queue's, not as
// lent. A frame that a fault took away after Transmit was sent, as far as the
// caller is concerned; Counts tells otherwise.
func (q *queue) Stats() driver.Stats {
	s := q.Queue.Stats()
	if q.rx != nil {
		s.RxPackets, s.RxBytes = q.rxPackets.Load(), q.rxBytes.Load()
		q.adjust(&s, &q.rx.counts)
	}
	if q.tx != nil {
		s.TxErrors += q.txErrors.Load()
		s.TxPackets = q.txTaken.Load() - min(s.TxErrors, q.txTaken.Load())
		s.TxBytes = q.txBytes.Load()
		s.TxFull = q.txFull.Load()
		q.adjust(&s, &q.tx.counts)
	}
	return s
}

// adjust takes out of the inner queue's counters what a line did with it.
func (q *queue) adjust(s *driver.Stats, c *counters) {
	s.Lent = max(s.Lent-int(c.held.Load()), 0)
	s.AllocShort -= min(s.AllocShort, c.allocShort.Load())
}

// Close implements driver.Queue. Frames held back are given back, unsent.
func (q *queue) Close() error {
	q.closing.Store(true)
	q.Queue.Wake()
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.cleared {
		q.cleared = true
		for _, l := range []*line{q.rx, q.tx} {
			if l != nil {
				l.clear()
			}
		}
	}
	return q.Queue.Close()
}
