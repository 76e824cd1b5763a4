package netstack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
	"shardnet/stack/internal/counter"
)

// Netstack's TCP bypasses netstack's IP for plain segments. Of what netstack spends on a
// request and its reply, a third is its network layer: parsing and validating what
// wire.Packet has parsed, looking up addresses, hooks of packet filters that don't exist,
// the neighbor of each packet. So
//
//   - a segment that is eligible (steer.Addresses.FastPathEligible) goes from the frame to
//     TCP's demultiplexer by InputSegment;
//   - a segment whose neighbor is known (txq.Queue.LockNeighbor) goes from TCP into a TX
//     frame by ipv4Output and ipv6Output, which stand before netstack's endpoints.
//
// All others take the usual way, both ways.

// ipProtocol is netstack's IPv4 or IPv6 with an output of our own before its endpoint.
type ipProtocol struct {
	stack.NetworkProtocol
	n *Netstack
}

// newIPv4 is a stack.NetworkProtocolFactory.
func (n *Netstack) newIPv4(ns *stack.Stack) stack.NetworkProtocol {
	return &ipProtocol{ipv4.NewProtocol(ns), n}
}

// newIPv6 makes a stack.NetworkProtocolFactory.
func (n *Netstack) newIPv6(opts ipv6.Options) stack.NetworkProtocolFactory {
	return func(ns *stack.Stack) stack.NetworkProtocol {
		return &ipProtocol{ipv6.NewProtocolWithOptions(opts)(ns), n}
	}
}

// ipv4Endpoint and ipv6Endpoint are all that netstack asks of a network endpoint
// by type assertion, so that what stands before it hides nothing. A test compares
// them with netstack's own.
type ipv4Endpoint interface {
	stack.NetworkEndpoint
	stack.AddressableEndpoint
	stack.GroupAddressableEndpoint
	stack.MulticastForwardingNetworkEndpoint
	stack.LinkResolvableNetworkEndpoint
}

type ipv6Endpoint interface {
	ipv4Endpoint
	stack.NDPEndpoint
	stack.DuplicateAddressDetector
	stack.LinkAddressResolver
}

type ipv4Output struct {
	ipv4Endpoint
	n *Netstack
}

type ipv6Output struct {
	ipv6Endpoint
	n *Netstack
}

// NewEndpoint implements stack.NetworkProtocol.
func (p *ipProtocol) NewEndpoint(nic stack.NetworkInterface, d stack.TransportDispatcher) stack.NetworkEndpoint {
	if full, ok := d.(stack.TransportDispatcherWithDefaultHandlerResult); ok {
		d = &dispatcher{full, p.n}
	}
	ep := p.NetworkProtocol.NewEndpoint(nic, d)
	switch e := ep.(type) {
	case ipv6Endpoint:
		return &ipv6Output{e, p.n}
	case ipv4Endpoint:
		return &ipv4Output{e, p.n}
	}
	return ep
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv4Output) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	if e.n.sendSegment(r, &params, pkt) {
		return nil
	}
	return e.ipv4Endpoint.WritePacket(r, params, pkt)
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv6Output) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	if e.n.sendSegment(r, &params, pkt) {
		return nil
	}
	return e.ipv6Endpoint.WritePacket(r, params, pkt)
}

