//go:build linux && amd64

package asavie

import (
	"errors"

	"github.com/asavie/xdp"

	"shardnet/driver"
	"shardnet/driver/internal/xskqueue"
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
	xskqueue.Queue
	sock *socket
	mtu  int

	state    []frameState
	freeList []uint32   // a stack: the frame used last is the warmest
	txQueue  []xdp.Desc // pending frames, in order
	descs    []xdp.Desc // for Fill
}

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
	q.Counts.Frames = s.frames
	if err := q.Init(q, s.fd, s.file); err != nil {
		return nil, err
	}
	q.refill()
	q.Publish()
	return q, nil
}

// Receive implements driver.Queue.
func (q *queue) Receive(fs []driver.Frame) (n int, err error) {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return 0, err
	}
	ready := min(q.sock.xsk.NumReceived(), len(fs))
	if ready == 0 {
		return 0, q.Gone
	}
	for _, d := range q.sock.xsk.Receive(ready) {
		i := int(d.Addr) / q.sock.size
		end := (i + 1) * q.sock.size
		if i >= len(q.state) || q.state[i] != filling || int(d.Addr)+int(d.Len) > end {
			q.Counts.RxErrors++
			if i < len(q.state) && q.state[i] == filling {
				q.recycle(i)
			}
			continue
		}
		q.state[i] = lent
		fs[n] = driver.Frame{Data: q.sock.umem[d.Addr : d.Addr+uint64(d.Len) : end], Handle: uint64(i)}
		q.Counts.RxBytes += uint64(d.Len)
		n++
	}
	q.Counts.RxPackets += uint64(n)
	q.Counts.Lent += n
	q.refill()
	q.Publish()
	return n, nil
}

// Alloc implements driver.Queue.
func (q *queue) Alloc(fs []driver.Frame) int {
	defer q.Leave()
	if q.Enter() != nil {
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
	q.Counts.AllocShort += uint64(len(fs) - n)
	q.Counts.Lent += n
	q.Publish()
	return n
}

// Transmit implements driver.Queue. The frames wait here for Flush: the library
// would make a system call at once.
func (q *queue) Transmit(fs []driver.Frame) (n int, err error) {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return 0, err
	}
	if q.Gone != nil {
		return 0, q.Gone
	}
	room := q.sock.txRing - q.sock.unsent() - len(q.txQueue)
	for ; n < len(fs) && room > 0; n++ {
		i := int(fs[n].Handle)
		if !q.isLent(i) {
			q.Counts.TxErrors++ // from a caller who did not hold it
			continue
		}
		q.Counts.Lent--
		data := fs[n].Data
		at := xskqueue.OffsetIn(q.sock.umem, data)
		if !wire.FitsMTU(data, q.mtu) || at < i*q.sock.size || at+len(data) > (i+1)*q.sock.size {
			q.Counts.TxErrors++
			q.recycle(i)
			continue
		}
		q.state[i] = pending
		q.txQueue = append(q.txQueue, xdp.Desc{Addr: uint64(at), Len: uint32(len(data))})
		q.Counts.TxPackets++
		q.Counts.TxBytes += uint64(len(data))
		room--
	}
	q.Counts.TxFull += uint64(len(fs) - n)
	q.Publish()
	return n, nil
}

// Release implements driver.Queue.
func (q *queue) Release(fs []driver.Frame) {
	defer q.Leave()
	if q.Enter() != nil {
		return
	}
	for i := range fs {
		if h := int(fs[i].Handle); q.isLent(h) {
			q.Counts.Lent--
			q.recycle(h)
		}
	}
	q.refill()
	q.Publish()
}

// Flush implements driver.Queue.
func (q *queue) Flush() error {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return err
	}
	err := q.Send()
	q.Publish()
	return err
}

// Send implements xskqueue.Rings. It moves pending frames into the TX ring, 32 at a time
// because the library kicks once a call, and then kicks until the kernel has drained the
// ring or makes no progress.
func (q *queue) Send() error {
	if q.Gone != nil {
		return q.Gone
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
	q.Stuck = err == nil && (len(q.txQueue) > 0 || q.sock.unsent() > 0)
	if errors.Is(err, driver.ErrDeviceGone) {
		q.Gone = err
	}
	if q.Stuck {
		q.reap() // a full completion ring stops the kernel too
	}
	q.Recycle()
	return err
}

// kick is one call of the library, and one system call.
func (q *queue) kick(descs []xdp.Desc) (int, error) {
	q.Counts.Doorbells++
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

// Recycle implements xskqueue.Rings. It takes frames back when many were completed, or
// when the kernel is short of frames to receive into.
func (q *queue) Recycle() {
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

// Kick implements xskqueue.Rings.
func (q *queue) Kick() error {
	_, err := q.kick(nil)
	return err
}

// Received implements xskqueue.Rings.
func (q *queue) Received() bool { return q.sock.xsk.NumReceived() > 0 }

// CloseRings implements xskqueue.Rings. When frames are lent, the memory of all the
// queue's frames stays with the process until it ends: the library's memory is not the
// garbage collector's to free.
func (q *queue) CloseRings() error { return q.sock.close(q.Counts.Lent > 0) }
