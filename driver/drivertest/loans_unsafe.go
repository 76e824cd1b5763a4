package drivertest

import (
	"runtime"
	"slices"
	"unsafe"

	"shardnet/driver"
)

// stackDepth is how many calls of a stack are kept.
const stackDepth = 16

// call is where and by which method something happened.
type call struct {
	op  string
	n   int
	pcs [stackDepth]uintptr
}

// note records the present stack from the caller of the queue's method on: note,
// give or lend, gave or lent, and the method are left out. It does not allocate.
func (c *call) note(op string) {
	c.op = op
	c.n = runtime.Callers(5, c.pcs[:])
}

func (c *call) stack() []uintptr { return slices.Clone(c.pcs[:c.n]) }

// loan is what is known of a frame.
type loan struct {
	lent   bool
	mem    []byte // the memory of the present loan, or the last
	loaned call   // last lent
	given  call   // last given back
}

// span is memory on loan, [lo, hi).
type span struct{ lo, hi uintptr }

// loans keeps track of a queue's frames. It belongs to the queue's owner.
type loans struct {
	byHandle map[uint64]*loan
	spans    []span // of what is lent, by address, without overlap
	held     int
}

// memoryOf returns where b's capacity lies.
func memoryOf(b []byte) span {
	lo := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	return span{lo, lo + uintptr(cap(b))}
}

// within reports whether data lies in mem. Empty data lies anywhere.
func within(data, mem []byte) bool {
	if len(data) == 0 {
		return true
	}
	d, m := memoryOf(data), memoryOf(mem)
	return d.lo >= m.lo && d.lo+uintptr(len(data)) <= m.hi
}

// find returns where in spans one that begins at lo is or would be.
func (l *loans) find(lo uintptr) (at int, ok bool) {
	return slices.BinarySearchFunc(l.spans, lo, func(s span, lo uintptr) int {
		switch {
		case s.lo < lo:
			return -1
		case s.lo > lo:
			return 1
		}
		return 0
	})
}

// lend notes that f is lent. It returns the breach that this is, or zero.
func (l *loans) lend(f *driver.Frame, op string) (Kind, *loan) {
	ln := l.byHandle[f.Handle]
	if ln == nil {
		ln = new(loan)
		l.byHandle[f.Handle] = ln
	}
	if ln.lent {
		return LentTwice, ln
	}
	ln.lent = true
	ln.mem = f.Data[:cap(f.Data)]
	ln.loaned.note(op)
	l.held++
	s := memoryOf(ln.mem)
	at, same := l.find(s.lo)
	if same || at > 0 && l.spans[at-1].hi > s.lo || at < len(l.spans) && l.spans[at].lo < s.hi {
		return SharedMemory, ln
	}
	l.spans = slices.Insert(l.spans, at, s)
	return 0, ln
}

// check says whether giving f back by op is a breach, or zero.
func (l *loans) check(f *driver.Frame, op string) (Kind, *loan) {
	ln := l.byHandle[f.Handle]
	switch {
	case ln == nil:
		return ForeignFrame, nil
	case !ln.lent && op == opRelease:
		return DoubleRelease, ln
	case !ln.lent:
		return UseAfterGive, ln
	case !within(f.Data, ln.mem):
		return OutsideFrame, ln
	}
	return 0, ln
}

// give notes that a frame that check found good has been given back.
func (l *loans) give(ln *loan, op string) {
	ln.lent = false
	ln.given.note(op)
	l.held--
	s := memoryOf(ln.mem)
	if at, ok := l.find(s.lo); ok && l.spans[at] == s {
		l.spans = slices.Delete(l.spans, at, at+1)
	}
}
