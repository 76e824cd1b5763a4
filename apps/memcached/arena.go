package memcached

import (
	"encoding/binary"
	"math/bits"
)

// The arena is the memory of one shard: segments of 256 KiB, each a []byte of
// its own, cut into extents. To the garbage collector a cache of a gigabyte is
// four thousand objects without pointers; there is nothing to mark in them, and
// nothing is allocated or freed for an item.
//
// An extent is a run of 32-byte units within one segment, named by a ref: the
// number of its first unit. It begins with a word that holds its length and two
// flags (boundary tags), so that a freed extent coalesces with free neighbors.
// Free extents are in lists by size, with a bit set for each list that is not
// empty: taking and freeing cost the same however full the arena is.
//
// An item lies in one extent when a run long enough is free, or else in a chain
// of several: so all free memory can be used, whatever sizes come and go, and a
// shard needs neither size classes, which starve one another, nor compaction. How
// much the caller prefers evicting to chaining is its policy (shard.alloc).
//
//	word 0: units | flags      word 1: next extent of the chain (used)
//	free:   word 1, word 2: next and previous in the list
//	        last word: units, where the following extent finds it
//
// Words are little-endian. All of it is plain Go: a header is reached as a
// pointer to an array, which the compiler checks once.
const (
	unitShift = 5
	unitSize  = 1 << unitShift
	segShift  = 13
	segUnits  = 1 << segShift
	segSize   = segUnits * unitSize

	// minUnits is the shortest extent: it holds an item's header.
	minUnits = 2
	// extentHeader is what a continuing extent loses to its first two words.
	extentHeader = 8

	unitsMask    = 1<<14 - 1 // of word 0; segUnits fits
	flagUsed     = 1 << 31
	flagPrevFree = 1 << 30 // the extent before this one is free
)

// ref names an extent by its first unit; zero is none.
type ref uint32

// head is the beginning of an extent; every extent is as long as this.
type head [minUnits * unitSize]byte

var le = binary.LittleEndian

func (h *head) word() uint32     { return le.Uint32(h[0:4]) }
func (h *head) setWord(w uint32) { le.PutUint32(h[0:4], w) }
func (h *head) units() uint32    { return h.word() & unitsMask }
func (h *head) used() bool       { return h.word()&flagUsed != 0 }
func (h *head) next() ref        { return ref(le.Uint32(h[4:8])) }
func (h *head) setNext(r ref)    { le.PutUint32(h[4:8], uint32(r)) }
func (h *head) prev() ref        { return ref(le.Uint32(h[8:12])) }
func (h *head) setPrev(r ref)    { le.PutUint32(h[8:12], uint32(r)) }

// arena allocates extents. It is guarded by its shard's lock.
type arena struct {
	segs    [][]byte // nil where a segment was given back
	live    int      // segments that are not nil
	free    uint32   // units in free extents
	bitmap  uint64   // lists that are not empty
	lists   [numLists]ref
	maxSegs int // what take may grow to; more may be live after it was lowered
}

// Lists 0 to 15 hold extents of just that many units. From 16 on, four lists
// share each doubling.
const numLists = 16 + 4*(segShift-4) + 1

// listOf is the list of free extents of n units.
func listOf(n uint32) int {
	if n < 16 {
		return int(n)
	}
	k := bits.Len32(n) - 1
	return 16 + (k-4)*4 + int(n>>(k-2)&3)
}

// at is the memory from the extent's first byte to the end of its segment.
func (a *arena) at(r ref) []byte {
	return a.segs[r>>segShift][r%segUnits<<unitShift:]
}

func (a *arena) head(r ref) *head { return (*head)(a.at(r)) }

// size is the arena's memory in bytes, used or not.
func (a *arena) size() int { return a.live * segSize }

// usedUnits is how many units are in use, without those that ref 0 takes.
func (a *arena) usedUnits() uint32 {
	if a.live == 0 {
		return 0
	}
	return uint32(a.live)*segUnits - minUnits - a.free
}

// take returns a used extent of n units, or of n+1 if a rest of one unit would be
// left: that is shorter than minUnits. Without a run that long it grows the arena
// if it may, and fails otherwise.
func (a *arena) take(n uint32) (ref, bool) {
	if n = max(n, minUnits); n > segUnits {
		return 0, false
	}
	for {
		// In the list for n itself lie extents up to a quarter too short, and
		// the tightest fits; what was freed last comes first, which in a cache
		// that is full is an item just like this one.
		r := a.lists[listOf(n)]
		for range 8 {
			if r == 0 {
				break
			}
			h := a.head(r)
			if h.units() >= n {
				return a.cut(r, n), true
			}
			r = h.next()
		}
		// Every extent in a later list is long enough.
		if later := a.bitmap >> (listOf(n) + 1); later != 0 {
			return a.cut(a.lists[listOf(n)+1+bits.TrailingZeros64(later)], n), true
		}
		if !a.grow() {
			return 0, false
		}
	}
}

// takeLongest returns, as a used extent of at most n units, one of the longest
// that are free.
func (a *arena) takeLongest(n uint32) (ref, bool) {
	if a.bitmap == 0 {
		return 0, false
	}
	r := a.lists[bits.Len64(a.bitmap)-1]
	return a.cut(r, max(minUnits, min(n, a.head(r).units()))), true
}

