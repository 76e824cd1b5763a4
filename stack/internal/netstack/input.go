package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
)

// Input copies p's frame into a netstack packet and runs it through netstack's network and
// transport layers, here. UDP and ICMP end in a socket's queue or a reply; a TCP segment
// ends on its endpoint's queue, for Drain. verified says that checksums are right. Loop
// only.
func (n *Netstack) Input(p *wire.Packet, verified bool) {
	n.EndRun()
	frame := p.Frame
	var ep stack.NetworkEndpoint
	switch p.EtherType {
	case wire.EtherTypeIPv4:
		ep = n.ipv4
	case wire.EtherTypeIPv6:
		ep = n.ipv6
	case wire.EtherTypeARP:
		ep = n.arp
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	pkt.LinkHeader().Consume(wire.EthernetLen)
	pkt.NetworkProtocolNumber = tcpip.NetworkProtocolNumber(p.EtherType)
	pkt.RXChecksumValidated = verified
	switch {
	case frame[0]&1 == 0:
		pkt.PktType = tcpip.PacketHost
	case [6]byte(frame[:6]) == wire.Broadcast:
		pkt.PktType = tcpip.PacketBroadcast
	default:
		pkt.PktType = tcpip.PacketMulticast
	}
	ep.HandlePacket(pkt)
	pkt.DecRef()
	if p.EtherType == wire.EtherTypeARP {
		n.forgetMoved(frame[wire.EthernetLen:])
	}
	if p.MayChangeNeighbors() {
		n.cfg.Tx.NeighborsChanged()
	}
}

// forgetMoved has netstack forget a neighbor that says in an ARP reply or announcement (RFC
// 5227 section 2.3: its own address as target) that its MAC address is another than the one
// known, so that it is resolved anew. Netstack by itself would go on sending to the old
// address until probes of it were not answered, eight seconds or more; Linux takes the new
// one at once.
func (n *Netstack) forgetMoved(arp []byte) {
	mac, sender, target := arp[8:14], arp[14:18], arp[24:28]
	if binary.BigEndian.Uint16(arp[6:]) != wire.ARPReply && [4]byte(sender) != [4]byte(target) {
		return
	}
	addr := tcpip.AddrFromSlice(sender)
	neighbors, err := n.ns.Neighbors(nicID, header.IPv4ProtocolNumber)
	if err != nil {
		return
	}
	for i := range neighbors {
		e := &neighbors[i]
		if e.Addr == addr && e.State != stack.Static && len(e.LinkAddr) > 0 && e.LinkAddr != tcpip.LinkAddress(mac) {
			n.ns.RemoveNeighbor(nicID, header.IPv4ProtocolNumber, addr)
			return
		}
	}
}

// resolve looks dst up in netstack's routes and neighbor table for the transmit queue, if it
// is a host. If its neighbor is not known, netstack begins to resolve it.
func (n *Netstack) resolve(dst netip.Addr) {
	if dst.Zone() != "" || dst.IsMulticast() || dst.IsUnspecified() || dst.IsLoopback() || n.cfg.Own.Own(dst) {
		return
	}
	r, err := n.ns.FindRoute(nicID, tcpip.Address{}, fromNetip(dst), protocolOf(dst), false)
	if err != nil {
		return
	}
	defer r.Release()
	if r.IsOutboundBroadcast() || r.Loop()&stack.PacketLoop != 0 {
		return
	}
	now := n.cfg.Clock.Nanos()
	generation, begin := n.cfg.Tx.BeginResolve(dst, now)
	if !begin {
		return
	}
	r.ResolvedFields(func(res stack.ResolvedFieldsResult) {
		if mac := res.RouteInfo.RemoteLinkAddress; res.Err == nil && len(mac) == 6 {
			n.cfg.Tx.Resolved(dst, toNetip(res.RouteInfo.LocalAddress), [6]byte([]byte(mac)), generation, now)
		}
	})
}
