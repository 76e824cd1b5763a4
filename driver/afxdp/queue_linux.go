package afxdp

import (
	"errors"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/xskqueue"
	"shardnet/driver/wire"
)

// frameState is where a frame is. Every frame is in exactly one place.
type frameState uint8

const (
	free    frameState = iota // on the free list
	filling                   // in the fill ring, with the kernel, or in the RX ring
	lent                      // with the caller
	sending                   // in the TX ring, with the kernel, or in the completion ring
)

// queue is one AF_XDP socket, a driver.Queue.
type queue struct {
	xskqueue.Queue
	sock      *socket
	frameSize int // of a frame of one chunk
	mtu       int
	zeroCopy  bool
	busyPoll  bool       // Receive makes the kernel do its receive work
	segments  *segmenter // nil: every frame goes by the ring

	// The owner's, between Enter and Leave.
	state     []frameState // of the frames of one chunk
	freeList  []uint32     // of these, a stack: the frame used last is the warmest
	posted    int          // frames in state filling
	jumbo     *jumboPool   // the frames of several chunks, or nil
	gathering gathering
}

func newQueue(s *socket, l layout, mtu int, zeroCopy bool) *queue {
	n := l.chunks
	q := &queue{
		sock:      s,
		frameSize: l.chunkSize,
		mtu:       mtu,
		zeroCopy:  zeroCopy,
		state:     make([]frameState, n),
		freeList:  make([]uint32, 0, n),
	}
	for i := n - 1; i >= 0; i-- {
		q.freeList = append(q.freeList, uint32(i))
	}
	if l.jumbos > 0 {
		q.jumbo = newJumboPool(l)
	}
	q.Counts.Frames = l.chunks + l.jumbos
	q.refill()
	q.Publish()
	return q
}

// refill posts free frames for receiving, as many as the RX ring can hold.
func (q *queue) refill() {
	fill := q.sock.fill
	n := min(len(q.sock.rx.entries)-q.posted, len(q.freeList))
	if n == 0 {
		return
	}
	// The fill ring has an entry for each frame that may be posted: there is room.
	for range n {
		i := q.freeList[len(q.freeList)-1]
		q.freeList = q.freeList[:len(q.freeList)-1]
		q.state[i] = filling
		fill.entries[fill.prod&fill.mask] = uint64(i) * uint64(q.frameSize)
		fill.prod++
	}
	q.posted += n
	fill.producer.Store(fill.prod)
	if fill.flags.Load()&unix.XDP_RING_NEED_WAKEUP != 0 {
		kickRx(q.sock.fd)
		q.Counts.Doorbells++
	}
}

// reap takes back the frames that were sent.
func (q *queue) reap() {
	c := q.sock.completion
	c.prod = c.producer.Load()
	if c.cons == c.prod {
		return
	}
	for ; c.cons != c.prod; c.cons++ {
		addr := c.entries[c.cons&c.mask]
		i := addr / uint64(q.frameSize)
		if i >= uint64(len(q.state)) || q.state[i] != sending {
			q.jumbo.sent(addr)
			continue // or not a frame the kernel could have: leave it be
		}
		q.release(uint32(i))
	}
	c.consumer.Store(c.cons)
}

func (q *queue) release(i uint32) {
	q.state[i] = free
	q.freeList = append(q.freeList, i)
}

// Receive implements driver.Queue.
func (q *queue) Receive(fs []driver.Frame) (int, error) {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return 0, err
	}
	rx := q.sock.rx
	if rx.prod == rx.cons {
		rx.prod = rx.producer.Load()
		if rx.prod == rx.cons && q.busyPoll {
			kickRx(q.sock.fd)
			q.Counts.Doorbells++
			rx.prod = rx.producer.Load()
		}
		if rx.prod == rx.cons {
			return 0, q.Gone
		}
	}
	n := 0
	for ; rx.cons != rx.prod && n < len(fs); rx.cons++ {
		d := rx.entries[rx.cons&rx.mask]
		i := d.Addr / uint64(q.frameSize)
		if i >= uint64(len(q.state)) || q.state[i] != filling {
			q.refuse(d)
			continue
		}
		q.posted--
		end := (i + 1) * uint64(q.frameSize)
		if d.Addr+uint64(d.Len) > end {
			q.refuse(d)
			q.release(uint32(i))
			continue
		}
		if d.Options&unix.XDP_PKT_CONTD != 0 || q.gathering.open {
			n += q.gather(d, fs[n:])
			continue
		}
		q.state[i] = lent
		fs[n] = driver.Frame{Data: q.sock.umem[d.Addr : d.Addr+uint64(d.Len) : end], Handle: i}
		q.Counts.RxBytes += uint64(d.Len)
		n++
	}
	rx.consumer.Store(rx.cons)
	q.Counts.RxPackets += uint64(n)
	q.Counts.Lent += n
	q.refill()
	return n, nil
}

// Alloc implements driver.Queue.
func (q *queue) Alloc(fs []driver.Frame) int {
	defer q.Leave()
	if q.Enter() != nil {
		return 0
	}
	var n int
	if q.jumbo != nil {
		n = q.allocJumbos(fs)
	} else {
		n = q.allocChunks(fs)
	}
	q.Counts.Lent += n
	q.Counts.AllocShort += uint64(len(fs) - n)
	return n
}

