package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
)

// Netstack's TCP without netstack's IP, for packets of which IP has nothing to
// say. Of what netstack spends on a request and its answer, a third is its network
// layer: parsing and validating what packet.parse has, looking up the addresses that
// localAddrs holds, hooks of packet filters that don't exist, the neighbour of each
// packet. So
//
//   - a whole, plain segment (see plainUnicast) goes from the frame to TCP's
//     demultiplexer by Shard.deliverSegment;
//   - a segment whose next hop is known (see hopCache) goes from TCP into a TX frame
//     by ipv4Output and ipv6Output, which stand before netstack's endpoints.
//
// All others take the usual way, both ways.

// ipProtocol is netstack's IPv4 or IPv6 with an output of our own before its endpoint.
type ipProtocol struct {
	stack.NetworkProtocol
	sh *Shard
}

// newIPv4 is a stack.NetworkProtocolFactory.
func (sh *Shard) newIPv4(ns *stack.Stack) stack.NetworkProtocol {
	return &ipProtocol{ipv4.NewProtocol(ns), sh}
}

// newIPv6 makes a stack.NetworkProtocolFactory.
func (sh *Shard) newIPv6(opts ipv6.Options) stack.NetworkProtocolFactory {
	return func(ns *stack.Stack) stack.NetworkProtocol {
		return &ipProtocol{ipv6.NewProtocolWithOptions(opts)(ns), sh}
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
	sh *Shard
}

type ipv6Output struct {
	ipv6Endpoint
	sh *Shard
}

// NewEndpoint implements stack.NetworkProtocol.
func (p *ipProtocol) NewEndpoint(nic stack.NetworkInterface, d stack.TransportDispatcher) stack.NetworkEndpoint {
	if full, ok := d.(stack.TransportDispatcherWithDefaultHandlerResult); ok {
		d = &wholeDispatcher{full, p.sh}
	}
	ep := p.NetworkProtocol.NewEndpoint(nic, d)
	switch e := ep.(type) {
	case ipv6Endpoint:
		return &ipv6Output{e, p.sh}
	case ipv4Endpoint:
		return &ipv4Output{e, p.sh}
	}
	return ep
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv4Output) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	if e.sh.bypass && e.sh.sendSegment(r, &params, pkt) {
		return nil
	}
	return e.ipv4Endpoint.WritePacket(r, params, pkt)
}

// WritePacket implements stack.NetworkEndpoint.
func (e *ipv6Output) WritePacket(r *stack.Route, params stack.NetworkHeaderParams, pkt *stack.PacketBuffer) tcpip.Error {
	if e.sh.bypass && e.sh.sendSegment(r, &params, pkt) {
		return nil
	}
	return e.ipv6Endpoint.WritePacket(r, params, pkt)
}

// sendSegment writes pkt, TCP's header and payload, into TX frames of its own. It
// returns false, having changed nothing, when pkt must take the usual way: another
// protocol, a next hop that is not known, packets before it, no frame left, or a
// segment longer than the MTU. It is called on whatever goroutine sends, with the
// connection's lock held.
func (sh *Shard) sendSegment(r *stack.Route, params *stack.NetworkHeaderParams, pkt *stack.PacketBuffer) bool {
	if params.Protocol != header.TCPProtocolNumber || params.ExperimentOptionValue != 0 {
		return false
	}
	t, dst := sh.tx, toNetip(r.RemoteAddress())
	segments := segmentsOf(pkt)
	ipLen := ipv4HeaderLen
	if dst.Is6() {
		ipLen = ipv6HeaderLen
	}
	head := pkt.HeaderSize()
	if segments == 1 && ipLen+head+pkt.Data().Size() > sh.st.info.MTU {
		return false
	}
	h := sh.lockHop(dst)
	if h == nil || t.closed || t.waiting > 0 || len(t.stock) < segments {
		t.mu.Unlock()
		return false
	}
	if t.ipID++; uint16(t.ipID) == 0 {
		t.ipID++
	}
	var template [etherHeaderLen + ipv6HeaderLen]byte
	w := segmentWriter{
		stock: &t.stock, filled: &t.filled,
		mss: int(pkt.GSOOptions.MSS), ipLen: ipLen,
		head: segmentHeaders(template[:0], h.mac, sh.st.mac, toNetip(r.LocalAddress()), dst, params, uint16(t.ipID)),
	}
	if segments > 1 {
		t.ipID += uint32(segments) - 1
	} else {
		w.mss = pkt.Data().Size()
	}
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	ok := w.write(&from, head, pkt.Data().Size(), 0, segments)
	if ok {
		t.queued.Store(true)
	}
	t.mu.Unlock()
	if ok {
		t.kick()
	}
	return ok
}

