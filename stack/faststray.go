package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/stack/tcp"
)

// What reaches the engine by way of netstack: segments that IP had to do something
// for (fragments, options, extension headers), those that this host sends to
// itself, and ICMP errors. Netstack may deliver on any goroutine, in the middle of
// a call, the engine's own included: so they are kept as strays, for the loop.

// maxStrays bounds the strays that wait; more are lost.
const maxStrays = 256

type strays struct {
	waiting atomic.Bool // list is not empty
	mu      sync.Mutex
	list    []stray
	run     []stray // the loop's own; changes places with list
}

// stray is a segment, or what an ICMP error says of one of ours.
type stray struct {
	src, dst netip.Addr
	segment  []byte // nil: an error
	tuple    tcp.Tuple
	seq      uint32
	kind     tcp.ICMPKind
	mtu      int
}

// stray leaves s for the loop.
func (f *fastTCP) stray(s stray) bool {
	f.strays.mu.Lock()
	ok := len(f.strays.list) < maxStrays
	if ok {
		f.strays.list = append(f.strays.list, s)
		f.strays.waiting.Store(true)
	}
	f.strays.mu.Unlock()
	if ok {
		f.wake()
	}
	return ok
}

// inputStrays gives the engine what waits. Loop only.
func (f *fastTCP) inputStrays() int {
	q := &f.strays
	if !q.waiting.Load() {
		return 0
	}
	q.mu.Lock()
	q.waiting.Store(false)
	q.run, q.list = q.list, q.run[:0]
	q.mu.Unlock()
	f.hold()
	for i := range q.run {
		s := &q.run[i]
		switch {
		case s.segment == nil:
			f.engine.ICMP(f.now, &s.tuple, s.seq, s.kind, s.mtu)
		case tcp.ParseSegment(&f.seg, s.segment, s.src.AsSlice(), s.dst.AsSlice()) == nil:
			if f.engine.Input(f.now, &f.seg) == tcp.NoConnection {
				f.engine.Reject(&f.seg)
			}
		}
		q.run[i] = stray{}
	}
	f.release()
	return len(q.run)
}

// inputWhole is netstack's handler for TCP segments that no endpoint of its own is
// there for. It returns false if netstack is to refuse it. What netstack sends to
// itself has no link header, and comes on any goroutine; all else on the loop.
func (f *fastTCP) inputWhole(id stack.TransportEndpointID, pkt *stack.PacketBuffer) bool {
	if !f.active.Load() {
		return false
	}
	local := len(pkt.LinkHeader().Slice()) == 0
	if !local && f.sh.plain {
		return false // the engine was asked
	}
	src, dst := toNetip(id.RemoteAddress), toNetip(id.LocalAddress)
	head := pkt.TransportHeader().Slice()
	data := pkt.Data().AsRange().ToSlice()
	seg := append(append(make([]byte, 0, len(head)+len(data)), head...), data...)
	if local || pkt.RXChecksumValidated || tcp.VerifyChecksum(seg, src.AsSlice(), dst.AsSlice()) {
		f.stray(stray{src: src, dst: dst, segment: seg})
	}
	return true
}

// icmpError takes an ICMP error about a TCP segment that was sent from local to
// remote, whose first bytes are in pkt. It may be called on any goroutine.
func (f *fastTCP) icmpError(local, remote tcpip.Address, e stack.TransportError, pkt *stack.PacketBuffer) {
	if !f.active.Load() {
		return
	}
	quoted, ok := pkt.Data().PullUp(8)
	if !ok {
		return
	}
	s := stray{
		tuple: tcp.MakeTuple(
			netip.AddrPortFrom(toNetip(local), binary.BigEndian.Uint16(quoted)),
			netip.AddrPortFrom(toNetip(remote), binary.BigEndian.Uint16(quoted[2:]))),
		seq: binary.BigEndian.Uint32(quoted[4:]),
	}
	switch e.Kind() {
	case stack.PacketTooBigTransportError:
		s.kind = tcp.ICMPTooBig
		if left := int(e.Info()); left > 0 { // netstack says what the IP header leaves of the MTU
			s.mtu = left + ipHeaderLen(local)
		}
	case stack.DestinationPortUnreachableTransportError, stack.DestinationProtoUnreachableTransportError:
		s.kind = tcp.ICMPRefused
	default:
		s.kind = tcp.ICMPUnreachable
		if len(pkt.LinkHeader().Slice()) == 0 {
			s.kind = tcp.ICMPNoNeighbour // netstack found so itself: no packet came in
		}
	}
	f.stray(s)
}

// ipHeaderLen is the length of an IP header without options between addresses such
// as a.
func ipHeaderLen(a tcpip.Address) int {
	if a.Len() == header.IPv4AddressSize {
		return header.IPv4MinimumSize
	}
	return header.IPv6MinimumSize
}

// DeliverTransportError implements stack.TransportDispatcher.
func (d *wholeDispatcher) DeliverTransportError(local, remote tcpip.Address, net tcpip.NetworkProtocolNumber,
	trans tcpip.TransportProtocolNumber, e stack.TransportError, pkt *stack.PacketBuffer) {
	if trans == header.TCPProtocolNumber {
		d.sh.fast.icmpError(local, remote, e, pkt)
	}
	d.TransportDispatcherWithDefaultHandlerResult.DeliverTransportError(local, remote, net, trans, e, pkt)
}
