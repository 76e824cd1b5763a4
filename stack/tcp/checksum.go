package tcp

import (
	"encoding/binary"
	"math/bits"
)

// sum adds b to a one's complement sum (RFC 1071), in the byte order of the
// machine's little end: swapped once in the end, by fold.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var last [8]byte
		copy(last[:], b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(last[:]), carry)
	}
	acc, carry = bits.Add64(acc, 0, carry)
	return acc + carry
}

// fold brings a sum to 16 bits in network order.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return bits.ReverseBytes16(uint16(acc))
}

// pseudoSum is what the pseudo-header adds, but for the length: addresses and
// protocol (RFC 9293 section 3.1). It is the same for all of a connection's
// segments.
func (t *Tuple) pseudoSum() uint64 {
	var acc uint64
	if t.Is4() {
		acc = sum(t.Local[12:], 0)
		acc = sum(t.Remote[12:], acc)
	} else {
		acc = sum(t.Local[:], 0)
		acc = sum(t.Remote[:], acc)
	}
	acc = sum([]byte{0, protocolTCP}, acc)
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	return acc
}

const protocolTCP = 6

// lengthSum is what a segment's length adds to the pseudo-header sum.
func lengthSum(n int) uint64 { return uint64(bits.ReverseBytes16(uint16(n))) }

// VerifyChecksum reports whether the TCP checksum of segment b, between the given
// addresses of 4 or 16 bytes, is right.
func VerifyChecksum(b, src, dst []byte) bool {
	acc := sum(dst, sum(src, lengthSum(len(b))))
	acc = sum([]byte{0, protocolTCP}, acc)
	return fold(sum(b, acc)) == 0xffff
}
