package clock

import "math/bits"

// A hierarchical timing wheel (Varghese and Lauck, SOSP 1987, scheme 7).
//
// Time is counted in ticks. A timer lies at the level of the highest 6-bit
// group in which its expiry differs from the current tick, in the slot that
// group names. So a level's timers all expire before any timer of the level
// above, a slot is either due as a whole (level 0) or to be spread over the
// levels below (a cascade), and insertion, removal and finding the next event
// are O(1). The wheel is not safe for concurrent use: Clock locks it.

const (
	wheelGroup  = 6
	wheelSlots  = 1 << wheelGroup
	wheelLevels = 8 // 48 bits of ticks
	wheelMax    = 1<<(wheelGroup*wheelLevels) - 1
)

// Timer is an armed or disarmed call of a function: an intrusive list element. One that is
// in no slot has a nil prev.
type Timer struct {
	next, prev *Timer
	expiry     uint64 // tick
	level      uint8
	slot       uint8
	fn         func()
	clock      *Clock
}

type wheel struct {
	now      uint64 // current tick; no timer in the wheel has expiry <= now
	occupied [wheelLevels]uint64
	slots    [wheelLevels][wheelSlots]Timer // list heads
	count    int
}

func newWheel() *wheel {
	w := &wheel{}
	for l := range w.slots {
		for s := range w.slots[l] {
			head := &w.slots[l][s]
			head.next, head.prev = head, head
		}
	}
	return w
}

// insert arms t for its expiry, at the earliest for the tick after now.
func (w *wheel) insert(t *Timer) {
	t.expiry = min(max(t.expiry, w.now+1), w.now|wheelMax)
	level := (bits.Len64(t.expiry^w.now) - 1) / wheelGroup
	if t.expiry == w.now { // only at the very end of the wheel's range
		level = 0
	}
	slot := t.expiry >> (level * wheelGroup) & (wheelSlots - 1)
	t.level, t.slot = uint8(level), uint8(slot)
	head := &w.slots[level][slot]
	t.prev, t.next = head.prev, head
	t.prev.next, head.prev = t, t
	w.occupied[level] |= 1 << slot
	w.count++
}

// remove disarms t and reports whether it was armed.
func (w *wheel) remove(t *Timer) bool {
	if t.prev == nil {
		return false
	}
	t.prev.next, t.next.prev = t.next, t.prev
	if head := &w.slots[t.level][t.slot]; head.next == head {
		w.occupied[t.level] &^= 1 << t.slot
	}
	t.next, t.prev = nil, nil
	w.count--
	return true
}

// next returns the tick of the next event, an expiry or a cascade, and its
// level and slot. ok is false when the wheel is empty.
func (w *wheel) next() (tick uint64, level, slot int, ok bool) {
	for l := range w.occupied {
		if w.occupied[l] == 0 {
			continue
		}
		s := bits.TrailingZeros64(w.occupied[l])
		shift := l * wheelGroup
		return w.now>>(shift+wheelGroup)<<(shift+wheelGroup) | uint64(s)<<shift, l, s, true
	}
	return 0, 0, 0, false
}

// advance moves the wheel to tick and appends the timers that became due to
// due, in order of expiry.
func (w *wheel) advance(tick uint64, due []*Timer) []*Timer {
	for {
		at, level, slot, ok := w.next()
		if !ok || at > tick {
			w.now = max(w.now, tick)
			return due
		}
		w.now = max(w.now, at)
		head := &w.slots[level][slot]
		for head.next != head {
			t := head.next
			w.remove(t)
			if t.expiry <= w.now {
				due = append(due, t)
			} else {
				w.insert(t)
			}
		}
	}
}
