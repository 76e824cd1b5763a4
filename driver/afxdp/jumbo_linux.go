package afxdp

import (
	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/xskqueue"
	"shardnet/driver/wire"
)

// leastFirst is how many bytes of a spread packet its first descriptor holds: the
// kernel and NICs look for headers there, and the kernel stops dead at a packet
// whose Ethernet header is in two pieces (eth_type_trans).
const leastFirst = 256

// jumboPool is a queue's frames of several chunks. The chunks lie side by side in
// the UMEM, so that a frame is contiguous to its holder and is still sent from
// where it is, with a descriptor a chunk. The kernel receives into single chunks
// of its choice; a packet that takes several is copied together into a frame of
// the pool, and one that takes one is lent as it is. Handles follow those of the
// frames of one chunk.
type jumboPool struct {
	base      uint64 // the first frame's handle
	start     uint64 // its offset in the UMEM
	size      uint64 // bytes of a frame
	chunkSize uint64

	state    []frameState
	underway []uint8 // descriptors of a frame in state sending
	free     []uint32
}

func newJumboPool(l layout) *jumboPool {
	j := &jumboPool{
		base:      uint64(l.chunks),
		start:     uint64(l.chunks * l.chunkSize),
		size:      uint64(l.frameSize()),
		chunkSize: uint64(l.chunkSize),
		state:     make([]frameState, l.jumbos),
		underway:  make([]uint8, l.jumbos),
		free:      make([]uint32, 0, l.jumbos),
	}
	for k := l.jumbos - 1; k >= 0; k-- {
		j.free = append(j.free, uint32(k))
	}
	return j
}

// find returns which of the pool's frames has that handle. There is no pool where
// the MTU needs none.
func (j *jumboPool) find(handle uint64) (k uint32, ok bool) {
	if j == nil || handle < j.base || handle-j.base >= uint64(len(j.state)) {
		return 0, false
	}
	return uint32(handle - j.base), true
}

// lent is find for a frame that is with the caller.
func (j *jumboPool) lent(handle uint64) (k uint32, ok bool) {
	k, ok = j.find(handle)
	return k, ok && j.state[k] == lent
}

// take takes a frame off the free list, for the caller.
func (j *jumboPool) take() (k uint32, ok bool) {
	last := len(j.free) - 1
	if last < 0 {
		return 0, false
	}
	k, j.free = j.free[last], j.free[:last]
	j.state[k] = lent
	return k, true
}

func (j *jumboPool) release(k uint32) {
	j.state[k] = free
	j.free = append(j.free, k)
}

// frame is frame k with the first n bytes as its data.
func (j *jumboPool) frame(umem []byte, k uint32, n int) driver.Frame {
	at := j.start + uint64(k)*j.size
	return driver.Frame{Data: umem[at : at+uint64(n) : at+j.size], Handle: j.base + uint64(k)}
}

// sent notes that the chunk at addr was sent: with its last a frame is free.
func (j *jumboPool) sent(addr uint64) {
	if j == nil || addr < j.start {
		return
	}
	k := (addr - j.start) / j.size
	if k >= uint64(len(j.state)) || j.state[k] != sending {
		return // not a frame the kernel could have: leave it be
	}
	if j.underway[k]--; j.underway[k] == 0 {
		j.release(uint32(k))
	}
}

// gathering is a packet of which not all descriptors were there yet.
type gathering struct {
	open bool
	lost bool   // counted already, its other descriptors are passed over
	k    uint32 // the frame it is copied into, unless lost
	n    int    // bytes so far
}

// gather takes in one descriptor, which the caller has checked, of a packet of
// several, and its chunk with it. If that was the last of a packet that is whole,
// it is lent as fs[0].
func (q *queue) gather(d unix.XDPDesc, fs []driver.Frame) (n int) {
	g := &q.gathering
	if !g.open {
		*g = gathering{open: true}
		if q.jumbo == nil { // the socket was not bound to take such
			q.Counts.RxErrors++
			g.lost = true
		} else if !q.takeToGather() {
			q.Counts.RxDropped++
			g.lost = true
		}
	}
	if !g.lost {
		if into := q.jumbo.frame(q.sock.umem, g.k, 0).Data; g.n+int(d.Len) <= cap(into) {
			g.n += copy(into[g.n:cap(into)], q.sock.umem[d.Addr:d.Addr+uint64(d.Len)])
		} else {
			q.spoil()
		}
	}
	q.release(uint32(d.Addr / uint64(q.frameSize)))
	if d.Options&unix.XDP_PKT_CONTD != 0 {
		return 0
	}
	g.open = false
	if g.lost {
		return 0
	}
	fs[0] = q.jumbo.frame(q.sock.umem, g.k, g.n)
	q.Counts.RxBytes += uint64(g.n)
	return 1
}

