package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
	"shardnet/stack/tcp"
)

const (
	// fastStock is how many empty frames the engine has at hand between turns. In
	// a flush it takes more from the queue.
	fastStock = 64
	// fastHops is the size of the table of next hops, a power of two.
	fastHops = 256
)

// fastOutput is the engine's tcp.Output: segments are written straight into TX
// frames, behind the headers of link and IP. A segment whose next hop is not known,
// or is this host, goes by way of netstack's IP, which finds it.
//
// Owner of the bytes: frames in stock, out and filled are on loan from the queue.
// fastTCP.mu guards it all.
type fastOutput struct {
	f       *fastTCP
	stock   []driver.Frame // empty
	filled  []driver.Frame // to be sent, oldest first
	out     driver.Frame   // between Frame and Send
	short   bool           // the last flush was short of frames
	closed  bool
	dropped uint64 // segments that netstack did not take
	now     int64  // of the loop's turn: calls of applications send, too

	hops    [fastHops]fastHop
	scratch []byte    // a segment for netstack
	odd     bool      // between Frame and Send: it is in scratch
	to      tcp.Tuple // and of this connection
}

// fastHop is the next hop of one destination.
type fastHop struct {
	addr    [16]byte
	mac     [6]byte
	gen     uint32 // of hopCache
	expires int64
}

func (o *fastOutput) init(f *fastTCP) {
	o.f = f
	o.stock = make([]driver.Frame, 0, 4*fastStock)
	o.filled = make([]driver.Frame, 0, 4*fastStock)
	o.scratch = make([]byte, f.sh.st.info.MTU)
}

// restock takes empty frames from the queue. Loop only.
func (o *fastOutput) restock() {
	if n := len(o.stock); n < fastStock/2 {
		o.stock = o.stock[:n+o.f.sh.q.Alloc(o.stock[n:fastStock])]
	}
}

// flush sends what connections owe, and reports whether there is more, for which
// there are frames. Loop only.
func (o *fastOutput) flush(now int64) (more bool) {
	o.short = false
	return o.f.engine.Flush(now) && !o.short
}

// Frame implements tcp.Output.
func (o *fastOutput) Frame(_ *tcp.Conn, t *tcp.Tuple, n int) []byte {
	hop := o.hop(t)
	if hop == nil {
		if o.closed || n > len(o.scratch) {
			return nil
		}
		o.odd, o.to = true, *t
		return o.scratch[:n]
	}
	if len(o.stock) == 0 && !o.takeMore() {
		return nil
	}
	f := o.stock[len(o.stock)-1]
	l4 := etherHeaderLen + ipv4HeaderLen
	if !t.Is4() {
		l4 = etherHeaderLen + ipv6HeaderLen
	}
	if l4+n > cap(f.Data) {
		return nil
	}
	o.stock = o.stock[:len(o.stock)-1]
	f.Data = f.Data[:l4+n]
	putHeaders(f.Data, hop, &o.f.sh.st.mac, t, n)
	o.out = f
	return f.Data[l4:]
}

// takeMore fills the stock while the loop has the engine: what it answers at once, such
// as the FINs of a whole batch, may be more than the stock.
func (o *fastOutput) takeMore() bool {
	if o.f.held {
		o.stock = o.stock[:o.f.sh.q.Alloc(o.stock[:cap(o.stock)])]
	}
	if len(o.stock) == 0 {
		o.short = true
	}
	return len(o.stock) > 0
}

// Send implements tcp.Output.
func (o *fastOutput) Send(_ *tcp.Conn, seg []byte) {
	if o.odd {
		if !o.route(&o.to, seg) {
			o.dropped++
		}
		o.odd = false
		return
	}
	o.filled = append(o.filled, o.out)
	o.out = driver.Frame{}
}

// putHeaders writes the Ethernet and IP headers of a segment of n bytes. It may not
// be fragmented (RFC 8900): the path's MTU is learned from ICMP.
func putHeaders(b []byte, to, from *[6]byte, t *tcp.Tuple, n int) {
	copy(b[:6], to[:])
	copy(b[6:12], from[:])
	ip := b[etherHeaderLen:]
	if !t.Is4() {
		b[12], b[13] = etherTypeIPv6>>8, etherTypeIPv6&0xff
		binary.BigEndian.PutUint32(ip, 6<<28)
		binary.BigEndian.PutUint16(ip[4:], uint16(n))
		ip[6], ip[7] = protoTCP, defaultTTL
		copy(ip[8:24], t.Local[:])
		copy(ip[24:40], t.Remote[:])
		return
	}
	b[12], b[13] = etherTypeIPv4>>8, etherTypeIPv4&0xff
	binary.BigEndian.PutUint32(ip, 0x45000000|uint32(ipv4HeaderLen+n))
	binary.BigEndian.PutUint32(ip[4:], 0x4000) // DF; the id of an atomic datagram means nothing (RFC 6864 section 4.1)
	binary.BigEndian.PutUint32(ip[8:], defaultTTL<<24|protoTCP<<16)
	copy(ip[12:16], t.Local[12:])
	copy(ip[16:20], t.Remote[12:])
	binary.BigEndian.PutUint16(ip[10:], ^checksum.Checksum(ip[:ipv4HeaderLen], 0))
}

// hop returns the MAC address to which packets of t leave, or nil if it is not
// known. It follows hopCache, and so the neighbours, without its lock.
func (o *fastOutput) hop(t *tcp.Tuple) *[6]byte {
	i := binary.LittleEndian.Uint32(t.Remote[12:]) ^ binary.LittleEndian.Uint32(t.Remote[4:])
	h := &o.hops[i*0x9e3779b1>>24%fastHops]
	hops := o.f.sh.tx.hops
	if h.addr == t.Remote && h.gen == hops.gen.Load() && h.expires > o.now {
		return &h.mac
	}
	if !o.learn(h, netip.AddrFrom16(t.Remote).Unmap(), t) {
		return nil
	}
	return &h.mac
}

// learn fills h with the next hop to dst.
func (o *fastOutput) learn(h *fastHop, dst netip.Addr, t *tcp.Tuple) bool {
	known := o.f.sh.lockHop(dst)
	defer o.f.sh.tx.mu.Unlock()
	if known != nil {
		*h = fastHop{addr: t.Remote, mac: known.mac, gen: known.turnOf, expires: known.expires}
	}
	return known != nil
}

// route sends a segment by way of netstack's IP, which looks for the neighbour and
// keeps the segment meanwhile, or hands it to this very host. It returns false if
// the segment is lost, as a full neighbour queue loses it.
func (o *fastOutput) route(t *tcp.Tuple, seg []byte) bool {
	sh := o.f.sh
	src, dst := t.LocalAddr().Addr(), t.RemoteAddr().Addr()
	sh.tx.mu.Lock()
	ok := sh.tx.hops.waits(dst, sh.clock.nanos())
	sh.tx.mu.Unlock()
	if !ok {
		return false
	}
	r, terr := sh.ns.FindRoute(nicID, fromNetip(src), fromNetip(dst), protocolOf(dst), false)
	if terr != nil {
		return false
	}
	defer r.Release()
	head := int(seg[12]>>4) * 4
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + head,
		Payload:            buffer.MakeWithData(seg[head:]),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = header.TCPProtocolNumber
	copy(pkt.TransportHeader().Push(head), seg)
	return r.WritePacket(stack.NetworkHeaderParams{Protocol: header.TCPProtocolNumber, TTL: defaultTTL, DF: true}, pkt) == nil
}
