package stack

import (
	"hash/maphash"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
)

const (
	// txStock is how many empty frames are kept at hand for writers.
	txStock = 256
	// txBacklog bounds the packets that wait for an empty frame: a window's
	// worth of one fast connection. Beyond it packets are dropped and counted,
	// as by any full queueing discipline; TCP sends them again.
	txBacklog = 4096
	// maxReplies bounds the answers in place that wait for room in the TX ring:
	// four turns' worth.
	maxReplies = 4 * rxBudget
	// maxSwaps bounds what one turn sends, so that writers on other cores don't
	// keep the loop from receiving.
	maxSwaps = 4
)

// transmitter is the queueing discipline of one shard's NIC: netstack's packets
// are written straight into TX frames.
//
// Netstack calls WritePacket from the loop, but from application goroutines too,
// while only the loop may use the queue. So the loop keeps a stock of empty
// frames here; WritePacket fills one under mu, and the loop carries the filled
// ones to the queue in flush, once a turn. When the stock is used up packets
// wait in backlog, by reference, for the next turn.
//
// Owner of the bytes: a frame in stock or filled is on loan to this
// transmitter; a packet in backlog is referenced by it.
type transmitter struct {
	q    driver.Queue
	kick func() // wakes the loop if it sleeps

	mu      sync.Mutex
	stock   []driver.Frame        // empty
	filled  []driver.Frame        // to be sent, oldest first
	backlog []*stack.PacketBuffer // ring of txBacklog
	head    int
	waiting int // packets in backlog
	cut     int // segments of the first of them that are in frames already
	closed  bool
	dropped uint64 // packets lost: backlog full, or too long for a frame
	udpSent uint64 // datagrams written by sendUDP
	ipID    uint32 // of the last of those: IPv4's identification, or a fragment's
	hops    *hopCache
	queued  atomic.Bool // filled or backlog is not empty

	// The loop's own.
	acks    *ackFilter     // nil: every ACK is sent
	saved   uint64         // ACKs not sent
	starved bool           // packets wait in backlog and the queue had no empty frame
	pending []driver.Frame // taken from filled, not yet taken by the queue
	spare   []driver.Frame // filled and pending change places with it
	replies []driver.Frame // received frames, answered in place
	fast    []driver.Frame // segments of the shard's own TCP
}

var _ stack.QueueingDiscipline = (*transmitter)(nil)

func newTransmitter(q driver.Queue, kick func()) *transmitter {
	return &transmitter{
		q: q, kick: kick,
		stock:   make([]driver.Frame, 0, txStock),
		filled:  make([]driver.Frame, 0, txStock),
		spare:   make([]driver.Frame, 0, txStock),
		backlog: make([]*stack.PacketBuffer, txBacklog),
		acks:    newACKFilter(),
		ipID:    rand.Uint32(),
		hops:    &hopCache{seed: maphash.MakeSeed()},
		replies: make([]driver.Frame, 0, maxReplies),
	}
}

// WritePacket implements stack.QueueingDiscipline. It may be called from any
// goroutine, with netstack's locks held.
func (t *transmitter) WritePacket(pkt *stack.PacketBuffer) tcpip.Error {
	t.mu.Lock()
	switch {
	case t.closed: // netstack's last words, as it is taken down, are no loss
		t.mu.Unlock()
		return &tcpip.ErrClosedForSend{}
	case t.waiting == 0 && len(t.stock) >= segmentsOf(pkt):
		if !t.fill(pkt, 0, segmentsOf(pkt)) {
			t.dropped++
			t.mu.Unlock()
			return &tcpip.ErrMessageTooLong{}
		}
	case t.waiting < txBacklog:
		t.backlog[(t.head+t.waiting)%txBacklog] = pkt.IncRef()
		t.waiting++
	default:
		t.dropped++
		t.mu.Unlock()
		return &tcpip.ErrNoBufferSpace{}
	}
	t.queued.Store(true)
	t.mu.Unlock()
	t.kick()
	return nil
}

// fill copies pkt into a frame of the stock, or n of its segments, from number
// first on, into n frames. It returns false when one is longer than a frame. The
// caller holds mu and has made sure that there are frames.
func (t *transmitter) fill(pkt *stack.PacketBuffer, first, n int) bool {
	if segmentsOf(pkt) > 1 {
		return t.fillSegments(pkt, first, n)
	}
	f := t.stock[len(t.stock)-1]
	size := pkt.Size()
	if size > cap(f.Data) {
		return false
	}
	f.Data = f.Data[:size]
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	from.read(f.Data)
	if gso := &pkt.GSOOptions; gso.Type != stack.GSONone && gso.NeedsCsum {
		tcp := etherHeaderLen + int(gso.L3HdrLen)
		sealTCP(f.Data[etherHeaderLen:tcp], f.Data[tcp:])
	}
	t.stock = t.stock[:len(t.stock)-1]
	t.filled = append(t.filled, f)
	return true
}

