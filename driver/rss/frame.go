package rss

import (
	"encoding/binary"

	"shardnet/driver/wire"
)

// Class is what of a frame went into its hash.
type Class uint8

const (
	// NotIP frames have no hash: ARP, LLDP, and what is too short or too
	// malformed to have addresses.
	NotIP Class = iota
	// Addresses: IP, but a fragment, or neither TCP nor UDP, or with its ports
	// out of reach.
	Addresses
	// Ports: addresses and ports of a whole TCP or UDP packet.
	Ports
)

// String returns the class in words.
func (c Class) String() string {
	switch c {
	case Addresses:
		return "addresses"
	case Ports:
		return "addresses and ports"
	}
	return "not IP"
}

// maxExtensions is how many extension headers are looked at: a parser in silicon gives
// up after a few. A valid packet has at most four of those walked here (RFC 8200,
// section 4.1).
const maxExtensions = 4

// HashFrame classifies an Ethernet frame (without FCS) as a NIC does and returns
// the hash. Up to two VLAN tags are skipped. Fragments hash by addresses alone,
// all of them, the first included, so that they meet on one queue; an IPv6
// packet with a fragment header counts as one whatever the header says. For
// NotIP the hash is zero. Checksums are not looked at. Nothing in a frame makes
// it panic.
func (h *Hasher) HashFrame(frame []byte) (hash uint32, class Class) {
	if len(frame) < wire.EthernetLen {
		return 0, NotIP
	}
	etherType, payload := binary.BigEndian.Uint16(frame[12:]), frame[wire.EthernetLen:]
	for range 2 {
		if etherType != wire.EtherTypeVLAN && etherType != wire.EtherTypeQinQ || len(payload) < wire.VLANLen {
			break
		}
		etherType, payload = binary.BigEndian.Uint16(payload[2:]), payload[wire.VLANLen:]
	}
	switch etherType {
	case wire.EtherTypeIPv4:
		return h.hashPacketIPv4(payload)
	case wire.EtherTypeIPv6:
		return h.hashPacketIPv6(payload)
	}
	return 0, NotIP
}

func (h *Hasher) hashPacketIPv4(p []byte) (uint32, Class) {
	if len(p) < wire.IPv4Len || p[0]>>4 != 4 {
		return 0, NotIP
	}
	src, dst := [4]byte(p[12:16]), [4]byte(p[16:20])
	headerLen := int(p[0]&0xf) * 4
	fragment := binary.BigEndian.Uint16(p[6:])&(wire.MoreFragments|wire.FragmentOffset) != 0
	// Bytes past the total length are Ethernet padding, not ports.
	end := min(len(p), int(binary.BigEndian.Uint16(p[2:])))
	if proto := p[9]; fragment || proto != wire.ProtoTCP && proto != wire.ProtoUDP ||
		headerLen < wire.IPv4Len || headerLen+4 > end {
		return h.HashIPv4(src, dst), Addresses
	}
	l4 := p[headerLen:]
	return h.HashIPv4Ports(src, dst, binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])), Ports
}

func (h *Hasher) hashPacketIPv6(p []byte) (uint32, Class) {
	if len(p) < wire.IPv6Len || p[0]>>4 != 6 {
		return 0, NotIP
	}
	src, dst := [16]byte(p[8:24]), [16]byte(p[24:40])
	l4 := p[wire.IPv6Len:min(len(p), wire.IPv6Len+int(binary.BigEndian.Uint16(p[4:])))]
	proto := p[6]
	for n := 0; proto == wire.ProtoHopByHop || proto == wire.ProtoRouting || proto == wire.ProtoDestOpts; n++ {
		if n == maxExtensions || len(l4) < 8 {
			return h.HashIPv6(src, dst), Addresses
		}
		length := (int(l4[1]) + 1) * 8
		if length > len(l4) {
			return h.HashIPv6(src, dst), Addresses
		}
		proto, l4 = l4[0], l4[length:]
	}
	if proto != wire.ProtoTCP && proto != wire.ProtoUDP || len(l4) < 4 { // a fragment header among them
		return h.HashIPv6(src, dst), Addresses
	}
	return h.HashIPv6Ports(src, dst, binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])), Ports
}