func (q *queue) allocChunks(fs []driver.Frame) int {
	if len(q.freeList) < len(fs) {
		q.reap()
	}
	n := min(len(fs), len(q.freeList))
	for k := range n {
		i := q.freeList[len(q.freeList)-1]
		q.freeList = q.freeList[:len(q.freeList)-1]
		q.state[i] = lent
		at := int(i) * q.frameSize
		fs[k] = driver.Frame{Data: q.sock.umem[at : at : at+q.frameSize], Handle: uint64(i)}
	}
	return n
}

// Release implements driver.Queue. A frame that is not lent is ignored.
func (q *queue) Release(fs []driver.Frame) {
	defer q.Leave()
	if q.Enter() != nil {
		return
	}
	for _, f := range fs {
		if f.Handle < uint64(len(q.state)) && q.state[f.Handle] == lent {
			q.release(uint32(f.Handle))
			q.Counts.Lent--
		} else if k, ok := q.jumbo.lent(f.Handle); ok {
			q.jumbo.release(k)
			q.Counts.Lent--
		}
	}
	q.refill()
}

// Transmit implements driver.Queue.
func (q *queue) Transmit(fs []driver.Frame) (int, error) {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return 0, err
	}
	if q.Gone != nil {
		return 0, q.Gone
	}
	tx := q.sock.tx
	if int(tx.prod-tx.cons)+len(fs) > len(tx.entries) {
		tx.cons = tx.consumer.Load()
	}
	n := 0
	for n < len(fs) {
		if q.segments != nil {
			if k := q.transmitRun(fs[n:]); k > 0 {
				n += k
				continue
			}
		}
		f := fs[n]
		if f.Handle >= uint64(len(q.state)) || q.state[f.Handle] != lent {
			if k, ok := q.jumbo.lent(f.Handle); ok {
				if !q.transmitJumbo(f, k) {
					break
				}
				n++
				continue
			}
			q.Counts.TxErrors++ // not the caller's to send, nor ours to recycle
			n++
			continue
		}
		addr, ok := q.sendable(f)
		if ok && int(tx.prod-tx.cons) == len(tx.entries) {
			break
		}
		q.Counts.Lent--
		n++
		if !ok {
			q.Counts.TxErrors++
			q.release(uint32(f.Handle))
			continue
		}
		q.state[f.Handle] = sending
		tx.entries[tx.prod&tx.mask] = unix.XDPDesc{Addr: addr, Len: uint32(len(f.Data))}
		tx.prod++
		q.Counts.TxPackets++
		q.Counts.TxBytes += uint64(len(f.Data))
	}
	tx.producer.Store(tx.prod)
	q.Counts.TxFull += uint64(len(fs) - n)
	return n, nil
}

// sendable returns where f's bytes are in the UMEM, and whether the kernel would
// send them: it stops for good at a frame it does not like.
func (q *queue) sendable(f driver.Frame) (addr uint64, ok bool) {
	n := len(f.Data)
	if !wire.FitsMTU(f.Data, q.mtu) {
		return 0, false
	}
	at := xskqueue.OffsetIn(q.sock.umem, f.Data)
	if at < 0 || at/q.frameSize != int(f.Handle) || (at+n-1)/q.frameSize != int(f.Handle) {
		return 0, false
	}
	return uint64(at), true
}

// Flush implements driver.Queue.
func (q *queue) Flush() error {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return err
	}
	defer q.Publish()
	return q.Send()
}

// maxIdleKicks is how many kicks in a row may move nothing before the rest is
// left to the next Flush or Wait.
const maxIdleKicks = 3

// Send implements xskqueue.Rings: it kicks until the TX ring is drained. In copy mode one
// kick moves at most 32 frames (TX_BATCH_SIZE, net/xdp/xsk.c); with zero-copy the NIC
// moves them, and one kick starts it if it asks for one.
func (q *queue) Send() error {
	q.Stuck = false
	if q.Gone != nil {
		return q.Gone
	}
	tx := q.sock.tx
	for idle := 0; ; {
		before := tx.cons
		tx.cons = tx.consumer.Load()
		if tx.cons == tx.prod {
			break
		}
		if tx.cons == before && idle > 0 {
			if idle++; idle > maxIdleKicks {
				q.Stuck = true
				break
			}
		}
		if tx.flags.Load()&unix.XDP_RING_NEED_WAKEUP == 0 {
			break
		}
		errno := kick(q.sock.fd)
		q.Counts.Doorbells++
		if err := q.sendError(errno); err != nil {
			q.reap()
			return err
		}
		q.reap() // the kernel stops when it can't say that a frame was sent
		if q.zeroCopy {
			q.Stuck = errno != 0 // the NIC's driver was busy, and has not been told
			break
		}
		idle = max(idle, 1)
		if tx.consumer.Load() != tx.cons {
			idle = 1
		}
	}
	q.reap()
	return nil
}

// sendError is xskqueue.SendError, and remembers that the interface is gone.
func (q *queue) sendError(errno unix.Errno) error {
	err := xskqueue.SendError(errno)
	if errors.Is(err, driver.ErrDeviceGone) {
		q.Gone = err
	}
	return err
}

// Kick implements xskqueue.Rings.
func (q *queue) Kick() error { return xskqueue.SendError(kick(q.sock.fd)) }

// Received implements xskqueue.Rings.
func (q *queue) Received() bool {
	rx := q.sock.rx
	return rx.prod != rx.cons || rx.producer.Load() != rx.cons
}

// Recycle implements xskqueue.Rings.
func (q *queue) Recycle() {
	q.reap()
	q.refill()
}

// CloseRings implements xskqueue.Rings.
func (q *queue) CloseRings() error {
	if q.segments != nil {
		_ = q.segments.close() // nothing is left in it
	}
	return q.sock.close()
}
