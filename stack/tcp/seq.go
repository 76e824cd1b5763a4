package tcp

// Sequence numbers are compared modulo 2^32 (RFC 9293 section 3.4). Those of a connection
// that are in use lie within 2^31 of each other, as windows are at most 2^30.

func before(a, b uint32) bool   { return int32(a-b) < 0 }
func beforeEq(a, b uint32) bool { return int32(a-b) <= 0 }
func after(a, b uint32) bool    { return int32(a-b) > 0 }
func afterEq(a, b uint32) bool  { return int32(a-b) >= 0 }

// within reports whether lo <= s < hi.
func within(s, lo, hi uint32) bool { return s-lo < hi-lo }

func minSeq(a, b uint32) uint32 {
	if before(a, b) {
		return a
	}
	return b
}
