package wire

import (
	"encoding/binary"
	"net/netip"
)

// Packet is what the receive path knows of a frame: enough to verify and to steer it,
// and no more. It refers to the frame's bytes and lives no longer than they do.
type Packet struct {
	Frame     []byte // the Ethernet frame
	Src, Dst  []byte // network addresses, 4 or 16 bytes; nil unless IP
	L4        []byte // transport header and payload; nil for a fragment
	EtherType uint16
	SrcPort   uint16 // TCP and UDP
	DstPort   uint16
	ARPOp     uint16
	FragID    uint32
	Proto     uint8 // transport protocol
	TCPFlags  uint8
	Fragment  bool
	// NoOptions: the transport header is at its usual place. There is no fragment, no
	// IPv4 option or IPv6 extension header, and nothing after UDP's length.
	NoOptions bool
	// ARPAnnounce: ARP's sender and target protocol addresses are the same (RFC 5227).
	ARPAnnounce bool
}

// Parse reads frame into p. It returns false when the frame is too short for what its
// headers say, or says what can't be: such a frame is to be dropped. What Parse does not
// know (other EtherTypes and protocols) it leaves alone, and returns true.
func (p *Packet) Parse(frame []byte) bool {
	*p = Packet{Frame: frame}
	if len(frame) < EthernetLen {
		return false
	}
	p.EtherType = binary.BigEndian.Uint16(frame[12:])
	l3 := frame[EthernetLen:]
	switch p.EtherType {
	case EtherTypeIPv4:
		return p.parseIPv4(l3)
	case EtherTypeIPv6:
		return p.parseIPv6(l3)
	case EtherTypeARP:
		if len(l3) < ARPLen {
			return false
		}
		p.ARPOp = binary.BigEndian.Uint16(l3[6:])
		p.ARPAnnounce = [4]byte(l3[14:18]) == [4]byte(l3[24:28])
		return true
	}
	return true
}

func (p *Packet) parseIPv4(b []byte) bool {
	if len(b) < IPv4Len || b[0]>>4 != 4 {
		return false
	}
	ihl := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < IPv4Len || total < ihl || total > len(b) {
		return false
	}
	p.Src, p.Dst, p.Proto = b[12:16], b[16:20], b[9]
	if binary.BigEndian.Uint16(b[6:])&(MoreFragments|FragmentOffset) != 0 {
		p.Fragment = true
		p.FragID = uint32(binary.BigEndian.Uint16(b[4:]))
		return true
	}
	if !p.parseTransport(b[ihl:total]) {
		return false
	}
	p.NoOptions = ihl == IPv4Len && len(p.L4) == total-ihl
	return true
}

// maxExtensionHeaders is how many of IPv6's are walked; a packet with more is malformed.
const maxExtensionHeaders = 8

