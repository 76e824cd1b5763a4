package wire

import (
	"encoding/binary"
	"math/bits"
)

// Sum adds b to acc, an unfolded one's complement sum (RFC 1071) in the byte order of
// the little end: Fold swaps it, once. Each piece but the last is of even length.
func Sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 128 {
		p := (*[128]byte)(b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[0:]), 0)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[24:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[32:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[40:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[48:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[56:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[64:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[72:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[80:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[88:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[96:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[104:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[112:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[120:]), carry)
		acc += carry
		b = b[128:]
	}
	if len(b) >= 64 {
		p := (*[64]byte)(b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[0:]), 0)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[24:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[32:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[40:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[48:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[56:]), carry)
		acc += carry
		b = b[64:]
	}
	for len(b) >= 16 {
		p := (*[16]byte)(b)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[0:]), 0)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(p[8:]), carry)
		acc += carry
		b = b[16:]
	}
	var last uint64
	if len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), 0)
		acc += carry
		b = b[8:]
	}
	switch { // what is left is less than 8 bytes: the odd one is the low half of its word
	case len(b) >= 4:
		last = uint64(binary.LittleEndian.Uint32(b))
		for i, v := range b[4:] {
			last |= uint64(v) << (32 + 8*i)
		}
	default:
		for i, v := range b {
			last |= uint64(v) << (8 * i)
		}
	}
	acc, carry = bits.Add64(acc, last, 0)
	return acc + carry
}

// Fold brings an unfolded sum to 16 bits, in network order, not complemented.
func Fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return bits.ReverseBytes16(uint16(acc))
}

// Word is what a 16-bit field of value v adds to an unfolded sum. Words may be added up
// with +, and be what Sum begins with; to what Sum returned they must not be added.
func Word(v uint16) uint64 { return uint64(bits.ReverseBytes16(v)) }

// Checksum is the folded sum of b and initial, a folded sum; not complemented.
func Checksum(b []byte, initial uint16) uint16 {
	return Fold(Sum(b, Word(initial)))
}

// PseudoSum is the folded sum, not complemented, of the pseudo-header of RFC 9293
// section 3.1, RFC 768 and RFC 8200 section 8.1. length is the transport header's and
// the payload's; src and dst are 4 or 16 bytes.
func PseudoSum(proto uint8, length int, src, dst []byte) uint16 {
	return Fold(pseudoSum(proto, length, src, dst))
}

// pseudoSum is PseudoSum unfolded, of at most 34 bits.
func pseudoSum(proto uint8, length int, src, dst []byte) uint64 {
	acc := Word(uint16(proto)) + Word(uint16(length))
	if len(src) == 4 && len(dst) == 4 {
		return acc + uint64(binary.LittleEndian.Uint32(src)) + uint64(binary.LittleEndian.Uint32(dst))
	}
	acc = Sum(dst, Sum(src, acc))
	return acc>>32 + acc&0xffffffff
}

// SetIPv4Checksum sets the checksum of header, an IPv4 header with its options.
func SetIPv4Checksum(header []byte) {
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], ^Checksum(header, 0))
}

// SetTCPChecksum sets the checksum of segment, between src and dst.
func SetTCPChecksum(segment, src, dst []byte) {
	segment[16], segment[17] = 0, 0
	sum := Checksum(segment, PseudoSum(ProtoTCP, len(segment), src, dst))
	binary.BigEndian.PutUint16(segment[16:], ^sum)
}

// SetUDPChecksum sets the checksum of the datagram, header and payload, that is head
// and then rest. Head is of even length, or rest is empty.
func SetUDPChecksum(head, rest, src, dst []byte) {
	head[6], head[7] = 0, 0
	sum := Checksum(head, PseudoSum(ProtoUDP, len(head)+len(rest), src, dst))
	if len(rest) > 0 {
		sum = Checksum(rest, sum)
	}
	PutUDPChecksum(head, sum)
}

// PutUDPChecksum writes the checksum to a UDP header, given the folded sum of the
// pseudo-header and the datagram.
func PutUDPChecksum(header []byte, sum uint16) {
	if sum == 0xffff {
		sum = 0 // RFC 768: a field of 0 says that there is no checksum
	}
	binary.BigEndian.PutUint16(header[6:], ^sum)
}

// UpdateChecksum is the checksum field of a packet in which a 32-bit field changed from
// old to new (RFC 1624, equation 3).
func UpdateChecksum(field uint16, old, new uint32) uint16 {
	return ^Fold(Word(^field) + uint64(bits.ReverseBytes32(^old)) + uint64(bits.ReverseBytes32(new)))
}

// Addresses returns the source and destination of an IP header, which lie in ip.
func Addresses(ip []byte) (src, dst []byte) {
	if ip[0]>>4 == 6 {
		return ip[8:24], ip[24:40]
	}
	return ip[12:16], ip[16:20]
}
