package rawload

import (
	"fmt"
	"net/netip"
	"time"
)

// How long the target has to answer, and how often it is asked.
const (
	resolveTimeout = 2 * time.Second
	resolveAgain   = 100 * time.Millisecond
)

// NDP messages, RFC 4861.
const (
	icmpNeighborSolicit   = 135
	icmpNeighborAdvertise = 136
	neighborLen           = 32 // either message with one link-layer address option
)

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// resolve asks for the target's MAC address, from every source address: asking is
// also how the target learns ours, before its first answers wait for that. It is
// an error when nobody answers; a source that gets no answer in time is left to
// the target.
func (g *Generator) resolve(to netip.AddrPort) error {
	t := &g.target
	if t.addr != to.Addr() {
		*t = target{addr: to.Addr(), ip: to.Addr().AsSlice(), heard: make([]bool, len(g.cfg.Sources))}
	}
	clear(t.heard)
	t.missing, t.resolved = len(t.heard), false
	g.tick()
	next, asked := g.now, 0
	err := g.loop(&until{
		g:    g,
		end:  g.now + int64(resolveTimeout),
		cond: func() bool { return t.missing == 0 },
		each: func() {
			if g.now < next {
				return
			}
			// A batch at a time: the target answers each.
			for n := 0; asked < len(t.heard) && n < batch; asked++ {
				if t.heard[asked] {
					continue
				}
				b := g.link.buffer()
				if b == nil {
					return
				}
				g.link.send(g.solicit(b, asked))
				n++
			}
			if next = g.now + int64(time.Millisecond); asked == len(t.heard) {
				next, asked = g.now+int64(resolveAgain), 0
			}
		},
	})
	if err == nil && !t.resolved && !g.stop.Load() {
		err = fmt.Errorf("resolve %v: %w", to.Addr(), ErrNoNeighbor)
	}
	return err
}

// learn takes an answer of the target's to source src (-1: to nobody's question).
func (g *Generator) learn(src int, mac []byte) {
	t := &g.target
	t.mac, t.resolved = [6]byte(mac), true
	if src >= 0 && !t.heard[src] {
		t.heard[src] = true
		t.missing--
	}
}

// solicit makes an ARP request or a neighbor solicitation from source src.
func (g *Generator) solicit(b []byte, src int) int {
	own := g.sources.addrs[src]
	if g.v4 {
		putEther(b, broadcast[:], g.cfg.Info.MAC, etherTypeARP)
		putARP(b[etherLen:], 1, g.cfg.Info.MAC, own, make([]byte, 6), g.target.ip)
		return etherLen + arpLen
	}
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff}
	copy(group[13:], g.target.ip[13:])
	putEther(b, []byte{0x33, 0x33, group[12], group[13], group[14], group[15]}, g.cfg.Info.MAC, etherTypeIPv6)
	return etherLen + putNDP(b[etherLen:], icmpNeighborSolicit, own, group[:], g.target.ip, g.cfg.Info.MAC)
}

// arp answers requests for the sources, and learns from the target's packets.
func (g *Generator) arp(p *packet) {
	if !isARPFor4(p.l4) || !g.v4 {
		return
	}
	op, sender, asked := be.Uint16(p.l4[6:]), p.l4[14:18], p.l4[24:28]
	src := g.sources.find(asked)
	if string(sender) == string(g.target.ip) {
		at := -1
		if op == 2 {
			at = src
		}
		g.learn(at, p.l4[8:14])
	}
	if op != 1 || src < 0 {
		return
	}
	if b := g.link.buffer(); b != nil {
		putEther(b, p.l4[8:14], g.cfg.Info.MAC, etherTypeARP)
		putARP(b[etherLen:], 2, g.cfg.Info.MAC, asked, p.l4[8:14], sender)
		g.link.send(etherLen + arpLen)
	}
}

// ndp does the same for IPv6.
func (g *Generator) ndp(p *packet) {
	if !isNDP(p) {
		return
	}
	asked := p.l4[8:24]
	switch p.l4[0] {
	case icmpNeighborAdvertise:
		if mac := linkAddress(p.l4, 2); mac != nil && string(asked) == string(g.target.ip) {
			g.learn(g.sources.find(p.dst), mac)
		}
	case icmpNeighborSolicit:
		if g.sources.find(asked) < 0 {
			return
		}
		if b := g.link.buffer(); b != nil {
			if n := answerSolicit(b, p, g.cfg.Info.MAC); n > 0 {
				g.link.send(n)
			}
		}
	}
}

// isARPFor4 says whether b, 28 bytes, is ARP for IPv4 over Ethernet (RFC 826).
func isARPFor4(b []byte) bool { return be.Uint64(b)>>16 == 0x0001_0800_0604 }

// isNDP says whether p is a whole neighbor solicitation or advertisement, of this
// link: hop limit 255, RFC 4861 section 7.1.
func isNDP(p *packet) bool {
	return len(p.l4) >= 24 && p.l4[1] == 0 && p.frame[etherLen+7] == 255 &&
		(p.l4[0] == icmpNeighborSolicit || p.l4[0] == icmpNeighborAdvertise)
}

// linkAddress is the link-layer address option of a message, of type kind; nil if
// there is none.
func linkAddress(msg []byte, kind byte) []byte {
	for b := msg[24:]; len(b) >= 8; {
		n := int(b[1]) * 8
		if n == 0 || n > len(b) {
			return nil
		}
		if b[0] == kind {
			return b[2:8]
		}
		b = b[n:]
	}
	return nil
}

// answerSolicit makes the advertisement that answers p. Solicitations without a
// sender (duplicate address detection) are not answered: 0.
func answerSolicit(b []byte, p *packet, mac []byte) int {
	if be.Uint64(p.src)|be.Uint64(p.src[8:]) == 0 {
		return 0
	}
	to := linkAddress(p.l4, 1)
	if to == nil {
		to = p.frame[6:12]
	}
	putEther(b, to, mac, etherTypeIPv6)
	return etherLen + putNDP(b[etherLen:], icmpNeighborAdvertise, p.l4[8:24], p.src, p.l4[8:24], mac)
}

func putEther(b, dst, src []byte, etherType uint16) {
	copy(b, dst)
	copy(b[6:], src)
	be.PutUint16(b[12:], etherType)
}

func putARP(b []byte, op uint16, senderMAC, sender, targetMAC, target []byte) {
	be.PutUint64(b, 0x0001_0800_0604<<16|uint64(op))
	copy(b[8:], senderMAC)
	copy(b[14:], sender)
	copy(b[18:], targetMAC)
	copy(b[24:], target)
}

// putNDP writes an IPv6 packet with a solicitation or an advertisement of addr.
func putNDP(b []byte, kind byte, src, dst, addr, mac []byte) int {
	be.PutUint32(b, 6<<28)
	be.PutUint16(b[4:], neighborLen)
	b[6], b[7] = protoICMPv6, 255
	copy(b[8:], src)
	copy(b[24:], dst)
	msg := b[ipv6Len:][:neighborLen]
	clear(msg)
	msg[0] = kind
	copy(msg[8:], addr)
	msg[24], msg[25] = 1, 1
	if kind == icmpNeighborAdvertise {
		msg[4] = 0x60 // solicited, override
		msg[24] = 2
	}
	copy(msg[26:], mac)
	be.PutUint16(msg[2:], ^fold(sum(msg, sum(b[8:40], protoICMPv6+neighborLen))))
	return ipv6Len + neighborLen
}