// takeToGather takes a frame for the packet, of those that were sent if need be.
func (q *queue) takeToGather() (ok bool) {
	if q.gathering.k, ok = q.jumbo.take(); !ok {
		q.reap()
		q.gathering.k, ok = q.jumbo.take()
	}
	return ok
}

// spoil counts a packet of several descriptors as an error, and gives up what was
// gathered of it.
func (q *queue) spoil() {
	q.Counts.RxErrors++
	q.jumbo.release(q.gathering.k)
	q.gathering.lost = true
}

// refuse counts a descriptor that the kernel should not have produced, and with
// it the packet it is of.
func (q *queue) refuse(d unix.XDPDesc) {
	g, more := &q.gathering, d.Options&unix.XDP_PKT_CONTD != 0
	switch {
	case !g.open:
		q.Counts.RxErrors++
		*g = gathering{open: more, lost: true}
		return
	case !g.lost:
		q.spoil()
	default:
		q.Counts.RxErrors++
	}
	g.open = more
}

// allocJumbos is Alloc where the MTU needs frames of several chunks: all are
// such, for nobody knows yet what they will hold.
func (q *queue) allocJumbos(fs []driver.Frame) (n int) {
	if len(q.jumbo.free) < len(fs) {
		q.reap()
	}
	for n < len(fs) {
		k, ok := q.jumbo.take()
		if !ok {
			break
		}
		fs[n] = q.jumbo.frame(q.sock.umem, k, 0)
		n++
	}
	return n
}

// transmitJumbo is Transmit for frame k of the pool, which is lent. It leaves a
// frame that the ring has no room for, all of it, with the caller.
func (q *queue) transmitJumbo(f driver.Frame, k uint32) (taken bool) {
	j, tx := q.jumbo, q.sock.tx
	addr, ok := q.sendableJumbo(f, k)
	if !ok {
		q.Counts.Lent--
		q.Counts.TxErrors++
		j.release(k)
		return true
	}
	left := uint64(len(f.Data))
	first := j.chunkSize - addr%j.chunkSize
	move := first < leastFirst && first < left // the holder trimmed nearly a chunk's worth
	if move {
		addr -= addr % j.chunkSize
	}
	n := (addr%j.chunkSize + left + j.chunkSize - 1) / j.chunkSize
	if uint64(len(tx.entries))-uint64(tx.prod-tx.cons) < n {
		tx.cons = tx.consumer.Load()
		if uint64(len(tx.entries))-uint64(tx.prod-tx.cons) < n {
			return false
		}
	}
	if move {
		copy(q.sock.umem[addr:addr+left], f.Data)
	}
	for ; left > 0; tx.prod++ {
		d := unix.XDPDesc{Addr: addr, Len: uint32(min(left, j.chunkSize-addr%j.chunkSize))}
		addr += uint64(d.Len)
		if left -= uint64(d.Len); left > 0 {
			d.Options = unix.XDP_PKT_CONTD
		}
		tx.entries[tx.prod&tx.mask] = d
	}
	j.state[k], j.underway[k] = sending, uint8(n)
	q.Counts.Lent--
	q.Counts.TxPackets++
	q.Counts.TxBytes += uint64(len(f.Data))
	return true
}

// sendableJumbo is sendable for frame k of the pool.
func (q *queue) sendableJumbo(f driver.Frame, k uint32) (addr uint64, ok bool) {
	if !wire.FitsMTU(f.Data, q.mtu) {
		return 0, false
	}
	at := xskqueue.OffsetIn(q.sock.umem, f.Data)
	lo := int(q.jumbo.start) + int(k)*int(q.jumbo.size)
	if at < lo || at+len(f.Data) > lo+int(q.jumbo.size) {
		return 0, false
	}
	return uint64(at), true
}