// cut makes a used extent of the first n units of free extent r, and a free one
// of the rest, if that is at least minUnits long.
func (a *arena) cut(r ref, n uint32) ref {
	h := a.head(r)
	a.removeFree(r, h)
	have := h.units()
	if rest := have - n; rest >= minUnits {
		h.setWord(n | flagUsed)
		a.pushFree(r+ref(n), rest)
	} else {
		h.setWord(have | flagUsed)
		a.setPrevFree(r, have, false)
	}
	h.setNext(0)
	return r
}

// release frees extent r, and coalesces it with its free neighbors.
func (a *arena) release(r ref) {
	h := a.head(r)
	n := h.units()
	if end := r + ref(n); end%segUnits != 0 {
		if after := a.head(end); !after.used() {
			a.removeFree(end, after)
			n += after.units()
		}
	}
	if h.word()&flagPrevFree != 0 {
		before := le.Uint32(a.segs[r>>segShift][r%segUnits<<unitShift-4:])
		r -= ref(before)
		a.removeFree(r, a.head(r))
		n += before
	}
	if n == segUnits && a.live > a.maxSegs {
		a.segs[r>>segShift] = nil
		a.live--
		return
	}
	a.pushFree(r, n)
	a.setPrevFree(r, n, true)
}

// pushFree makes units [r, r+n) a free extent. Its neighbors are in use.
func (a *arena) pushFree(r ref, n uint32) {
	h := a.head(r)
	h.setWord(n)
	list := listOf(n)
	h.setPrev(0)
	h.setNext(a.lists[list])
	if next := a.lists[list]; next != 0 {
		a.head(next).setPrev(r)
	}
	a.lists[list] = r
	a.bitmap |= 1 << list
	a.free += n
	le.PutUint32(a.at(r)[n<<unitShift-4:], n)
}

// removeFree takes free extent r off its list.
func (a *arena) removeFree(r ref, h *head) {
	n := h.units()
	list := listOf(n)
	next, prev := h.next(), h.prev()
	if next != 0 {
		a.head(next).setPrev(prev)
	}
	if prev != 0 {
		a.head(prev).setNext(next)
	} else if a.lists[list] = next; next == 0 {
		a.bitmap &^= 1 << list
	}
	a.free -= n
}

// setPrevFree notes in the extent after [r, r+n) whether [r, r+n) is free.
func (a *arena) setPrevFree(r ref, n uint32, free bool) {
	end := r + ref(n)
	if end%segUnits == 0 {
		return
	}
	h := a.head(end)
	if free {
		h.setWord(h.word() | flagPrevFree)
	} else {
		h.setWord(h.word() &^ flagPrevFree)
	}
}

// grow adds a segment, if there may be one more.
func (a *arena) grow() bool {
	if a.live >= a.maxSegs {
		return false
	}
	i := 0
	for i < len(a.segs) && a.segs[i] != nil {
		i++
	}
	if i == len(a.segs) {
		if i == 1<<(32-segShift) {
			return false
		}
		a.segs = append(a.segs, nil)
	}
	a.segs[i] = make([]byte, segSize)
	a.live++
	first, n := ref(i)<<segShift, uint32(segUnits)
	if i == 0 {
		// Ref 0 is none: the first extent of all is in use for ever.
		a.head(0).setWord(minUnits | flagUsed)
		first, n = minUnits, segUnits-minUnits
	}
	a.pushFree(first, n)
	return true
}

// trim gives back segments that are free while there are more than maxSegs.
func (a *arena) trim() {
	whole := listOf(segUnits)
	for r := a.lists[whole]; r != 0 && a.live > a.maxSegs; r = a.lists[whole] {
		a.removeFree(r, a.head(r))
		a.segs[r>>segShift] = nil
		a.live--
	}
}

// cursor is a place in the payload of a chain: offset off in extent ext.
type cursor struct {
	ext ref
	off int
}

// room is what lies between the cursor and the end of its extent. At the end of
// an extent it moves on to the next.
func (a *arena) room(c *cursor) []byte {
	for {
		m := a.at(c.ext)
		end := int((*head)(m).units()) << unitShift
		if c.off < end {
			return m[c.off:end]
		}
		c.ext, c.off = (*head)(m).next(), extentHeader
	}
}

// write copies p to the cursor and moves it behind. There must be room.
func (a *arena) write(c *cursor, p []byte) {
	for len(p) > 0 {
		n := copy(a.room(c), p)
		c.off += n
		p = p[n:]
	}
}

// appendTo appends the next n bytes at the cursor to dst and moves it behind.
func (a *arena) appendTo(dst []byte, c *cursor, n int) []byte {
	for n > 0 {
		m := a.room(c)
		m = m[:min(len(m), n)]
		dst = append(dst, m...)
		c.off += len(m)
		n -= len(m)
	}
	return dst
}

// skip moves the cursor n bytes on.
func (a *arena) skip(c *cursor, n int) {
	for n > 0 {
		m := min(len(a.room(c)), n)
		c.off += m
		n -= m
	}
}

// copy moves n bytes from one chain to another.
func (a *arena) copy(dst, src *cursor, n int) {
	for n > 0 {
		m := a.room(src)
		m = m[:min(len(m), n)]
		a.write(dst, m)
		src.off += len(m)
		n -= len(m)
	}
}
