//go:build linux && amd64

package asavie

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/asavie/xdp"

	"shardnet/driver"
	"shardnet/driver/internal/xskwait"
	"shardnet/driver/wire"
)

// frameState is where a frame is. The library keeps a note of its own, from
// which it hands the same frame out twice; only completions are read from that
// (reap).
type frameState uint8

const (
	free    frameState = iota // on the free list
	filling                   // in the fill ring, with the kernel, or in the RX ring
	lent                      // with the caller
	pending                   // taken by Transmit, not yet in the TX ring
	sending                   // in the TX ring, with the kernel, or in the completion ring
)

// queue is one AF_XDP socket of the library.
type queue struct {
	sock   *socket
	mtu    int
	waiter *xskwait.Waiter

	// mu is held by the owner while it is in a method, so that Close can tell
	// when it is out. Nobody else takes it.
	mu      sync.Mutex
	closing atomic.Bool
	closeIt sync.Once
	result  error // of Close

	state    []frameState
	freeList []uint32   // a stack: the frame used last is the warmest
	txQueue  []xdp.Desc // pending frames, in order
	descs    []xdp.Desc // for Fill
	gone     error      // ErrDeviceGone, once seen
	stuck    bool       // the last Flush left frames in the ring that a later kick may move

	stats driver.Stats // the owner's; published at the end of each method

	pub struct {
		sync.Mutex
		driver.Stats
		kernel kernelCounts // final, once closed
		closed bool
	}
}

// kernelCounts are what the kernel counts for a socket.
type kernelCounts struct{ rxDropped, rxErrors uint64 }

func newQueue(s *socket, mtu int) (*queue, error) {
	q := &queue{
		sock:     s,
		mtu:      mtu,
		state:    make([]frameState, s.frames),
		freeList: make([]uint32, 0, s.frames),
		txQueue:  make([]xdp.Desc, 0, s.txRing),
		descs:    make([]xdp.Desc, 0, s.frames),
	}
	for i := s.frames - 1; i >= 0; i-- {
		q.freeList = append(q.freeList, uint32(i))
	}
	q.stats.Frames = s.frames
	var err error
	if q.waiter, err = xskwait.New(s.file, q.received); err != nil {
		return nil, err
	}
	q.refill()
	q.publish()
	return q, nil
}

// enter begins a method of the owner's.
func (q *queue) enter() error {
	q.mu.Lock()
	if q.closing.Load() {
		return net.ErrClosed
	}
	return nil
}

// leave ends it.
func (q *queue) leave() { q.mu.Unlock() }

// Receive implements driver.Queue.
func (q *queue) Receive(fs []driver.Frame) (n int, err error) {
	defer q.leave()
	if err := q.enter(); err != nil {
		return 0, err
	}
	ready := min(q.sock.xsk.NumReceived(), len(fs))
	if ready == 0 {
		return 0, q.gone
	}
	for _, d := range q.sock.xsk.Receive(ready) {
		i := int(d.Addr) / q.sock.size
		end := (i + 1) * q.sock.size
		if i >= len(q.state) || q.state[i] != filling || int(d.Addr)+int(d.Len) > end {
			q.stats.RxErrors++
			if i < len(q.state) && q.state[i] == filling {
				q.recycle(i)
			}
			continue
		}
		q.state[i] = lent
		fs[n] = driver.Frame{Data: q.sock.umem[d.Addr : d.Addr+uint64(d.Len) : end], Handle: uint64(i)}
		q.stats.RxBytes += uint64(d.Len)
		n++
	}
	q.stats.RxPackets += uint64(n)
	q.stats.Lent += n
	q.refill()
	q.publish()
	return n, nil
}

// Alloc implements driver.Queue.
func (q *queue) Alloc(fs []driver.Frame) int {
	defer q.leave()
	if q.enter() != nil {
		return 0
	}
	if len(q.freeList) < len(fs) {
		q.reap()
	}
	n := min(len(fs), len(q.freeList))
	for k := range n {
		i := q.pop()
		q.state[i] = lent
		at := i * q.sock.size
		fs[k] = driver.Frame{Data: q.sock.umem[at:at:(at + q.sock.size)], Handle: uint64(i)}
	}
	q.stats.AllocShort += uint64(len(fs) - n)
	q.stats.Lent += n
	q.publish()
	return n
}

