package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// Link, network and transport constants that a received frame is read by.
const (
	etherHeaderLen = 14

	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoICMPv6   = 58
	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoDestOpts = 60

	tcpFlagFIN = 1 << 0
	tcpFlagSYN = 1 << 1
	tcpFlagRST = 1 << 2
	tcpFlagPSH = 1 << 3
	tcpFlagACK = 1 << 4

	maxExtensionHeaders = 8
)

// packet is what the receive path knows of a frame: enough to verify and to
// steer it, and no more. It refers to the frame's bytes and lives no longer
// than they do.
type packet struct {
	frame     []byte // the Ethernet frame
	etherType uint16
	src, dst  []byte // network addresses, 4 or 16 bytes; nil unless IP
	l4        []byte // transport header and payload; nil for a fragment
	proto     uint8  // transport protocol
	fragment  bool
	plain     bool // transport header at its usual place: no fragment, options or extension headers, no trailing bytes in the IP packet
	fragID    uint32
	srcPort   uint16 // TCP and UDP
	dstPort   uint16
	tcpFlags  uint8
	arpOp     uint16
	arpSelf   bool // ARP sender and target protocol addresses are the same
}

// parse reads frame into p. It returns false when the frame is too short for
// what its headers say, or says what can't be: such a frame is to be dropped.
// What parse does not know (unknown EtherTypes, extension headers) is left to
// netstack.
func (p *packet) parse(frame []byte) bool {
	*p = packet{frame: frame}
	if len(frame) < etherHeaderLen {
		return false
	}
	p.etherType = binary.BigEndian.Uint16(frame[12:])
	l3 := frame[etherHeaderLen:]
	switch p.etherType {
	case etherTypeIPv4:
		return p.parseIPv4(l3)
	case etherTypeIPv6:
		return p.parseIPv6(l3)
	case etherTypeARP:
		// RFC 826 over Ethernet and IPv4: 28 bytes.
		if len(l3) < 28 {
			return false
		}
		p.arpOp = binary.BigEndian.Uint16(l3[6:])
		p.arpSelf = [4]byte(l3[14:18]) == [4]byte(l3[24:28])
		return true
	}
	return true
}

func (p *packet) parseIPv4(b []byte) bool {
	if len(b) < 20 || b[0]>>4 != 4 {
		return false
	}
	ihl := int(b[0]&0x0f) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if ihl < 20 || total < ihl || total > len(b) {
		return false
	}
	p.src, p.dst, p.proto = b[12:16], b[16:20], b[9]
	if binary.BigEndian.Uint16(b[6:])&0x3fff != 0 { // MF, or an offset
		p.fragment = true
		p.fragID = uint32(binary.BigEndian.Uint16(b[4:]))
		return true
	}
	if !p.parseTransport(b[ihl:total]) {
		return false
	}
	p.plain = ihl == 20 && len(p.l4) == total-ihl
	return true
}

func (p *packet) parseIPv6(b []byte) bool {
	if len(b) < 40 || b[0]>>4 != 6 {
		return false
	}
	payload := int(binary.BigEndian.Uint16(b[4:]))
	if payload > len(b)-40 {
		return false
	}
	p.src, p.dst, p.proto = b[8:24], b[24:40], b[6]
	rest := b[40 : 40+payload]
	for range maxExtensionHeaders {
		switch p.proto {
		case protoHopByHop, protoRouting, protoDestOpts:
			if len(rest) < 8 {
				return false
			}
			n := 8 + int(rest[1])*8
			if n > len(rest) {
				return false
			}
			p.proto, rest = rest[0], rest[n:]
		case protoFragment:
			if len(rest) < 8 {
				return false
			}
			if binary.BigEndian.Uint16(rest[2:])&^6 != 0 { // offset, or M
				p.fragment = true
				p.fragID = binary.BigEndian.Uint32(rest[4:])
				return true
			}
			// An atomic fragment (RFC 6946) is a whole packet.
			p.proto, rest = rest[0], rest[8:]
		default:
			if !p.parseTransport(rest) {
				return false
			}
			p.plain = len(rest) == payload && len(p.l4) == payload
			return true
		}
	}
	return false
}

func (p *packet) parseTransport(b []byte) bool {
	p.l4 = b
	switch p.proto {
	case protoTCP:
		if len(b) < 20 {
			return false
		}
		if off := int(b[12]>>4) * 4; off < 20 || off > len(b) {
			return false
		}
		p.tcpFlags = b[13]
	case protoUDP:
		if len(b) < 8 {
			return false
		}
		n := int(binary.BigEndian.Uint16(b[4:]))
		if n < 8 || n > len(b) {
			return false
		}
		p.l4 = b[:n]
	case protoICMP, protoICMPv6:
		return len(b) >= 8
	default:
		return true
	}
	p.srcPort = binary.BigEndian.Uint16(b)
	p.dstPort = binary.BigEndian.Uint16(b[2:])
	return true
}

// checksumState is what verify found.
type checksumState uint8

const (
	checksumUnknown checksumState = iota // left to netstack: fragments, ICMP, others
	checksumGood
	checksumBad
)

// verify checks the IPv4 header's checksum, and those of TCP and UDP. With
// partial, a checksum field that holds the folded pseudo-header sum is good
// too: a sender left it to an offload (CHECKSUM_PARTIAL, see
// Documentation/networking/checksum-offloads.rst) and the packet never left
// the machine.
func (p *packet) verify(partial bool) checksumState {
	if p.etherType == etherTypeIPv4 {
		ihl := int(p.frame[etherHeaderLen]&0x0f) * 4
		if checksum.Checksum(p.frame[etherHeaderLen:etherHeaderLen+ihl], 0) != 0xffff {
			return checksumBad
		}
	}
	if p.fragment || p.l4 == nil {
		return checksumUnknown
	}
	var field uint16
	switch p.proto {
	case protoTCP:
		field = binary.BigEndian.Uint16(p.l4[16:])
	case protoUDP:
		field = binary.BigEndian.Uint16(p.l4[6:])
		if field == 0 {
			// RFC 768: not computed. RFC 8200 section 8.1 forbids it over IPv6.
			if p.etherType == etherTypeIPv6 {
				return checksumBad
			}
			return checksumGood
		}
	default:
		return checksumUnknown
	}
	pseudo := p.pseudoHeaderSum()
	if checksum.Checksum(p.l4, pseudo) == 0xffff {
		return checksumGood
	}
	if partial && field == pseudo {
		return checksumGood
	}
	return checksumBad
}

// pseudoHeaderSum is the folded sum, not complemented, of the pseudo-header of
// RFC 9293 section 3.1, RFC 768 and RFC 8200 section 8.1.
func (p *packet) pseudoHeaderSum() uint16 {
	return pseudoSum(p.proto, len(p.l4), p.src, p.dst)
}
