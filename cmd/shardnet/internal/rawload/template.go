package rawload

import "net/netip"

// template is the headers of one source's packets to the target, up to the
// transport header's ports, with sums of what does not change.
type template struct {
	l3    []byte // Ethernet and IP
	ipSum uint64 // of the IPv4 header, without total length and checksum
	l4Sum uint64 // of the pseudo-header without length, and the destination port
}

func (g *Generator) setTarget(to netip.AddrPort) { g.target.port = to.Port() }

// templates makes those of all sources for proto.
func (g *Generator) templates(proto uint8) []template {
	ts := make([]template, len(g.sources.addrs))
	for i, own := range g.sources.addrs {
		b := make([]byte, etherLen+g.headerLen())
		putEther(b, g.target.mac[:], g.cfg.Info.MAC, etherTypeIPv6)
		ip := b[etherLen:]
		if g.v4 {
			be.PutUint16(b[12:], etherTypeIPv4)
			ip[0], ip[8], ip[9] = 0x45, 64, proto
			be.PutUint16(ip[6:], 0x4000) // don't fragment: the identification may be 0 (RFC 6864)
			copy(ip[12:], own)
			copy(ip[16:], g.target.ip)
			ts[i].ipSum = sum(ip, 0)
		} else {
			ip[0], ip[6], ip[7] = 6<<4, proto, 64
			copy(ip[8:], own)
			copy(ip[24:], g.target.ip)
		}
		ts[i].l3 = b
		ts[i].l4Sum = sum(g.target.ip, sum(own, uint64(proto)+uint64(g.target.port)))
	}
	return ts
}

// put writes the headers for n bytes of transport header and payload, and returns
// where those begin.
func (t *template) put(b []byte, n int) int {
	at := copy(b, t.l3)
	if at == etherLen+ipv4Len {
		total := ipv4Len + n
		be.PutUint16(b[etherLen+2:], uint16(total))
		be.PutUint16(b[etherLen+10:], ^fold(t.ipSum+uint64(total)))
	} else {
		be.PutUint16(b[etherLen+4:], uint16(n))
	}
	return at
}

// udp writes the headers of a datagram whose payload of n bytes lies in place, and
// returns the frame's length.
func (t *template) udp(b []byte, srcPort, dstPort uint16, n int) int {
	n += udpHeaderLen
	at := t.put(b, n)
	u := b[at : at+n]
	be.PutUint16(u, srcPort)
	be.PutUint16(u[2:], dstPort)
	be.PutUint16(u[4:], uint16(n))
	acc := t.l4Sum + uint64(srcPort) + 2*uint64(n) // in the pseudo-header and here
	be.PutUint16(u[6:], udpChecksum(sum(u[udpHeaderLen:], acc)))
	return at + n
}
