package netstack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
	"shardnet/stack/tcp"
)

// Engine is the shard's TCP engine, as netstack sees it: it gets what IP had to do something
// for (fragments, options, extension headers), what this host sends to itself, and ICMP
// errors. Its methods may be called on any goroutine, in the middle of a call of the
// engine's own.
type Engine interface {
	// Active reports whether a socket of the engine was ever opened.
	Active() bool
	// SlowSegment takes segment, whose bytes are the engine's from now on.
	SlowSegment(src, dst netip.Addr, segment []byte)
	// SlowError takes an ICMP error about a segment of t that began with seq.
	SlowError(t tcp.Tuple, seq uint32, kind tcp.ICMPKind, mtu int)
}

// inputUnclaimed is netstack's handler for TCP segments for which it has no endpoint. It
// returns false if netstack is to refuse the segment. What netstack sends to itself has no
// link header, and comes on any goroutine; all else comes on the loop.
func (n *Netstack) inputUnclaimed(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	engine := n.cfg.Engine
	if !engine.Active() {
		return false
	}
	local := len(pkt.LinkHeader().Slice()) == 0
	if !local && n.skipEngine {
		return false // the engine was asked
	}
	src, dst := toNetip(id.RemoteAddress), toNetip(id.LocalAddress)
	head := pkt.TransportHeader().Slice()
	data := pkt.Data().AsRange().ToSlice()
	seg := append(append(make([]byte, 0, len(head)+len(data)), head...), data...)
	if local || pkt.RXChecksumValidated || tcp.VerifyChecksum(seg, src.AsSlice(), dst.AsSlice()) {
		engine.SlowSegment(src, dst, seg)
	}
	return true
}

// DeliverTransportError implements stack.TransportDispatcher. It may be called on any
// goroutine.
func (d *dispatcher) DeliverTransportError(local, remote tcpip.Address, net tcpip.NetworkProtocolNumber,
	trans tcpip.TransportProtocolNumber, e stack.TransportError, pkt *stack.PacketBuffer) {
	if trans == header.TCPProtocolNumber && d.n.cfg.Engine.Active() {
		d.n.icmpError(local, remote, e, pkt)
	}
	d.TransportDispatcherWithDefaultHandlerResult.DeliverTransportError(local, remote, net, trans, e, pkt)
}

// icmpError tells the engine of an ICMP error about a TCP segment that was sent from local
// to remote, whose first bytes are in pkt.
func (n *Netstack) icmpError(local, remote tcpip.Address, e stack.TransportError, pkt *stack.PacketBuffer) {
	quoted, ok := pkt.Data().PullUp(8)
	if !ok {
		return
	}
	t := tcp.MakeTuple(
		netip.AddrPortFrom(toNetip(local), binary.BigEndian.Uint16(quoted)),
		netip.AddrPortFrom(toNetip(remote), binary.BigEndian.Uint16(quoted[2:])))
	kind, mtu := tcp.ICMPUnreachable, 0
	switch e.Kind() {
	case stack.PacketTooBigTransportError:
		kind = tcp.ICMPTooBig
		if left := int(e.Info()); left > 0 { // netstack says what the IP header leaves of the MTU
			mtu = left + wire.IPLen(local.Len() == header.IPv4AddressSize)
		}
	case stack.DestinationPortUnreachableTransportError, stack.DestinationProtoUnreachableTransportError:
		kind = tcp.ICMPRefused
	default:
		if len(pkt.LinkHeader().Slice()) == 0 {
			kind = tcp.ICMPNoNeighbor // netstack found so itself: no packet came in
		}
	}
	n.cfg.Engine.SlowError(t, binary.BigEndian.Uint32(quoted[4:]), kind, mtu)
}
