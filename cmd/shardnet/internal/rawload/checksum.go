package rawload

import (
	"encoding/binary"
	"math/bits"
)

var be = binary.BigEndian

// sum adds the words of b to acc, as RFC 1071 has it, and folds the result to 32
// bits and a little, so that 16-bit fields may simply be added to it. Only the
// last piece of a message may have an odd length.
func sum(b []byte, acc uint64) uint64 {
	var c uint64
	for len(b) >= 32 {
		acc, c = bits.Add64(acc, be.Uint64(b), c)
		acc, c = bits.Add64(acc, be.Uint64(b[8:]), c)
		acc, c = bits.Add64(acc, be.Uint64(b[16:]), c)
		acc, c = bits.Add64(acc, be.Uint64(b[24:]), c)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, be.Uint64(b), c)
		b = b[8:]
	}
	acc = acc>>32 + acc&0xffffffff + c
	if len(b) >= 4 {
		acc += uint64(be.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		acc += uint64(be.Uint16(b))
		b = b[2:]
	}
	if len(b) > 0 {
		acc += uint64(b[0]) << 8
	}
	return acc>>32 + acc&0xffffffff
}

// fold is the 16-bit sum, not complemented.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// udpChecksum is the field for a sum: zero would mean "none" (RFC 768).
func udpChecksum(acc uint64) uint16 {
	if c := ^fold(acc); c != 0 {
		return c
	}
	return 0xffff
}