// segmentHeaders appends the Ethernet and IP headers of a TCP segment to b, all
// but lengths and checksum.
func segmentHeaders(b []byte, to, from [6]byte, src, dst netip.Addr, params *stack.NetworkHeaderParams, id uint16) []byte {
	b = append(b, to[:]...)
	b = append(b, from[:]...)
	if dst.Is4() {
		flags := byte(0)
		if params.DF {
			flags, id = 0x40, 0 // RFC 6864 section 4.1: the id of an atomic datagram means nothing
		}
		s, d := src.As4(), dst.As4()
		b = append(b, etherTypeIPv4>>8, etherTypeIPv4&0xff,
			0x45, params.TOS, 0, 0, byte(id>>8), byte(id), flags, 0, params.TTL, protoTCP, 0, 0)
		return append(append(b, s[:]...), d[:]...)
	}
	s, d := src.As16(), dst.As16()
	b = append(b, etherTypeIPv6>>8, etherTypeIPv6&0xff,
		0x60|params.TOS>>4, params.TOS<<4, 0, 0, 0, 0, protoTCP, params.TTL)
	return append(append(b, s[:]...), d[:]...)
}

// segmentWriter writes TCP segments into frames, one or several of one packet.
type segmentWriter struct {
	stock, filled *[]driver.Frame
	head          []byte // Ethernet and IP headers
	ipLen         int
	mss           int
}

// write makes n segments, beginning with number first, of what from reads: tcpHead
// bytes of TCP's header, and left bytes of payload. There are as many frames. It
// returns false when a segment does not fit a frame: nothing was written then.
func (w *segmentWriter) write(from *viewCursor, tcpHead, left, first, n int) bool {
	var tcp [60]byte
	if tcpHead > len(tcp) || tcpHead < header.TCPMinimumSize {
		return false
	}
	from.read(tcp[:tcpHead])
	from.at += first * w.mss
	left -= first * w.mss
	seq := binary.BigEndian.Uint32(tcp[4:])
	l3, l4 := etherHeaderLen, etherHeaderLen+w.ipLen
	stock := *w.stock
	for i := first; i < first+n; i++ {
		size := min(w.mss, left)
		left -= size
		f := stock[len(stock)-1]
		if l4+tcpHead+size > cap(f.Data) {
			return false // the first is the longest
		}
		b := f.Data[:l4+tcpHead+size]
		copy(b, w.head)
		copy(b[l4:], tcp[:tcpHead])
		from.read(b[l4+tcpHead:])
		binary.BigEndian.PutUint32(b[l4+4:], seq+uint32(i*w.mss))
		if left > 0 {
			b[l4+13] &^= tcpFlagFIN | tcpFlagPSH
		}
		if w.ipLen == ipv4HeaderLen {
			binary.BigEndian.PutUint16(b[l3+2:], uint16(len(b)-l3))
			if id := binary.BigEndian.Uint16(b[l3+4:]); id != 0 {
				binary.BigEndian.PutUint16(b[l3+4:], id+uint16(i))
			}
			b[l3+10], b[l3+11] = 0, 0
			binary.BigEndian.PutUint16(b[l3+10:], ^checksum.Checksum(b[l3:l4], 0))
		} else {
			binary.BigEndian.PutUint16(b[l3+4:], uint16(len(b)-l4))
		}
		sealTCP(b[l3:l4], b[l4:])
		f.Data = b
		stock = stock[:len(stock)-1]
		*w.filled = append(*w.filled, f)
	}
	*w.stock = stock
	return true
}

// deliverSegment gives a plain segment to netstack's TCP. data begins with the
// headers of p's frame.
func (sh *Shard) deliverSegment(p *packet, data buffer.Buffer) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: data})
	pkt.LinkHeader().Consume(etherHeaderLen)
	if p.etherType == etherTypeIPv4 {
		pkt.NetworkHeader().Consume(ipv4HeaderLen)
	} else {
		pkt.NetworkHeader().Consume(ipv6HeaderLen)
	}
	pkt.TransportHeader().Consume(int(p.l4[12]>>4) * 4)
	pkt.NetworkProtocolNumber = tcpip.NetworkProtocolNumber(p.etherType)
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	pkt.RXChecksumValidated = true
	pkt.PktType = tcpip.PacketHost
	pkt.NICID = nicID
	sh.plain = true
	sh.dispatcher.DeliverTransportPacket(header.TCPProtocolNumber, pkt)
	sh.plain = false
	pkt.DecRef()
}
