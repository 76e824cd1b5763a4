package rawload

import (
	"encoding/binary"
	"net/netip"

	"shardnet/driver/wire"
)

var be = binary.BigEndian

// template is the headers of one source's packets to the target, up to the
// transport header's ports, with sums of what does not change.
type template struct {
	l3    []byte // Ethernet and IP
	ipSum uint64 // unfolded, of the IPv4 header without total length and checksum
	l4Sum uint64 // unfolded, of the pseudo-header without length, and the destination port
}

func (g *Generator) setTarget(to netip.AddrPort) { g.target.port = to.Port() }

// templates makes those of all sources for proto.
func (g *Generator) templates(proto uint8) []template {
	ts := make([]template, len(g.sources.addrs))
	for i, own := range g.sources.addrs {
		b := make([]byte, wire.EthernetLen+g.headerLen())
		ip := b[wire.EthernetLen:]
		if g.v4 {
			putEthernet(b, g.target.mac[:], g.cfg.Info.MAC, wire.EtherTypeIPv4)
			// The identification may be 0 where fragments are forbidden (RFC 6864).
			wire.PutIPv4(ip, 0, 0, 0, wire.DontFragment, wire.DefaultTTL, proto, own, g.target.ip)
			be.PutUint16(ip[10:], 0)
			ts[i].ipSum = wire.Word(wire.Checksum(ip, 0))
		} else {
			putEthernet(b, g.target.mac[:], g.cfg.Info.MAC, wire.EtherTypeIPv6)
			wire.PutIPv6(ip, 0, 0, proto, wire.DefaultTTL, own, g.target.ip)
		}
		ts[i].l3 = b
		ts[i].l4Sum = wire.Word(wire.PseudoSum(proto, 0, own, g.target.ip)) + wire.Word(g.target.port)
	}
	return ts
}

// put writes the headers for n bytes of transport header and payload, and returns
// where those begin.
func (t *template) put(b []byte, n int) int {
	at := copy(b, t.l3)
	if at == wire.EthernetLen+wire.IPv4Len {
		total := uint16(wire.IPv4Len + n)
		be.PutUint16(b[wire.EthernetLen+2:], total)
		be.PutUint16(b[wire.EthernetLen+10:], ^wire.Fold(t.ipSum+wire.Word(total)))
	} else {
		be.PutUint16(b[wire.EthernetLen+4:], uint16(n))
	}
	return at
}

// udp writes the headers of a datagram whose payload of n bytes lies in place, and
// returns the frame's length.
func (t *template) udp(b []byte, srcPort, dstPort uint16, n int) int {
	at := t.put(b, wire.UDPLen+n)
	u := b[at : at+wire.UDPLen+n]
	wire.PutUDP(u, srcPort, dstPort, n)
	length := wire.Word(uint16(len(u)))
	acc := t.l4Sum + wire.Word(srcPort) + 2*length // in the pseudo-header and here
	wire.PutUDPChecksum(u, wire.Fold(wire.Sum(u[wire.UDPLen:], acc)))
	return at + len(u)
}
