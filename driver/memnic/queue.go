package memnic

import (
	"fmt"
	"net"
	"sync"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// flushChunk is how many frames are handed to the receiver's queues at a time: it
// bounds how long a sender keeps the others off an RX ring.
const flushChunk = 64

// queue is one RX/TX ring pair. At any time each of its frames is in one place:
// on the free list, posted or filled in the RX ring, in the TX ring, or lent.
type queue struct {
	dev    *Device
	handle uint64 // of frame 0; frames count up from it
	mem    []byte
	rx     *ring

	// mu is held by whoever is in a method, but not while Wait sleeps. It is
	// there for Close and Stats; the owner has it to itself otherwise.
	mu     sync.Mutex
	closed bool
	asleep bool       // the owner is in Wait, without mu
	out    *sync.Cond // the owner has left Wait

	free []uint32 // stack of frames: the last given back is the next lent
	lent []bool   // by frame
	tx   []driver.Frame
	txn  int // frames in tx

	data  [flushChunk][]byte // scratch of flush
	dest  [flushChunk]uint16
	stats driver.Stats
	timer *time.Timer
}

func newQueue(dev *Device, end, index int) *queue {
	r := &dev.end
	q := &queue{
		dev:    dev,
		handle: uint64(end)<<47 | uint64(index)<<32,
		mem:    make([]byte, r.Frames*r.stride),
		free:   make([]uint32, 0, r.Frames),
		lent:   make([]bool, r.Frames),
		tx:     make([]driver.Frame, r.TxRing),
	}
	q.out = sync.NewCond(&q.mu)
	q.rx = newRing(r.RxRing, q.mem, r.stride)
	for i := r.Frames - 1; i >= 0; i-- {
		q.free = append(q.free, uint32(i))
	}
	q.stats.Frames = r.Frames
	q.post()
	return q
}

// post gives free frames to the RX ring, as many as it takes.
func (q *queue) post() {
	n := min(q.rx.room(), len(q.free))
	if n == 0 {
		return
	}
	for range n {
		last := len(q.free) - 1
		q.rx.slots[q.rx.posted&q.rx.mask].frame = q.free[last]
		q.free = q.free[:last]
		q.rx.posted++
	}
	q.rx.fill.Store(q.rx.posted)
}

// lend hands frame i to the caller with n bytes of data.
func (q *queue) lend(i, n uint32) driver.Frame {
	stride := uint64(q.dev.end.stride)
	at := uint64(i) * stride
	q.lent[i] = true
	return driver.Frame{
		Data:   q.mem[at : at+uint64(n) : at+stride],
		Handle: q.handle + uint64(i),
	}
}

// take ends the loan of f and reports which frame it is. It is not ok when f is
// not lent: the caller broke the contract (drivertest.Guard tells where), and
// taking it would hand one frame to two holders.
func (q *queue) take(f *driver.Frame) (i uint32, ok bool) {
	n := f.Handle - q.handle
	if n >= uint64(len(q.lent)) || !q.lent[n] {
		return 0, false
	}
	q.lent[n] = false
	q.stats.Lent--
	return uint32(n), true
}

// Receive implements driver.Queue.
func (q *queue) Receive(fs []driver.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, net.ErrClosed
	}
	r := q.rx
	n := min(len(fs), int(r.head.Load()-r.tail))
	bytes := 0
	for i := range n {
		s := r.slots[r.tail&r.mask]
		fs[i] = q.lend(s.frame, s.len)
		bytes += int(s.len)
		r.tail++
	}
	q.stats.RxPackets += uint64(n)
	q.stats.RxBytes += uint64(bytes)
	q.stats.Lent += n
	q.post()
	return n, nil
}

// Alloc implements driver.Queue.
func (q *queue) Alloc(fs []driver.Frame) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0
	}
	n := min(len(fs), len(q.free))
	for i := range n {
		last := len(q.free) - 1
		fs[i] = q.lend(q.free[last], 0)
		q.free = q.free[:last]
	}
	q.stats.Lent += n
	q.stats.AllocShort += uint64(len(fs) - n)
	return n
}

