package rawload

import "shardnet/driver/wire"

// class is what parse found a frame to be.
type class uint8

const (
	unknown class = iota // not ours to understand: other protocols, fragments
	damaged              // shorter than its headers say, or with a bad checksum
	isARP
	isUDP
	isTCP
	isICMPv6
)

// packet is a received frame, taken apart. It refers to the frame's bytes.
type packet struct {
	wire.Packet
	payload []byte // of UDP and TCP
	// TCP
	seq, ack uint32
	window   uint16
}

// parse takes frame apart and verifies its checksums. partial is
// driver.Offloads.RxChecksumPartial: a field that holds just the folded
// pseudo-header sum is good, then.
func (p *packet) parse(frame []byte, partial bool) class {
	if !p.Parse(frame) {
		return damaged
	}
	switch p.EtherType {
	case wire.EtherTypeARP:
		return isARP
	case wire.EtherTypeIPv4, wire.EtherTypeIPv6:
	default:
		return unknown
	}
	switch p.Verify(partial) {
	case wire.ChecksumBad:
		return damaged
	case wire.ChecksumGood:
	default:
		return p.parseICMPv6()
	}
	if p.Proto == wire.ProtoUDP {
		p.payload = p.L4[wire.UDPLen:]
		return isUDP
	}
	b := p.L4
	p.payload = b[wire.TCPHeaderLen(b):]
	p.seq, p.ack, p.window = be.Uint32(b[4:]), be.Uint32(b[8:]), be.Uint16(b[14:])
	return isTCP
}

func (p *packet) parseICMPv6() class {
	if p.Fragment || p.Proto != wire.ProtoICMPv6 || p.EtherType != wire.EtherTypeIPv6 {
		return unknown
	}
	if wire.Checksum(p.L4, wire.PseudoSum(wire.ProtoICMPv6, len(p.L4), p.Src, p.Dst)) != 0xffff {
		return damaged
	}
	return isICMPv6
}

// tcpOptions are those of a SYN that count here.
type tcpOptions struct {
	mss   uint16 // 0: none
	shift int8   // window scale; -1: none
}

// options reads the options of a TCP packet that parse accepted. What follows a
// malformed one is not read.
func (p *packet) options() tcpOptions {
	o := tcpOptions{shift: -1}
	b := p.L4[wire.TCPLen : len(p.L4)-len(p.payload)]
	for len(b) > 0 {
		switch b[0] {
		case 0:
			return o
		case 1:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return o
		}
		switch v := b[2:b[1]]; {
		case b[0] == 2 && len(v) == 2:
			o.mss = be.Uint16(v)
		case b[0] == 3 && len(v) == 1:
			o.shift = int8(min(v[0], 14)) // RFC 7323, section 2.3
		}
		b = b[b[1]:]
	}
	return o
}
