package stack

import "sync/atomic"

// handoverSlots is how many frames wait between one pair of shards.
const handoverSlots = 256

// handover is a bounded ring from one shard to another, for frames that arrived
// on a queue that is not their owner's. A frame belongs to its queue, so its
// bytes are copied into the slot; the slot's buffer is kept and used again.
//
// The producer alone writes tail and the slots in [head+len, ...), the consumer
// alone writes head. Each publishes with an atomic store what the other
// acquires with an atomic load.
type handover struct {
	_    [64]byte
	head atomic.Uint64 // next to take; written by the consumer
	_    [56]byte
	tail atomic.Uint64 // next to fill; written by the producer
	_    [56]byte

	slots [handoverSlots]handoverSlot
}

type handoverSlot struct {
	frame    []byte
	verified bool
}

// push copies frame into the ring. It returns false when the ring is full.
func (r *handover) push(frame []byte, verified bool) bool {
	tail := r.tail.Load()
	if tail-r.head.Load() == handoverSlots {
		return false
	}
	s := &r.slots[tail%handoverSlots]
	s.frame = append(s.frame[:0], frame...)
	s.verified = verified
	r.tail.Store(tail + 1)
	return true
}

// peek returns the oldest frame, valid until pop, or nil.
func (r *handover) peek() *handoverSlot {
	head := r.head.Load()
	if head == r.tail.Load() {
		return nil
	}
	return &r.slots[head%handoverSlots]
}

// pop gives the slot that peek returned back to the producer.
func (r *handover) pop() { r.head.Store(r.head.Load() + 1) }

func (r *handover) empty() bool { return r.head.Load() == r.tail.Load() }
