package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
)

// dispatcher stands between netstack's IP and its transport protocols.
//
// Fragments of a packet meet on a shard that their addresses and id choose, where netstack
// reassembles the packet. Only then are its ports known, and with them its owner:
// dispatcher gives packets of another shard to that shard. It also tells the shard's TCP
// engine of ICMP errors.
type dispatcher struct {
	stack.TransportDispatcherWithDefaultHandlerResult
	n *Netstack
}

// DeliverTransportPacket implements stack.TransportDispatcher. It is called on the loop for
// what came in. A packet that netstack sends to itself (an application asks an address of
// its own stack) has no link header, comes on any goroutine, and stays on its shard.
func (d *dispatcher) DeliverTransportPacket(proto tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) stack.TransportPacketDisposition {
	if d.n.cfg.Steering.Shards() > 1 && (proto == header.UDPProtocolNumber || proto == header.TCPProtocolNumber) && len(pkt.LinkHeader().Slice()) > 0 {
		if p, ok := reassembledPacket(proto, pkt); ok && d.n.cfg.SteerReassembled(&p, &Reassembled{proto: proto, pkt: pkt}) {
			return stack.TransportPacketHandled
		}
	}
	return d.TransportDispatcherWithDefaultHandlerResult.DeliverTransportPacket(proto, pkt)
}

// reassembledPacket is what steering needs of pkt. It returns false for a malformed packet,
// which netstack refuses.
func reassembledPacket(proto tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) (p wire.Packet, ok bool) {
	l4 := pkt.TransportHeader().Slice()
	if len(l4) < wire.UDPLen || proto == header.TCPProtocolNumber && len(l4) < wire.TCPLen {
		return p, false
	}
	net := pkt.Network()
	src, dst := net.SourceAddress(), net.DestinationAddress()
	p = wire.Packet{
		EtherType: uint16(pkt.NetworkProtocolNumber), Proto: uint8(proto),
		Src: src.AsSlice(), Dst: dst.AsSlice(), L4: l4,
		SrcPort: binary.BigEndian.Uint16(l4), DstPort: binary.BigEndian.Uint16(l4[2:]),
	}
	if proto == header.TCPProtocolNumber {
		p.TCPFlags = l4[13]
	}
	return p, true
}

// Reassembled is a reassembled packet on its way to the shard that owns it.
type Reassembled struct {
	to    *Netstack
	proto tcpip.TransportProtocolNumber
	pkt   *stack.PacketBuffer
}

// For clones the packet for to, whose loop runs the result as a task. The clones share the
// bytes, which nobody writes.
func (r *Reassembled) For(to *Netstack) *Reassembled {
	return &Reassembled{to, r.proto, r.pkt.Clone()}
}

// RunOnShard implements flow.Task.
func (r *Reassembled) RunOnShard() {
	r.to.cfg.ReassembledArrived()
	r.to.transport.DeliverTransportPacket(r.proto, r.pkt)
	r.pkt.DecRef()
}

// String names the task, should it keep the loop.
func (r *Reassembled) String() string { return "netstack, delivering a reassembled packet" }
