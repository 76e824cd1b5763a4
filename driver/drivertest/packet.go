package drivertest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
)

const (
	etherHeader = 14
	headers     = etherHeader + 20 + 8 // Ethernet, IPv4, UDP

	// minPacket is the size of the smallest frame on an Ethernet, without FCS.
	minPacket = 60

	// magic begins the payload of the suite's packets: what a kernel at the other
	// end says of its own accord has none.
	magic   = 0x5ad0_7e57_4e1c_0001
	srcPort = 20000
	dstPort = 7
)

// host is an end of the cable.
type host struct {
	addr netip.Prefix
	ip   [4]byte // of addr
	mac  [6]byte
}

func newHost(mac []byte, addr netip.Prefix) host {
	h := host{addr: addr, ip: addr.Addr().As4()}
	copy(h.mac[:], mac)
	return h
}

// tag is what tells the suite's packets apart. Packets of one flow keep their
// order.
type tag struct {
	flow uint16
	seq  uint64
}

// build writes a packet of size bytes, headers included, into b's memory and
// returns it. Every byte of it follows from the arguments.
func build(b []byte, from, to host, l tag, size int) []byte {
	b = b[:size]
	copy(b[0:], to.mac[:])
	copy(b[6:], from.mac[:])
	b[12], b[13] = 0x08, 0x00

	ip := b[etherHeader:]
	ip[0], ip[1] = 0x45, 0
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint32(ip[4:], 0x4000) // id 0, do not fragment
	ip[8], ip[9], ip[10], ip[11] = 64, 17, 0, 0
	copy(ip[12:], from.ip[:])
	copy(ip[16:], to.ip[:])
	binary.BigEndian.PutUint16(ip[10:], ^fold(sum(ip[:20], 0)))

	udp := ip[20:]
	binary.BigEndian.PutUint16(udp[0:], srcPort+l.flow)
	binary.BigEndian.PutUint16(udp[2:], dstPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	udp[6], udp[7] = 0, 0
	payload := udp[8:]
	binary.BigEndian.PutUint64(payload[0:], magic)
	binary.BigEndian.PutUint64(payload[8:], l.seq)
	for i := 16; i < len(payload); i++ {
		payload[i] = byte(int(l.seq) + i)
	}
	check := ^fold(sum(udp, sum(ip[12:20], uint64(17+len(udp)))))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], check)
	return b
}

// parse returns the tag of one of the suite's packets; anything else is not ok.
func parse(b []byte) (l tag, ok bool) {
	if len(b) < headers+16 || b[12] != 0x08 || b[13] != 0x00 || b[14] != 0x45 || b[23] != 17 ||
		binary.BigEndian.Uint64(b[headers:]) != magic {
		return l, false
	}
	l.flow = binary.BigEndian.Uint16(b[34:]) - srcPort
	l.seq = binary.BigEndian.Uint64(b[headers+8:])
	return l, true
}

// intact reports whether b is the packet that build makes of these arguments.
func intact(b []byte, from, to host, l tag, scratch []byte) bool {
	return len(b) <= len(scratch) && bytes.Equal(b, build(scratch, from, to, l, len(b)))
}

// swapEndpoints turns a packet into one to its sender.
func swapEndpoints(b []byte) {
	var x [6]byte
	copy(x[:], b[0:6])
	copy(b[0:6], b[6:12])
	copy(b[6:12], x[:])
	copy(x[:4], b[26:30])
	copy(b[26:30], b[30:34])
	copy(b[30:34], x[:4])
}

// sum adds b to a ones' complement sum (RFC 1071).
func sum(b []byte, s uint64) uint64 {
	for ; len(b) >= 4; b = b[4:] {
		s += uint64(binary.BigEndian.Uint32(b))
	}
	if len(b) >= 2 {
		s += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

func fold(s uint64) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
