package memnic

import (
	"sync"
	"sync/atomic"
)

// cacheLine is the distance that keeps two goroutines' words from sharing a line.
const cacheLine = 64

// ring is the RX ring of a queue. As in hardware, the consumer posts empty frames
// and the producers fill them in the order posted:
//
//	tail <= head <= fill <= tail + size
//
//	[tail, head)  filled, for the consumer to take
//	[head, fill)  posted, for the producers to fill
//
// The consumer (the queue's owner) writes slots at fill and then publishes fill;
// a producer holds mu, writes the slot at head and then publishes head. Both
// stores are sequentially consistent (sync/atomic), so each side sees whole what
// it may touch. Indices run free and are masked on use.
type ring struct {
	slots []slot
	mask  uint32
	mem   []byte // of the queue's frames
	size  int    // bytes from frame to frame

	// The consumer's own, under the queue's mu.
	tail   uint32
	posted uint32 // what fill says

	_    [cacheLine]byte
	fill atomic.Uint32 // written by the consumer

	_       [cacheLine]byte
	mu      sync.Mutex // among producers, and against close
	closed  bool
	head    atomic.Uint32 // written by producers, under mu
	dropped atomic.Uint64 // written by producers, under mu

	_    [cacheLine]byte
	bell bell
}

// slot is one entry: the frame that lies there, and once filled, its length.
type slot struct {
	frame uint32
	len   uint32
}

func newRing(entries int, mem []byte, stride int) *ring {
	return &ring{
		slots: make([]slot, entries),
		mask:  uint32(entries - 1),
		mem:   mem,
		size:  stride,
		bell:  bell{ch: make(chan struct{}, 1)},
	}
}

// ready reports whether there is a filled slot. The consumer calls it.
func (r *ring) ready() bool { return r.head.Load() != r.tail }

// room is how many more frames may be posted. The consumer calls it.
func (r *ring) room() int { return len(r.slots) - int(r.posted-r.tail) }

// deliver copies frames into what the consumer posted, and drops those for which
// there is nothing. It is called by senders, from any goroutine, with frames no
// longer than size, and with dest[i] telling which of them are for queue.
func (r *ring) deliver(frames [][]byte, dest []uint16, queue uint16) {
	r.mu.Lock()
	head, fill := r.head.Load(), r.fill.Load()
	if r.closed {
		fill = head
	}
	start, dropped := head, uint64(0)
	for i, data := range frames {
		if dest[i] != queue {
			continue
		}
		if head == fill {
			dropped++
			continue
		}
		s := &r.slots[head&r.mask]
		s.len = uint32(copy(r.mem[int(s.frame)*r.size:][:r.size], data))
		head++
	}
	if dropped > 0 {
		r.dropped.Add(dropped)
	}
	r.head.Store(head)
	r.mu.Unlock()
	if head != start {
		r.bell.ringIfParked()
	}
}

// close makes the ring drop what still comes. Afterwards no sender writes to the
// frames.
func (r *ring) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
}

// bell wakes the consumer. A ring is remembered until the consumer hears it.
type bell struct {
	parked atomic.Bool // the consumer is about to sleep, or asleep
	ch     chan struct{}
}

// ring makes the present or next sleep of the consumer end.
func (b *bell) ring() {
	select {
	case b.ch <- struct{}{}:
	default: // it has been rung already
	}
}

// ringIfParked rings unless the consumer is awake and will look for itself. No
// wake-up is lost: the producer publishes head and then looks at parked, the
// consumer sets parked and then looks at head, and these are totally ordered.
func (b *bell) ringIfParked() {
	if b.parked.Load() {
		b.ring()
	}
}
