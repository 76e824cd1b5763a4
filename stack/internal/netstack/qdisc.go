package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
	"shardnet/stack/drop"
	"shardnet/stack/internal/txq"
)

// backlogLen bounds the packets that wait for a free frame: a window's worth of one fast
// connection. Beyond it packets are dropped, as by any full queueing discipline; TCP sends
// them again.
const backlogLen = 4096

// qdisc is the queueing discipline of netstack's NIC: packets are written straight into
// free frames of the shard's transmit queue, and wait here, by reference, when there is
// none. The transmit queue's lock guards it.
type qdisc struct {
	tx          *txq.Queue
	packets     []*stack.PacketBuffer // ring of backlogLen
	head, n     int
	segmentDone int // segments of the first packet that are in frames already
}

var _ stack.QueueingDiscipline = (*qdisc)(nil)

func newQdisc(tx *txq.Queue) *qdisc {
	return &qdisc{tx: tx, packets: make([]*stack.PacketBuffer, backlogLen)}
}

// WritePacket implements stack.QueueingDiscipline. It is called on any goroutine, with
// netstack's locks held.
func (q *qdisc) WritePacket(pkt *stack.PacketBuffer) tcpip.Error {
	tx := q.tx
	tx.Lock()
	switch {
	case tx.Closed(): // what netstack sends while it is taken down is no loss
		tx.Unlock()
		return &tcpip.ErrClosedForSend{}
	case q.n == 0 && tx.Free() >= segmentsOf(pkt):
		if !q.fill(pkt, 0, segmentsOf(pkt)) {
			tx.Drop(drop.TooLong)
			tx.Unlock()
			return &tcpip.ErrMessageTooLong{}
		}
	case q.n < backlogLen:
		q.packets[(q.head+q.n)%backlogLen] = pkt.IncRef()
		q.n++
		tx.Backlogged()
	default:
		tx.Drop(drop.TxBacklog)
		tx.Unlock()
		return &tcpip.ErrNoBufferSpace{}
	}
	tx.Unlock()
	tx.Sent()
	return nil
}

// drain writes what waits into free frames, and reports whether packets are left. The
// transmit queue is locked.
func (q *qdisc) drain() (left bool) {
	for q.n > 0 && q.tx.Free() > 0 {
		pkt := q.packets[q.head]
		todo := segmentsOf(pkt) - q.segmentDone
		n := min(todo, q.tx.Free())
		ok := q.fill(pkt, q.segmentDone, n)
		if ok && n < todo {
			q.segmentDone += n
			break
		}
		if !ok {
			q.tx.Drop(drop.TooLong)
		}
		q.pop()
	}
	return q.n > 0
}

// pop drops the reference to the first packet.
func (q *qdisc) pop() {
	q.packets[q.head].DecRef()
	q.packets[q.head] = nil
	q.head = (q.head + 1) % backlogLen
	q.n--
	q.segmentDone = 0
}

// fill copies pkt into a free frame, or n of its segments, from number first on, into n
// frames. It returns false when one is longer than a frame. The transmit queue is locked
// and has the frames.
func (q *qdisc) fill(pkt *stack.PacketBuffer, first, n int) bool {
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	gso := &pkt.GSOOptions
	l4 := wire.EthernetLen + int(gso.L3HdrLen)
	if segmentsOf(pkt) > 1 {
		var head [wire.EthernetLen + wire.MaxIPv4Len]byte
		if l4 > len(head) {
			return false
		}
		from.read(head[:l4])
		w := segmentWriter{tx: q.tx, head: head[:l4], ipLen: int(gso.L3HdrLen), mss: int(gso.MSS)}
		return w.write(&from, pkt.HeaderSize()-l4, pkt.Data().Size(), first, n)
	}
	size := pkt.Size()
	if size > cap(q.tx.Peek().Data) {
		return false
	}
	f := q.tx.Take()
	f.Data = f.Data[:size]
	from.read(f.Data)
	if gso.Type != stack.GSONone && gso.NeedsCsum {
		setTCPChecksum(f.Data[wire.EthernetLen:], f.Data[l4:])
	}
	q.tx.Put(f)
	return true
}

// Close implements stack.QueueingDiscipline: what waits is dropped. The loop has ended.
func (q *qdisc) Close() {
	q.tx.Lock()
	defer q.tx.Unlock()
	for q.n > 0 {
		q.pop()
	}
}
