package stack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Fragments of a packet meet on a shard that their addresses and id choose, where
// netstack puts the packet together. Only then are its ports known, and with them
// its owner: wholeDispatcher stands between netstack's IP and its transport
// protocols and gives packets of another shard to that shard. It also tells the
// shard's own TCP of ICMP errors.
type wholeDispatcher struct {
	stack.TransportDispatcherWithDefaultHandlerResult
	sh *Shard
}

// maxWhole bounds the reassembled packets that wait for a shard; more are lost.
const maxWhole = 256

// DeliverTransportPacket implements stack.TransportDispatcher. It is called on the
// loop for what came in. A packet that netstack sends to itself (an application
// asks an address of its own stack) has no link header, comes on any goroutine, and
// stays on its shard.
func (d *wholeDispatcher) DeliverTransportPacket(proto tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) stack.TransportPacketDisposition {
	if d.sh.st.cfg.Shards > 1 && (proto == header.UDPProtocolNumber || proto == header.TCPProtocolNumber) && len(pkt.LinkHeader().Slice()) > 0 {
		if owner := d.sh.ownerOfWhole(proto, pkt); owner != d.sh.index {
			d.sh.handWhole(d.sh.st.shards[owner], proto, pkt)
			return stack.TransportPacketHandled
		}
	}
	return d.TransportDispatcherWithDefaultHandlerResult.DeliverTransportPacket(proto, pkt)
}

// ownerOfWhole is the shard of a packet that netstack is about to deliver here. For
// one that was no fragment it is this one: it was steered when it came in.
func (sh *Shard) ownerOfWhole(proto tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) int {
	l4 := pkt.TransportHeader().Slice()
	if len(l4) < udpHeaderLen || proto == header.TCPProtocolNumber && len(l4) < header.TCPMinimumSize {
		return sh.index // malformed: netstack refuses it
	}
	net := pkt.Network()
	src, dst := net.SourceAddress(), net.DestinationAddress()
	p := packet{
		etherType: uint16(pkt.NetworkProtocolNumber), proto: uint8(proto),
		src: src.AsSlice(), dst: dst.AsSlice(), l4: l4,
		srcPort: uint16(l4[0])<<8 | uint16(l4[1]), dstPort: uint16(l4[2])<<8 | uint16(l4[3]),
	}
	owner := sh.st.steering.owner(&p, sh.index)
	if proto == header.TCPProtocolNumber {
		p.tcpFlags = l4[13]
		owner = sh.flowShard(&p, owner)
	}
	return owner
}

// handWhole has shard to deliver a copy of pkt in its next turn.
func (sh *Shard) handWhole(to *Shard, proto tcpip.TransportProtocolNumber, pkt *stack.PacketBuffer) {
	if to.wholes.Add(1) > maxWhole {
		to.wholes.Add(-1)
		sh.counters.local[handoverDrops]++
		return
	}
	sh.counters.local[handedOut]++
	to.Post(&wholePacket{to, proto, pkt.Clone()})
}

// wholePacket is a reassembled packet on its way to the shard that owns it, which
// it is in the hands of alone.
type wholePacket struct {
	sh    *Shard
	proto tcpip.TransportProtocolNumber
	pkt   *stack.PacketBuffer
}

// RunOnShard implements Task.
func (w *wholePacket) RunOnShard() {
	w.sh.wholes.Add(-1)
	w.sh.counters.local[handedIn]++
	w.sh.dispatcher.DeliverTransportPacket(w.proto, w.pkt)
	w.pkt.DecRef()
}

// String names the task, should it keep the loop.
func (w *wholePacket) String() string { return "netstack, delivering a reassembled packet" }
