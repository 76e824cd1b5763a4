package ring

import "sync/atomic"

// Slots is how many frames wait between one pair of shards, a power of two.
const Slots = 256

// Ring is a bounded ring from one shard to another, for frames that arrived on a queue
// that is not their owner's. A frame belongs to its queue, so its bytes are copied into
// the slot; the slot's buffer is kept and used again.
//
// There is one producer and one consumer. The producer alone writes tail and the free
// slots, the consumer alone writes head. Each publishes with an atomic store what the
// other acquires with an atomic load. The zero Ring is empty.
type Ring struct {
	_    [64]byte
	head atomic.Uint64 // next to take; written by the consumer
	_    [56]byte
	tail atomic.Uint64 // next to fill; written by the producer
	_    [56]byte

	slots [Slots]Slot
}

// Slot is a frame, and whether its checksums were verified.
type Slot struct {
	Frame    []byte
	Verified bool
}

// Push copies frame into the ring. It returns false when the ring is full. Producer only.
func (r *Ring) Push(frame []byte, verified bool) bool {
	tail := r.tail.Load()
	if tail-r.head.Load() == Slots {
		return false
	}
	s := &r.slots[tail%Slots]
	s.Frame = append(s.Frame[:0], frame...)
	s.Verified = verified
	r.tail.Store(tail + 1)
	return true
}

// Len is how many frames wait. Any goroutine may call it.
func (r *Ring) Len() int { return int(r.tail.Load() - r.head.Load()) }

// At returns frame i of Len, the oldest being 0. It is the consumer's until Pop.
func (r *Ring) At(i int) *Slot { return &r.slots[(r.head.Load()+uint64(i))%Slots] }

// Pop gives the n oldest slots back to the producer. Consumer only.
func (r *Ring) Pop(n int) { r.head.Store(r.head.Load() + uint64(n)) }