// Transmit implements driver.Queue. The frames wait here for Flush: the library
// would make a system call at once.
func (q *queue) Transmit(fs []driver.Frame) (n int, err error) {
	defer q.leave()
	if err := q.enter(); err != nil {
		return 0, err
	}
	if q.gone != nil {
		return 0, q.gone
	}
	room := q.sock.txRing - q.sock.unsent() - len(q.txQueue)
	for ; n < len(fs) && room > 0; n++ {
		i := int(fs[n].Handle)
		if !q.isLent(i) {
			q.stats.TxErrors++ // from a caller who did not hold it
			continue
		}
		q.stats.Lent--
		data := fs[n].Data
		at, ok := 0, false
		if wire.FitsMTU(data, q.mtu) {
			at, ok = offsetIn(q.sock.umem, data)
		}
		if !ok || at < i*q.sock.size || at+len(data) > (i+1)*q.sock.size {
			q.stats.TxErrors++
			q.recycle(i)
			continue
		}
		q.state[i] = pending
		q.txQueue = append(q.txQueue, xdp.Desc{Addr: uint64(at), Len: uint32(len(data))})
		q.stats.TxPackets++
		q.stats.TxBytes += uint64(len(data))
		room--
	}
	q.stats.TxFull += uint64(len(fs) - n)
	q.publish()
	return n, nil
}

// Release implements driver.Queue.
func (q *queue) Release(fs []driver.Frame) {
	defer q.leave()
	if q.enter() != nil {
		return
	}
	for i := range fs {
		if h := int(fs[i].Handle); q.isLent(h) {
			q.stats.Lent--
			q.recycle(h)
		}
	}
	q.refill()
	q.publish()
}

// Flush implements driver.Queue.
func (q *queue) Flush() error {
	defer q.leave()
	if err := q.enter(); err != nil {
		return err
	}
	err := q.flush()
	q.publish()
	return err
}

// flush moves pending frames into the TX ring, 32 at a time because the library
// kicks once a call, and then kicks until the kernel has drained the ring or
// makes no progress.
func (q *queue) flush() error {
	if q.gone != nil {
		return q.gone
	}
	moved := 0
	var err error
	for err == nil && moved < len(q.txQueue) {
		chunk := q.txQueue[moved:min(moved+kickBatch, len(q.txQueue))]
		var n int
		if n, err = q.kick(chunk); n == 0 {
			break
		}
		for _, d := range chunk[:n] {
			q.state[int(d.Addr)/q.sock.size] = sending
		}
		moved += n
	}
	q.txQueue = q.txQueue[:copy(q.txQueue, q.txQueue[moved:])]
	for err == nil {
		before := q.sock.unsent()
		if before == 0 {
			break
		}
		if _, err = q.kick(nil); q.sock.unsent() == before {
			break
		}
	}
	q.stuck = err == nil && (len(q.txQueue) > 0 || q.sock.unsent() > 0)
	if errors.Is(err, driver.ErrDeviceGone) {
		q.gone = err
	}
	if q.stuck {
		q.reap() // a full completion ring stops the kernel too
	}
	q.restock()
	return err
}

// kick is one call of the library, and one system call.
func (q *queue) kick(descs []xdp.Desc) (int, error) {
	q.stats.Doorbells++
	return q.sock.push(descs)
}

// reapShare is the part of all frames that may wait in the completion ring
// before they are looked for: finding them costs a pass over all frames.
const reapShare = 8

// reap takes completed frames back. The library takes them out of the completion
// ring without saying which they were; it only marks them in its own list of free
// frames, which GetDescs returns as a whole. What is free there and was sending
// here has been completed.
func (q *queue) reap() {
	n := q.sock.xsk.NumCompleted()
	if n == 0 {
		return
	}
	q.sock.xsk.Complete(n)
	for _, d := range q.sock.xsk.GetDescs(len(q.state)) {
		if i := int(d.Addr) / q.sock.size; q.state[i] == sending {
			q.recycle(i)
		}
	}
}

// restock takes completed frames back when there are many, or when the kernel is
// short of frames to receive into.
func (q *queue) restock() {
	if q.sock.xsk.NumCompleted() >= len(q.state)/reapShare || len(q.freeList) < q.sock.xsk.NumFreeFillSlots() {
		q.reap()
	}
	q.refill()
}

// refill gives the kernel free frames to receive into.
func (q *queue) refill() {
	n := min(q.sock.xsk.NumFreeFillSlots(), len(q.freeList))
	if n == 0 {
		return
	}
	q.descs = q.descs[:0]
	for range n {
		i := q.pop()
		q.state[i] = filling
		q.descs = append(q.descs, xdp.Desc{Addr: uint64(i * q.sock.size), Len: uint32(q.sock.size)})
	}
	q.sock.xsk.Fill(q.descs)
}

func (q *queue) isLent(i int) bool { return i >= 0 && i < len(q.state) && q.state[i] == lent }

func (q *queue) recycle(i int) {
	q.state[i] = free
	q.freeList = append(q.freeList, uint32(i))
}

func (q *queue) pop() int {
	i := q.freeList[len(q.freeList)-1]
	q.freeList = q.freeList[:len(q.freeList)-1]
	return int(i)
}