// sendSegment writes pkt, TCP's header and payload, into TX frames of its own. It
// returns false, having changed nothing, when pkt must take the usual way: another
// protocol, a neighbor that is not known, packets before it, no frame left, or a
// segment longer than the MTU. It is called on whatever goroutine sends, with the
// connection's lock held.
func (n *Netstack) sendSegment(r *stack.Route, params *stack.NetworkHeaderParams, pkt *stack.PacketBuffer) bool {
	if params.Protocol != header.TCPProtocolNumber || params.ExperimentOptionValue != 0 {
		return false
	}
	tx, dst := n.cfg.Tx, toNetip(r.RemoteAddress())
	segments, ipLen := segmentsOf(pkt), wire.IPLen(dst.Is4())
	head := pkt.HeaderSize()
	if segments == 1 && ipLen+head+pkt.Data().Size() > n.cfg.MTU {
		return false
	}
	neighbor := tx.LockNeighbor(dst, n.cfg.Clock.Nanos())
	if neighbor == nil || !tx.Ready() || tx.Free() < segments {
		tx.Unlock()
		return false
	}
	id := tx.NextID(segments)
	var template [wire.EthernetLen + wire.IPv6Len]byte
	w := segmentWriter{tx: tx, mss: int(pkt.GSOOptions.MSS), ipLen: ipLen, head: template[:wire.EthernetLen+ipLen]}
	n.segmentHeaders(w.head, &neighbor.MAC, toNetip(r.LocalAddress()), dst, params, uint16(id))
	if segments == 1 {
		w.mss = pkt.Data().Size()
	}
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	ok := w.write(&from, head, pkt.Data().Size(), 0, segments)
	tx.Unlock()
	if ok {
		tx.Sent()
	}
	return ok
}

// segmentHeaders writes the Ethernet and IP headers of a TCP segment to b. Lengths and
// checksums are set segment by segment.
func (n *Netstack) segmentHeaders(b []byte, to *[6]byte, src, dst netip.Addr, params *stack.NetworkHeaderParams, id uint16) {
	ip := b[wire.EthernetLen:]
	if dst.Is4() {
		fragment := uint16(0)
		if params.DF {
			fragment, id = wire.DontFragment, 0 // RFC 6864 section 4.1: the id of an atomic datagram means nothing
		}
		s, d := src.As4(), dst.As4()
		wire.PutEthernet(b, to, &n.cfg.MAC, wire.EtherTypeIPv4)
		wire.PutIPv4(ip, params.TOS, 0, id, fragment, params.TTL, wire.ProtoTCP, s[:], d[:])
		return
	}
	s, d := src.As16(), dst.As16()
	wire.PutEthernet(b, to, &n.cfg.MAC, wire.EtherTypeIPv6)
	wire.PutIPv6(ip, params.TOS, 0, wire.ProtoTCP, params.TTL, s[:], d[:])
}

// InputSegment gives netstack's TCP a segment that is eligible for the fast path and whose
// checksum is right. It is merged with those before it that it continues: EndRun follows
// before anything else is given to netstack. Loop only.
func (n *Netstack) InputSegment(p *wire.Packet) {
	if n.gro.add(p) {
		return
	}
	if n.gro.n > 0 {
		n.EndRun()
		if n.gro.add(p) {
			return
		}
	}
	n.deliverSegment(p, buffer.MakeWithData(p.Frame[:wire.EthernetLen+p.IPPacketLen()]))
}

// EndRun delivers the segments that are being merged. Loop only.
func (n *Netstack) EndRun() {
	g := &n.gro
	switch {
	case g.n == 1:
		n.deliverSegment(&g.first, buffer.MakeWithData(g.frames[0]))
	case g.n > 1:
		n.cfg.Counters.Add(counter.Merged, g.n-1)
		n.deliverSegment(&g.first, g.merged())
	}
	g.n = 0
}

// deliverSegment gives a segment to netstack's demultiplexer. data begins with the headers
// of p's frame, and is copied already.
func (n *Netstack) deliverSegment(p *wire.Packet, data buffer.Buffer) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: data})
	pkt.LinkHeader().Consume(wire.EthernetLen)
	pkt.NetworkHeader().Consume(wire.IPLen(p.EtherType == wire.EtherTypeIPv4))
	pkt.TransportHeader().Consume(wire.TCPHeaderLen(p.L4))
	pkt.NetworkProtocolNumber = tcpip.NetworkProtocolNumber(p.EtherType)
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	pkt.RXChecksumValidated = true
	pkt.PktType = tcpip.PacketHost
	pkt.NICID = nicID
	n.skipEngine = true
	n.transport.DeliverTransportPacket(header.TCPProtocolNumber, pkt)
	n.skipEngine = false
	pkt.DecRef()
}