// Release implements driver.Queue. A frame that is not lent is ignored.
func (q *queue) Release(fs []driver.Frame) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	for i := range fs {
		if frame, ok := q.take(&fs[i]); ok {
			q.free = append(q.free, frame)
		}
	}
	q.post()
}

// Transmit implements driver.Queue. A frame that is not lent is counted in
// TxErrors and not sent.
func (q *queue) Transmit(fs []driver.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, net.ErrClosed
	}
	n, bytes, sent := 0, 0, 0
	for ; n < len(fs) && q.txn < len(q.tx); n++ {
		f := &fs[n]
		frame, ok := q.take(f)
		if !ok {
			q.stats.TxErrors++
			continue
		}
		if !wire.FitsMTU(f.Data, q.dev.info.MTU) {
			q.stats.TxErrors++
			q.free = append(q.free, frame)
			continue
		}
		q.tx[q.txn] = driver.Frame{Data: f.Data, Handle: uint64(frame)}
		q.txn++
		sent++
		bytes += len(f.Data)
	}
	q.stats.TxPackets += uint64(sent)
	q.stats.TxBytes += uint64(bytes)
	q.stats.TxFull += uint64(len(fs) - n)
	return n, nil
}

// Flush implements driver.Queue.
func (q *queue) Flush() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return net.ErrClosed
	}
	return q.flush()
}

func (q *queue) flush() error {
	if !q.dev.link.up.Load() {
		return fmt.Errorf("send on %s: %w", q.dev.info.Interface, driver.ErrLinkDown)
	}
	if q.txn == 0 {
		return nil
	}
	q.stats.Doorbells++
	for tx := q.tx[:q.txn]; len(tx) > 0; {
		n := min(len(tx), flushChunk)
		for i, f := range tx[:n] {
			q.data[i] = f.Data
		}
		q.dev.peer.deliver(q.data[:n], q.dest[:n])
		for i := range tx[:n] {
			q.free = append(q.free, uint32(tx[i].Handle))
			tx[i].Data, q.data[i] = nil, nil
		}
		tx = tx[n:]
	}
	q.txn = 0
	q.post()
	return nil
}

// Wait implements driver.Queue.
func (q *queue) Wait(d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return net.ErrClosed
	}
	if q.txn > 0 && q.dev.link.up.Load() {
		_ = q.flush() // the link may go down again; then the next Flush says so
	}
	bell := &q.rx.bell
	select {
	case <-bell.ch:
		return nil
	default:
	}
	if d == 0 || q.rx.ready() {
		return nil
	}
	bell.parked.Store(true)
	defer bell.parked.Store(false)
	if q.rx.ready() {
		return nil
	}
	q.stats.Waits++
	q.asleep = true
	q.mu.Unlock()
	q.sleep(d)
	q.mu.Lock()
	q.asleep = false
	if q.closed {
		q.out.Broadcast()
		return net.ErrClosed
	}
	return nil
}

// sleep parks the goroutine until the bell rings or d has passed.
func (q *queue) sleep(d time.Duration) {
	if d < 0 {
		<-q.rx.bell.ch
		return
	}
	if q.timer == nil {
		q.timer = time.NewTimer(d)
	} else {
		q.timer.Reset(d)
	}
	select {
	case <-q.rx.bell.ch:
	case <-q.timer.C:
	}
	q.timer.Stop() // since Go 1.23 nothing stale stays in C
}

// BlockThread implements driver.Queue. It does nothing: the kernel knows nothing of
// frames in memory, so Wait always parks the goroutine.
func (q *queue) BlockThread(bool) {}

// Wake implements driver.Queue.
func (q *queue) Wake() { q.rx.bell.ring() }

// Stats implements driver.Queue. The counters are exact at the moment of the
// call, also between Flush and Wait.
func (q *queue) Stats() driver.Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.RxDropped = q.rx.dropped.Load()
	return s
}

// Close implements driver.Queue. What arrives afterwards is counted in RxDropped;
// what lies in the rings is lost.
func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		q.rx.close()
	}
	for q.asleep {
		q.rx.bell.ring()
		q.out.Wait()
	}
	return nil
}
