package rss

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// maxInput is the longest input in bytes: two IPv6 addresses and two ports.
const maxInput = KeySize - 4

// Toeplitz is the hash as it is defined, bit by bit: the sum modulo 2, over all
// set bits i of input, of the 32 key bits from bit i on. Key bits past its end
// count as zero. It is slow; a Hasher computes the same.
func Toeplitz(key, input []byte) uint32 {
	var sum uint32
	for i, b := range input {
		for bit := range 8 {
			if b&(0x80>>bit) != 0 {
				sum ^= window(key, 8*i+bit)
			}
		}
	}
	return sum
}

// window returns the 32 bits of key from bit offset on.
func window(key []byte, offset int) uint32 {
	var b [8]byte
	if at := offset / 8; at < len(key) {
		copy(b[:5], key[at:])
	}
	return uint32(binary.BigEndian.Uint64(b[:]) << (offset % 8) >> 32)
}

// Hasher computes the Toeplitz hash under one key, by one table look-up for each
// byte of input. It is 36 KiB, of which an IPv4 flow touches 12 words. It does
// not change after NewHasher and may be used from many goroutines.
type Hasher struct {
	table [maxInput][256]uint32
}

// NewHasher returns a Hasher for a key of KeySize bytes. The key is not kept.
func NewHasher(key []byte) (*Hasher, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("make Toeplitz hasher: key has %d bytes, want %d", len(key), KeySize)
	}
	h := new(Hasher)
	for i := range h.table {
		row := &h.table[i]
		// The hash is linear: a byte's entry is that of the byte without its
		// lowest set bit, plus that bit's window.
		for bit := range 8 {
			row[1<<bit] = window(key, 8*i+7-bit)
		}
		for b := 1; b < len(row); b++ {
			row[b] = row[b&(b-1)] ^ row[b&-b]
		}
	}
	return h, nil
}

// Hash returns the hash of input: source address, destination address and, if
// they count, source port and destination port, all in network byte order.
// Bytes past 36 would need a longer key and are left out.
func (h *Hasher) Hash(input []byte) uint32 {
	var sum uint32
	for i, b := range input[:min(len(input), maxInput)] {
		sum ^= h.table[i][b]
	}
	return sum
}

// HashIPv4 returns the hash of an IPv4 packet by its addresses alone.
func (h *Hasher) HashIPv4(src, dst [4]byte) uint32 {
	t := &h.table
	return t[0][src[0]] ^ t[1][src[1]] ^ t[2][src[2]] ^ t[3][src[3]] ^
		t[4][dst[0]] ^ t[5][dst[1]] ^ t[6][dst[2]] ^ t[7][dst[3]]
}

// HashIPv4Ports returns the hash of a TCP or UDP packet over IPv4.
func (h *Hasher) HashIPv4Ports(src, dst [4]byte, srcPort, dstPort uint16) uint32 {
	t := &h.table
	return h.HashIPv4(src, dst) ^
		t[8][srcPort>>8] ^ t[9][srcPort&0xff] ^ t[10][dstPort>>8] ^ t[11][dstPort&0xff]
}

// HashIPv6 returns the hash of an IPv6 packet by its addresses alone.
func (h *Hasher) HashIPv6(src, dst [16]byte) uint32 {
	var sum uint32
	for i := range 16 {
		sum ^= h.table[i][src[i]] ^ h.table[16+i][dst[i]]
	}
	return sum
}

// HashIPv6Ports returns the hash of a TCP or UDP packet over IPv6.
func (h *Hasher) HashIPv6Ports(src, dst [16]byte, srcPort, dstPort uint16) uint32 {
	t := &h.table
	return h.HashIPv6(src, dst) ^
		t[32][srcPort>>8] ^ t[33][srcPort&0xff] ^ t[34][dstPort>>8] ^ t[35][dstPort&0xff]
}

// HashAddrs returns the hash of a packet from src to dst by its addresses alone.
// An IPv4-mapped IPv6 address counts as IPv4, for that is what it is on the
// wire; zones are ignored. Without two addresses of one family, ok is false.
func (h *Hasher) HashAddrs(src, dst netip.Addr) (sum uint32, ok bool) {
	src, dst = src.Unmap(), dst.Unmap()
	switch {
	case src.Is4() && dst.Is4():
		return h.HashIPv4(src.As4(), dst.As4()), true
	case src.Is6() && dst.Is6():
		return h.HashIPv6(src.As16(), dst.As16()), true
	}
	return 0, false
}

// HashAddrPorts returns the hash of a TCP or UDP packet from src to dst, with
// addresses as HashAddrs takes them.
func (h *Hasher) HashAddrPorts(src, dst netip.AddrPort) (sum uint32, ok bool) {
	s, d := src.Addr().Unmap(), dst.Addr().Unmap()
	switch {
	case s.Is4() && d.Is4():
		return h.HashIPv4Ports(s.As4(), d.As4(), src.Port(), dst.Port()), true
	case s.Is6() && d.Is6():
		return h.HashIPv6Ports(s.As16(), d.As16(), src.Port(), dst.Port()), true
	}
	return 0, false
}