// flush hands what was written to the queue and restocks. It returns how many
// frames the queue took. Loop only.
func (t *transmitter) flush() (int, error) {
	if t.idle() {
		return 0, nil
	}
	sent := 0
	for _, list := range [...]*[]driver.Frame{&t.replies, &t.fast} {
		n, err := t.flushList(list)
		if sent += n; err != nil {
			return sent, err
		}
	}
	for range maxSwaps {
		if len(t.pending) == 0 && !t.swap() {
			break
		}
		n, err := t.q.Transmit(t.pending)
		sent += n
		t.pending = t.pending[n:]
		if err != nil {
			return sent, err
		}
		if len(t.pending) > 0 { // ring full
			break
		}
	}
	// Also when nothing was sent: the queue may have to be told to go on before
	// it has a frame, or room, again.
	return sent, t.q.Flush()
}

// reply takes f, a received frame that became its own answer. It returns false
// when too many wait already; f is then still the caller's. Loop only.
//
// Those that wait are missing where frames are received: a queue whose TX ring
// stands still would soon hear nothing any more.
func (t *transmitter) reply(f driver.Frame) bool {
	if len(t.replies) >= maxReplies {
		return false
	}
	t.replies = append(t.replies, f)
	return true
}

// send takes frames, to be sent. Loop only.
func (t *transmitter) send(frames []driver.Frame) { t.fast = append(t.fast, frames...) }

// flushList hands frames of the loop's own to the queue, as far as it has room.
func (t *transmitter) flushList(list *[]driver.Frame) (int, error) {
	if len(*list) == 0 {
		return 0, nil
	}
	n, err := t.q.Transmit(*list)
	*list = (*list)[:copy(*list, (*list)[n:])]
	return n, err
}

// swap makes pending of what is filled, restocks, and moves the backlog into
// frames. It returns false when there is nothing to send.
func (t *transmitter) swap() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.restock()
	for t.waiting > 0 && len(t.stock) > 0 {
		pkt := t.backlog[t.head]
		left := segmentsOf(pkt) - t.cut
		n := min(left, len(t.stock))
		ok := t.fill(pkt, t.cut, n)
		if ok && n < left {
			t.cut += n
			break
		}
		t.cut = 0
		t.backlog[t.head] = nil
		t.head = (t.head + 1) % txBacklog
		t.waiting--
		if !ok {
			t.dropped++
		}
		pkt.DecRef()
	}
	t.queued.Store(t.waiting > 0)
	t.starved = t.waiting > 0
	if t.acks != nil {
		if n := t.acks.filter(t.filled); n > 0 {
			t.saved += uint64(n)
			t.compact()
		}
	}
	if len(t.filled) == 0 {
		return false
	}
	t.pending, t.filled, t.spare = t.filled, t.spare[:0], t.filled
	t.restock()
	return true
}

// compact takes the frames that the filter emptied back. The caller holds mu.
func (t *transmitter) compact() {
	kept := t.filled[:0]
	for _, f := range t.filled {
		switch {
		case len(f.Data) > 0:
			kept = append(kept, f)
		case len(t.stock) < txStock:
			t.stock = append(t.stock, f)
		default:
			t.q.Release([]driver.Frame{f})
		}
	}
	t.filled = kept
}

// restock fills the stock from the queue. The caller holds mu.
func (t *transmitter) restock() {
	if n := len(t.stock); n < txStock/2 {
		got := t.q.Alloc(t.stock[n:txStock])
		t.stock = t.stock[:n+got]
	}
}

// idle reports whether nothing waits to be sent. Loop only.
func (t *transmitter) idle() bool {
	return !t.queued.Load() && len(t.pending) == 0 && len(t.replies) == 0 && len(t.fast) == 0
}

// stuck reports whether something waits for the queue: frames it would not take,
// or packets for which it had no frame. Loop only.
func (t *transmitter) stuck() bool {
	return len(t.pending) > 0 || len(t.replies) > 0 || len(t.fast) > 0 || t.starved
}

// counts is how many packets were lost here, and how many datagrams did not come
// from netstack.
func (t *transmitter) counts() (dropped, udpSent uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dropped, t.udpSent
}

// Close implements stack.QueueingDiscipline: later packets are refused. Frames
// and packets still held are given back. It is called by the loop's goroutine
// when the loop has ended, or by netstack after that.
func (t *transmitter) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	t.q.Release(t.stock)
	t.q.Release(t.filled)
	t.q.Release(t.pending)
	t.q.Release(t.replies)
	t.q.Release(t.fast)
	t.stock, t.filled, t.pending, t.spare, t.replies, t.fast = nil, nil, nil, nil, nil, nil
	for ; t.waiting > 0; t.waiting-- {
		t.backlog[t.head].DecRef()
		t.head = (t.head + 1) % txBacklog
	}
	t.backlog = nil
	t.queued.Store(false)
}
