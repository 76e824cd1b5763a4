package netstack

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
)

// link is the link endpoint that netstack sees: Ethernet, one NIC a shard. Packets go out
// through qdisc, and come in by Netstack.Input; only the header passes through link itself.
//
// It says that the NIC segments TCP and fills in checksums, as a kernel's NIC with TSO
// would. So netstack makes one packet of up to gsoMaxSize of what a connection may send,
// and its TCP, IP and locks are paid for once; the segments are cut while the packet is
// copied into TX frames.
type link struct {
	mtu   uint32
	addr  tcpip.LinkAddress
	qdisc *qdisc

	dispatcher stack.NetworkDispatcher // set before traffic, cleared after
}

var (
	_ stack.LinkEndpoint = (*link)(nil)
	_ stack.GSOEndpoint  = (*link)(nil)
)

func (l *link) MTU() uint32                             { return l.mtu }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return wire.EthernetLen }
func (l *link) LinkAddress() tcpip.LinkAddress          { return l.addr }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Attach(d stack.NetworkDispatcher)        { l.dispatcher = d }
func (l *link) IsAttached() bool                        { return l.dispatcher != nil }
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}

// Capabilities has no checksum offload: received checksums are verified packet by packet,
// as those of fragments can't be.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	eth := header.Ethernet(pkt.LinkHeader().Push(wire.EthernetLen))
	eth.Encode(&header.EthernetFields{
		SrcAddr: l.addr,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(wire.EthernetLen)
	return ok
}

// WritePackets implements stack.LinkWriter, for the few callers that bypass the queueing
// discipline.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		if err := l.qdisc.WritePacket(pkt); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// gsoMaxSize bounds a packet that is to be segmented: 45 segments of 1448 bytes. The peer
// chooses how long a segment is, and so does whoever sends an ICMP error: there may be more
// of them than there are free frames, and such a packet leaves in parts.
const gsoMaxSize = 65535

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO { return stack.HostGSOSupported }

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 { return gsoMaxSize }
