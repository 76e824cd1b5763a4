package rawload

// Sizes and numbers of the headers that frames are read and made by.
const (
	etherLen     = 14
	ipv4Len      = 20
	ipv6Len      = 40
	udpHeaderLen = 8
	tcpHeaderLen = 20
	arpLen       = 28

	etherTypeIPv4 = 0x0800
	etherTypeARP  = 0x0806
	etherTypeIPv6 = 0x86dd

	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58

	flagFIN = 1 << 0
	flagSYN = 1 << 1
	flagRST = 1 << 2
	flagPSH = 1 << 3
	flagACK = 1 << 4
)

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
	frame    []byte
	src, dst []byte // network addresses, 4 or 16 bytes
	l4       []byte // transport header and payload; ARP: its 28 bytes
	payload  []byte

	srcPort, dstPort uint16
	// TCP
	seq, ack uint32
	window   uint16
	flags    uint8
}

// parse takes frame apart and verifies its checksums. partial is
// driver.Offloads.RxChecksumPartial: a field that holds just the folded
// pseudo-header sum is good, then.
func (p *packet) parse(frame []byte, partial bool) class {
	if len(frame) < etherLen {
		return damaged
	}
	p.frame = frame
	b := frame[etherLen:]
	var proto uint8
	switch be.Uint16(frame[12:]) {
	case etherTypeIPv4:
		if len(b) < ipv4Len || b[0]>>4 != 4 {
			return damaged
		}
		ihl, total := int(b[0]&0x0f)*4, int(be.Uint16(b[2:]))
		if ihl < ipv4Len || total < ihl || total > len(b) || fold(sum(b[:ihl], 0)) != 0xffff {
			return damaged
		}
		if be.Uint16(b[6:])&0x3fff != 0 { // MF, or an offset
			return unknown
		}
		proto, p.src, p.dst, p.l4 = b[9], b[12:16], b[16:20], b[ihl:total]
	case etherTypeIPv6:
		if len(b) < ipv6Len || b[0]>>4 != 6 {
			return damaged
		}
		n := int(be.Uint16(b[4:]))
		if n > len(b)-ipv6Len {
			return damaged
		}
		proto, p.src, p.dst, p.l4 = b[6], b[8:24], b[24:40], b[ipv6Len:ipv6Len+n]
	case etherTypeARP:
		if len(b) < arpLen {
			return damaged
		}
		p.l4 = b[:arpLen]
		return isARP
	default:
		return unknown
	}
	switch proto {
	case protoTCP:
		return p.parseTCP(partial)
	case protoUDP:
		return p.parseUDP(partial)
	case protoICMPv6:
		if len(p.src) != 16 {
			return unknown
		}
		if len(p.l4) < 8 || fold(sum(p.l4, p.pseudo(protoICMPv6))) != 0xffff {
			return damaged
		}
		return isICMPv6
	}
	return unknown
}

func (p *packet) parseUDP(partial bool) class {
	b := p.l4
	if len(b) < udpHeaderLen {
		return damaged
	}
	n := int(be.Uint16(b[4:]))
	if n < udpHeaderLen || n > len(b) {
		return damaged
	}
	b = b[:n]
	p.l4, p.payload = b, b[udpHeaderLen:]
	p.srcPort, p.dstPort = be.Uint16(b), be.Uint16(b[2:])
	field := be.Uint16(b[6:])
	if field == 0 && len(p.src) == 4 { // RFC 768: not computed; RFC 8200 forbids it
		return isUDP
	}
	if field == 0 || !p.verify(protoUDP, field, partial) {
		return damaged
	}
	return isUDP
}

func (p *packet) parseTCP(partial bool) class {
	b := p.l4
	if len(b) < tcpHeaderLen {
		return damaged
	}
	offset := int(b[12]>>4) * 4
	if offset < tcpHeaderLen || offset > len(b) {
		return damaged
	}
	p.payload = b[offset:]
	p.srcPort, p.dstPort = be.Uint16(b), be.Uint16(b[2:])
	p.seq, p.ack = be.Uint32(b[4:]), be.Uint32(b[8:])
	p.flags, p.window = b[13], be.Uint16(b[14:])
	if !p.verify(protoTCP, be.Uint16(b[16:]), partial) {
		return damaged
	}
	return isTCP
}

func (p *packet) verify(proto uint8, field uint16, partial bool) bool {
	pseudo := p.pseudo(proto)
	return fold(sum(p.l4, pseudo)) == 0xffff || partial && field == fold(pseudo)
}

// pseudo is the sum of the pseudo-header of RFC 9293 section 3.1, RFC 768 and RFC
// 8200 section 8.1.
func (p *packet) pseudo(proto uint8) uint64 {
	return sum(p.dst, sum(p.src, uint64(proto)+uint64(len(p.l4))))
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
	b := p.l4[tcpHeaderLen : len(p.l4)-len(p.payload)]
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
