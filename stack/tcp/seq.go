package tcp

// seqNum is a sequence number. They are compared modulo 2^32 (RFC 9293 section 3.4). Those of
// a connection that are in use lie within 2^31 of each other, as windows are at most 2^30.
type seqNum uint32

func (s seqNum) before(o seqNum) bool   { return int32(s-o) < 0 }
func (s seqNum) beforeEq(o seqNum) bool { return int32(s-o) <= 0 }
func (s seqNum) after(o seqNum) bool    { return int32(s-o) > 0 }
func (s seqNum) afterEq(o seqNum) bool  { return int32(s-o) >= 0 }

// within reports whether lo <= s < hi.
func (s seqNum) within(lo, hi seqNum) bool { return s-lo < hi-lo }

// add returns the sequence number n bytes after s.
func (s seqNum) add(n uint32) seqNum { return s + seqNum(n) }

// sub returns how many bytes s is after o.
func (s seqNum) sub(o seqNum) uint32 { return uint32(s - o) }

func minSeq(a, b seqNum) seqNum {
	if a.before(b) {
		return a
	}
	return b
}

// earlier reports whether a timestamp is less than another (RFC 7323 section 5.2).
func earlier(a, b uint32) bool { return int32(a-b) < 0 }
