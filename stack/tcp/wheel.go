package tcp

import "math/bits"

// wheel is a hierarchical timing wheel (Varghese and Lauck, 1987): three levels of 256 slots over
// ticks of 2^20 ns, about a millisecond. A node further away than 2^24 ticks, five hours, fires
// early; its owner checks the clock and arms it again.
type wheel struct {
	tick  uint64 // all before and at it have fired
	slots [wheelLevels][wheelSlots]uint32
	used  [wheelLevels][wheelSlots / 64]uint64 // a bit for each slot with nodes
	node  func(ref uint32) *wheelNode
}

const (
	wheelLevels  = 3
	wheelSlots   = 256
	tickLog2     = 20
	tickDuration = int64(1) << tickLog2
)

// wheelNode is the part of the wheel in each timer's owner.
type wheelNode struct {
	next, prev uint32
	tick       uint32 // low bits of the tick it fires at
	slot       uint16 // level and slot, plus one; 0 is unarmed
}

func newWheel(now int64, node func(ref uint32) *wheelNode) wheel {
	return wheel{tick: uint64(now) >> tickLog2, node: node}
}

// arm makes ref fire at the first tick that does not begin before at. A node that fires later is
// moved. A node that fires earlier stays, and its owner arms it again when it fires. So a deadline
// that moves to a later time costs nothing.
func (w *wheel) arm(ref uint32, at int64) {
	n := w.node(ref)
	tick := max(uint64(at+tickDuration-1)>>tickLog2, w.tick+1)
	tick = min(tick, w.tick+1<<(8*wheelLevels)-1)
	if n.slot != 0 {
		if int32(uint32(tick)-n.tick) >= 0 {
			return
		}
		w.cancel(ref)
	}
	n.tick = uint32(tick)
	w.insert(ref, n, tick)
}

func (w *wheel) insert(ref uint32, n *wheelNode, tick uint64) {
	level, d := uint64(0), tick-w.tick
	for d >= wheelSlots {
		level++
		d >>= 8
	}
	i := tick >> (8 * level) & (wheelSlots - 1)
	head := &w.slots[level][i]
	n.slot = uint16(level*wheelSlots+i) + 1
	n.prev, n.next = 0, *head
	if *head != 0 {
		w.node(*head).prev = ref
	}
	*head = ref
	w.used[level][i/64] |= 1 << (i % 64)
}

// cancel disarms ref.
func (w *wheel) cancel(ref uint32) {
	n := w.node(ref)
	if n.slot == 0 {
		return
	}
	level, i := (n.slot-1)/wheelSlots, (n.slot-1)%wheelSlots
	if n.next != 0 {
		w.node(n.next).prev = n.prev
	}
	if n.prev != 0 {
		w.node(n.prev).next = n.next
	} else {
		w.slots[level][i] = n.next
		if n.next == 0 {
			w.used[level][i/64] &^= 1 << (i % 64)
		}
	}
	n.slot, n.next, n.prev = 0, 0, 0
}

// next returns the next tick with work to do: a node to fire, or a slot to cascade to the level
// below. ok is false for an empty wheel.
func (w *wheel) next() (tick uint64, ok bool) {
	for level := range uint64(wheelLevels) {
		at := w.tick >> (8 * level)
		d := w.distance(level, at&(wheelSlots-1))
		if d == 0 {
			continue
		}
		if t := (at + d) << (8 * level); !ok || t < tick {
			tick, ok = t, true
		}
	}
	return tick, ok
}

// distance is how far the next used slot of a level is from slot i, 1 to 256, or
// 0 if there is none.
func (w *wheel) distance(level, i uint64) uint64 {
	used := &w.used[level]
	if used[0]|used[1]|used[2]|used[3] == 0 {
		return 0
	}
	first := (i + 1) % wheelSlots
	for k := range uint64(wheelSlots/64 + 1) {
		word := (first/64 + k) % (wheelSlots / 64)
		b := used[word]
		switch k {
		case 0:
			b &^= 1<<(first%64) - 1
		case wheelSlots / 64:
			b &= 1<<(first%64) - 1
		}
		if b != 0 {
			slot := word*64 + uint64(bits.TrailingZeros64(b))
			return (slot-first)%wheelSlots + 1
		}
	}
	return 0
}

// advance calls fire for each node that is due at time now, after disarming it. fire may arm and
// cancel nodes.
func (w *wheel) advance(now int64, fire func(ref uint32)) {
	to := uint64(now) >> tickLog2
	for w.tick < to {
		tick, ok := w.next()
		if !ok || tick > to {
			w.tick = to
			return
		}
		w.tick = tick
		if tick&(wheelSlots-1) == 0 {
			if tick>>8&(wheelSlots-1) == 0 {
				w.cascade(2, tick>>16&(wheelSlots-1))
			}
			w.cascade(1, tick>>8&(wheelSlots-1))
		}
		head := &w.slots[0][tick&(wheelSlots-1)]
		for *head != 0 {
			ref := *head
			w.cancel(ref)
			fire(ref)
		}
	}
}

// cascade moves the nodes of a slot to the levels below.
func (w *wheel) cascade(level, i uint64) {
	head := &w.slots[level][i]
	for *head != 0 {
		ref := *head
		n := w.node(ref)
		w.cancel(ref)
		w.insert(ref, n, w.tick+uint64(n.tick-uint32(w.tick)))
	}
}
