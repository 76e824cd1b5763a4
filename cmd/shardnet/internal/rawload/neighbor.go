package rawload

import (
	"fmt"
	"net/netip"
	"time"

	"shardnet/driver/wire"
)

// How long the target has to answer, and how often it is asked.
const (
	resolveTimeout = 2 * time.Second
	resolveAgain   = 100 * time.Millisecond
)

// neighborLen is the length of a neighbor solicitation or advertisement (RFC 4861)
// with one link-layer address option.
const neighborLen = 32

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
		putEthernet(b, wire.Broadcast[:], g.cfg.Info.MAC, wire.EtherTypeARP)
		wire.PutARP(b[wire.EthernetLen:], wire.ARPRequest, g.cfg.Info.MAC, own, make([]byte, 6), g.target.ip)
		return wire.EthernetLen + wire.ARPLen
	}
	group := [16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff}
	copy(group[13:], g.target.ip[13:])
	putEthernet(b, []byte{0x33, 0x33, group[12], group[13], group[14], group[15]}, g.cfg.Info.MAC, wire.EtherTypeIPv6)
	return wire.EthernetLen + putNDP(b[wire.EthernetLen:], wire.ICMPv6NeighborSolicit, own, group[:], g.target.ip, g.cfg.Info.MAC)
}

// arp answers requests for the sources, and learns from the target's packets.
func (g *Generator) arp(p *packet) {
	b := p.Frame[wire.EthernetLen:]
	if !wire.IsIPv4ARP(b) || !g.v4 {
		return
	}
	senderMAC, sender, asked := b[8:14], b[14:18], b[24:28]
	src := g.sources.find(asked)
	if string(sender) == string(g.target.ip) {
		at := -1
		if p.ARPOp == wire.ARPReply {
			at = src
		}
		g.learn(at, senderMAC)
	}
	if p.ARPOp != wire.ARPRequest || src < 0 {
		return
	}
	if b := g.link.buffer(); b != nil {
		putEthernet(b, senderMAC, g.cfg.Info.MAC, wire.EtherTypeARP)
		wire.PutARP(b[wire.EthernetLen:], wire.ARPReply, g.cfg.Info.MAC, asked, senderMAC, sender)
		g.link.send(wire.EthernetLen + wire.ARPLen)
	}
}

// ndp does the same for IPv6.
func (g *Generator) ndp(p *packet) {
	if !isNDP(p) {
		return
	}
	asked := p.L4[8:24]
	switch p.L4[0] {
	case wire.ICMPv6NeighborAdvert:
		if mac := linkAddress(p.L4, 2); mac != nil && string(asked) == string(g.target.ip) {
			g.learn(g.sources.find(p.Dst), mac)
		}
	case wire.ICMPv6NeighborSolicit:
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

// isNDP says whether p is a whole neighbor solicitation or advertisement, of this
// link: hop limit 255, RFC 4861 section 7.1.
func isNDP(p *packet) bool {
	return len(p.L4) >= 24 && p.L4[1] == 0 && p.Frame[wire.EthernetLen+7] == 255 &&
		(p.L4[0] == wire.ICMPv6NeighborSolicit || p.L4[0] == wire.ICMPv6NeighborAdvert)
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
	if be.Uint64(p.Src)|be.Uint64(p.Src[8:]) == 0 {
		return 0
	}
	to := linkAddress(p.L4, 1)
	if to == nil {
		to = p.Frame[6:12]
	}
	putEthernet(b, to, mac, wire.EtherTypeIPv6)
	return wire.EthernetLen + putNDP(b[wire.EthernetLen:], wire.ICMPv6NeighborAdvert, p.L4[8:24], p.Src, p.L4[8:24], mac)
}

// putEthernet is wire.PutEthernet for addresses that are slices of 6 bytes.
func putEthernet(b, dst, src []byte, etherType uint16) {
	wire.PutEthernet(b, (*[6]byte)(dst), (*[6]byte)(src), etherType)
}

// putNDP writes an IPv6 packet with a solicitation or an advertisement of addr.
func putNDP(b []byte, kind byte, src, dst, addr, mac []byte) int {
	wire.PutIPv6(b, 0, neighborLen, wire.ProtoICMPv6, 255, src, dst)
	msg := b[wire.IPv6Len:][:neighborLen]
	clear(msg)
	msg[0] = kind
	copy(msg[8:], addr)
	msg[24], msg[25] = 1, 1
	if kind == wire.ICMPv6NeighborAdvert {
		msg[4] = 0x60 // solicited, override
		msg[24] = 2
	}
	copy(msg[26:], mac)
	be.PutUint16(msg[2:], ^wire.Checksum(msg, wire.PseudoSum(wire.ProtoICMPv6, neighborLen, src, dst)))
	return wire.IPv6Len + neighborLen
}