func (p *Packet) parseIPv6(b []byte) bool {
	if len(b) < IPv6Len || b[0]>>4 != 6 {
		return false
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if payload > len(b)-IPv6Len {
		return false
	}
	p.Src, p.Dst, p.Proto = b[8:24], b[24:40], b[6]
	rest := b[IPv6Len : IPv6Len+payload]
	for range maxExtensionHeaders {
		switch p.Proto {
		case ProtoHopByHop, ProtoRouting, ProtoDestOpts:
			if len(rest) < 8 {
				return false
			}
			n := 8 + int(rest[1])*8
			if n > len(rest) {
				return false
			}
			p.Proto, rest = rest[0], rest[n:]
		case ProtoFragment:
			if len(rest) < IPv6FragmentLen {
				return false
			}
			if binary.BigEndian.Uint16(rest[2:])&^6 != 0 { // offset, or M
				p.Fragment = true
				p.FragID = binary.BigEndian.Uint32(rest[4:])
				return true
			}
			// An atomic fragment (RFC 6946) is a whole packet.
			p.Proto, rest = rest[0], rest[IPv6FragmentLen:]
		default:
			if !p.parseTransport(rest) {
				return false
			}
			p.NoOptions = len(rest) == payload && len(p.L4) == payload
			return true
		}
	}
	return false
}

func (p *Packet) parseTransport(b []byte) bool {
	p.L4 = b
	switch p.Proto {
	case ProtoTCP:
		if len(b) < TCPLen {
			return false
		}
		if n := TCPHeaderLen(b); n < TCPLen || n > len(b) {
			return false
		}
		p.TCPFlags = b[13]
	case ProtoUDP:
		if len(b) < UDPLen {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < UDPLen || n > len(b) {
			return false
		}
		p.L4 = b[:n]
	case ProtoICMP, ProtoICMPv6:
		return len(b) >= ICMPLen
	default:
		return true
	}
	p.SrcPort = binary.BigEndian.Uint16(b)
	p.DstPort = binary.BigEndian.Uint16(b[2:])
	return true
}

// TCPHeaderLen is the length of segment's header, options included, as it says itself.
func TCPHeaderLen(segment []byte) int { return int(segment[12]>>4) * 4 }

// IPPacketLen is the length of p's IP packet: a frame may be padded beyond it. p is IP.
func (p *Packet) IPPacketLen() int {
	if p.EtherType == EtherTypeIPv4 {
		return int(binary.BigEndian.Uint16(p.Frame[EthernetLen+2:]))
	}
	return IPv6Len + int(binary.BigEndian.Uint16(p.Frame[EthernetLen+4:]))
}

// Source is the sender of p, which is TCP or UDP.
func (p *Packet) Source() netip.AddrPort { return netip.AddrPortFrom(Addr(p.Src), p.SrcPort) }

// Destination is whom p, which is TCP or UDP, is for.
func (p *Packet) Destination() netip.AddrPort { return netip.AddrPortFrom(Addr(p.Dst), p.DstPort) }

// Addr is the address in b, of 4 or 16 bytes.
func Addr(b []byte) netip.Addr {
	if len(b) == 4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b))
}

// MayChangeNeighbors reports whether p can tell something new of a neighbor: ARP, and
// the messages of NDP.
func (p *Packet) MayChangeNeighbors() bool {
	return p.EtherType == EtherTypeARP || p.Proto == ProtoICMPv6 && p.EtherType == EtherTypeIPv6 &&
		len(p.L4) > 0 && p.L4[0] >= ICMPv6RouterSolicit && p.L4[0] <= ICMPv6NeighborRedirect
}

// ChecksumState is what Verify found.
type ChecksumState uint8

const (
	ChecksumUnknown ChecksumState = iota // not looked at: fragments, ICMP and others
	ChecksumGood
	ChecksumBad
)

// Verify checks the IPv4 header's checksum, and those of TCP and UDP. p is IP. With
// partial, a checksum field that holds the folded pseudo-header sum is good too: a
// sender left it to an offload (CHECKSUM_PARTIAL, see
// Documentation/networking/checksum-offloads.rst) and the packet never left the machine.
func (p *Packet) Verify(partial bool) ChecksumState {
	if p.EtherType == EtherTypeIPv4 {
		ihl := int(p.Frame[EthernetLen]&0x0f) * 4
		if Checksum(p.Frame[EthernetLen:EthernetLen+ihl], 0) != 0xffff {
			return ChecksumBad
		}
	}
	if p.Fragment || p.L4 == nil {
		return ChecksumUnknown
	}
	var field uint16
	switch p.Proto {
	case ProtoTCP:
		field = binary.BigEndian.Uint16(p.L4[16:])
	case ProtoUDP:
		field = binary.BigEndian.Uint16(p.L4[6:])
		if field == 0 {
			// RFC 768: not computed. RFC 8200 section 8.1 forbids it over IPv6.
			if p.EtherType == EtherTypeIPv6 {
				return ChecksumBad
			}
			return ChecksumGood
		}
	default:
		return ChecksumUnknown
	}
	pseudo := pseudoSum(p.Proto, len(p.L4), p.Src, p.Dst)
	if Fold(Sum(p.L4, pseudo)) == 0xffff {
		return ChecksumGood
	}
	if partial && field == Fold(pseudo) {
		return ChecksumGood
	}
	return ChecksumBad
}
