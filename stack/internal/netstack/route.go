package netstack

import (
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
)

// SourceFor is the stack's address from which packets to remote leave.
func (n *Netstack) SourceFor(remote netip.Addr) (netip.Addr, error) {
	r, terr := n.ns.FindRoute(nicID, tcpip.Address{}, fromNetip(remote.Unmap()), protocolOf(remote.Unmap()), false)
	if terr != nil {
		return netip.Addr{}, goError(terr)
	}
	defer r.Release()
	return toNetip(r.LocalAddress()), nil
}

// WriteUDP sends a datagram through netstack's IP, which resolves the neighbor, keeps the
// datagram until that is done, and makes fragments. An endpoint of netstack's would do it,
// too, but not from an address of the caller's choice.
func (n *Netstack) WriteUDP(src, dst netip.AddrPort, payload []byte) (int, error) {
	if len(payload) > wire.MaxUDPPayload(dst.Addr().Is4()) {
		return 0, syscall.EMSGSIZE
	}
	r, terr := n.ns.FindRoute(nicID, fromNetip(src.Addr()), fromNetip(dst.Addr()), protocolOf(dst.Addr()), false)
	if terr != nil {
		return 0, goError(terr)
	}
	defer r.Release()
	if r.IsOutboundBroadcast() {
		return 0, syscall.EACCES
	}
	var head [wire.UDPLen]byte
	wire.PutUDP(head[:], src.Port(), dst.Port(), len(payload))
	wire.SetUDPChecksum(head[:], payload, src.Addr().AsSlice(), dst.Addr().AsSlice())
	if terr := write(r, header.UDPProtocolNumber, head[:], payload, false); terr != nil {
		return 0, goError(terr)
	}
	n.ns.Stats().UDP.PacketsSent.Increment()
	return len(payload), nil
}

// WriteSegment sends a TCP segment of the engine through netstack's IP, which resolves the
// neighbor and keeps the segment meanwhile, or hands it to this very host. It returns false
// if the segment is lost, as a full neighbor queue loses it. The segment is copied.
func (n *Netstack) WriteSegment(src, dst netip.Addr, seg []byte) bool {
	r, terr := n.ns.FindRoute(nicID, fromNetip(src), fromNetip(dst), protocolOf(dst), false)
	if terr != nil {
		return false
	}
	defer r.Release()
	head := wire.TCPHeaderLen(seg)
	return write(r, header.TCPProtocolNumber, seg[:head], seg[head:], true) == nil
}

// write sends a packet of head and payload by r.
func write(r *stack.Route, proto tcpip.TransportProtocolNumber, head, payload []byte, df bool) tcpip.Error {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + len(head),
		Payload:            buffer.MakeWithData(payload),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = proto
	copy(pkt.TransportHeader().Push(len(head)), head)
	return r.WritePacket(stack.NetworkHeaderParams{Protocol: proto, TTL: wire.DefaultTTL, DF: df}, pkt)
}
