package stack

import (
	"encoding/binary"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
)

const (
	udpHeaderLen   = 8
	ipv4HeaderLen  = 20
	ipv6HeaderLen  = 40
	fragmentLen    = 8  // of IPv6's fragment header
	defaultTTL     = 64 // RFC 1700's; also the hop limit
	maxUDPPayload4 = 65535 - ipv4HeaderLen - udpHeaderLen
	maxUDPPayload6 = 65535 - udpHeaderLen
)

// answerUDP turns frame, a received datagram whose payload was replaced and whose
// length is right, into the answer: addresses and ports change places, lengths
// and checksums are computed anew. The frame goes back to the neighbour that sent
// it, which is the way to the source.
//
// id is for IPv4's header: see udpHeaders.network.
func answerUDP(frame []byte, v6 bool, id uint16) {
	var mac [6]byte
	copy(mac[:], frame[:6])
	copy(frame[:6], frame[6:12])
	copy(frame[6:12], mac[:])
	ip := frame[etherHeaderLen:]
	var l4 []byte
	if v6 {
		l4 = ip[ipv6HeaderLen:]
		binary.BigEndian.PutUint32(ip, 6<<28) // traffic class and flow label 0
		binary.BigEndian.PutUint16(ip[4:], uint16(len(l4)))
		ip[7] = defaultTTL
		var a [16]byte
		copy(a[:], ip[8:24])
		copy(ip[8:24], ip[24:40])
		copy(ip[24:40], a[:])
	} else {
		l4 = ip[ipv4HeaderLen:]
		ip[1] = 0
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		binary.BigEndian.PutUint16(ip[4:], id)
		binary.BigEndian.PutUint16(ip[6:], 0)
		ip[8] = defaultTTL
		src := binary.NativeEndian.Uint32(ip[12:])
		binary.NativeEndian.PutUint32(ip[12:], binary.NativeEndian.Uint32(ip[16:]))
		binary.NativeEndian.PutUint32(ip[16:], src)
		ip[10], ip[11] = 0, 0
		binary.BigEndian.PutUint16(ip[10:], ^checksum.Checksum(ip[:ipv4HeaderLen], 0))
	}
	ports := binary.BigEndian.Uint32(l4)
	binary.BigEndian.PutUint32(l4, ports<<16|ports>>16)
	binary.BigEndian.PutUint16(l4[4:], uint16(len(l4)))
	if v6 {
		sealUDP(l4, ip[8:24], ip[24:40], nil)
	} else {
		sealUDP(l4, ip[12:16], ip[16:20], nil)
	}
}

// sealUDP sets the checksum of the datagram that is l4 and then rest.
func sealUDP(l4, src, dst, rest []byte) {
	l4[6], l4[7] = 0, 0
	folded := checksum.Checksum(l4, pseudoSum(protoUDP, len(l4)+len(rest), src, dst)) // l4 is of even length, or rest is empty
	if len(rest) > 0 {
		folded = checksum.Checksum(rest, folded)
	}
	if folded = ^folded; folded == 0 {
		folded = 0xffff // RFC 768: 0 is no checksum
	}
	binary.BigEndian.PutUint16(l4[6:], folded)
}

// sendUDP writes payload straight into TX frames, as one datagram from port of src
// to to: in IP fragments when it is longer than the MTU allows. An invalid src is
// the route's. It returns false when the datagram must go by way of netstack,
// which knows more: the next hop is not known, there are packets before it, or no
// frame is left. While netstack looks for the next hop with enough datagrams
// waiting, payload is dropped, and counted, as a full neighbour queue does. Any
// goroutine may call it.
func (sh *Shard) sendUDP(src netip.Addr, port uint16, to netip.AddrPort, payload []byte) bool {
	t, dst := sh.tx, to.Addr()
	h := sh.lockHop(dst)
	if h == nil {
		lost := !t.hops.waits(dst, sh.clock.nanos())
		if lost {
			t.dropped++
		}
		t.mu.Unlock()
		return lost
	}
	if !src.IsValid() {
		src = h.src
	}
	d := udpHeaders{mac: h.mac, own: sh.st.mac, src: src, dst: dst, srcPort: port, dstPort: to.Port()}
	ok := d.write(t, payload, sh.st.info.MTU)
	if ok {
		t.udpSent++
		t.queued.Store(true)
	}
	t.mu.Unlock()
	if ok {
		t.kick()
	}
	return ok
}

// maxUDPPayload is the most that a datagram to dst can hold.
func maxUDPPayload(dst netip.Addr) int {
	if dst.Is4() {
		return maxUDPPayload4
	}
	return maxUDPPayload6
}

// routeUDP is sendUDP by way of netstack's IP, which resolves the neighbour, keeps
// the datagram until that is done, and makes fragments. An endpoint of netstack's
// would do it, too, but not from an address of the caller's choice.
func (sh *Shard) routeUDP(src netip.Addr, port uint16, to netip.AddrPort, payload []byte) (int, error) {
	if len(payload) > maxUDPPayload(to.Addr()) {
		return 0, syscall.EMSGSIZE
	}
	r, terr := sh.ns.FindRoute(nicID, fromNetip(src), fromNetip(to.Addr()), protocolOf(to.Addr()), false)
	if terr != nil {
		return 0, goError(terr)
	}
	defer r.Release()
	if r.IsOutboundBroadcast() {
		return 0, syscall.EACCES
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{
		ReserveHeaderBytes: int(r.MaxHeaderLength()) + udpHeaderLen,
		Payload:            buffer.MakeWithData(payload),
	})
	defer pkt.DecRef()
	pkt.TransportProtocolNumber = header.UDPProtocolNumber
	d := udpHeaders{src: src, dst: to.Addr(), srcPort: port, dstPort: to.Port()}
	head := pkt.TransportHeader().Push(udpHeaderLen)
	d.udp(head[:0], payload)
	d.seal(head, payload)
	if terr := r.WritePacket(stack.NetworkHeaderParams{Protocol: header.UDPProtocolNumber, TTL: defaultTTL}, pkt); terr != nil {
		return 0, goError(terr)
	}
	sh.ns.Stats().UDP.PacketsSent.Increment()
	return len(payload), nil
}

// udpHeaders is what a datagram's headers are made of.
type udpHeaders struct {
	mac, own         [6]byte
	src, dst         netip.Addr
	srcPort, dstPort uint16
}

// write makes frames of the datagram, all or none. The caller holds t.mu.
func (d *udpHeaders) write(t *transmitter, payload []byte, mtu int) bool {
	if t.closed || t.waiting > 0 {
		return false
	}
	ipLen := ipv4HeaderLen
	if d.dst.Is6() {
		ipLen = ipv6HeaderLen
	}
	if len(payload) > maxUDPPayload(d.dst) {
		return false
	}
	whole := udpHeaderLen + len(payload)
	if t.ipID++; uint16(t.ipID) == 0 {
		t.ipID++
	}
	if ipLen+whole <= mtu {
		f, ok := t.take()
		if !ok {
			return false
		}
		b := d.network(f.Data[:0], whole, fragment{id: t.ipID})
		l4 := len(b)
		b = append(d.udp(b, payload), payload...)
		d.seal(b[l4:], nil)
		f.Data = b
		t.filled = append(t.filled, f)
		return true
	}
	if d.dst.Is6() {
		ipLen += fragmentLen
	}
	step := (mtu - ipLen) &^ 7
	if n := (whole + step - 1) / step; n > len(t.stock) {
		return false
	}
	var head [udpHeaderLen]byte
	d.udp(head[:0], payload)
	d.seal(head[:], payload)
	for at := 0; at < whole; at += step {
		f, _ := t.take()
		n := min(step, whole-at)
		b := d.network(f.Data[:0], n, fragment{id: t.ipID, offset: at, more: at+n < whole, part: true})
		if at == 0 {
			b = append(b, head[:]...)
			b = append(b, payload[:n-udpHeaderLen]...)
		} else {
			b = append(b, payload[at-udpHeaderLen:at-udpHeaderLen+n]...)
		}
		f.Data = b
		t.filled = append(t.filled, f)
	}
	return true
}

// take takes an empty frame of the stock. The caller holds t.mu.
func (t *transmitter) take() (f driver.Frame, ok bool) {
	n := len(t.stock)
	if n == 0 {
		return f, false
	}
	f = t.stock[n-1]
	t.stock = t.stock[:n-1]
	return f, true
}

// fragment says which part of a datagram a packet is: all of it, unless part is
// set.
type fragment struct {
	id     uint32
	offset int
	more   bool
	part   bool
}

// network appends the Ethernet and IP headers of a packet with n bytes after
// them. IPv4 packets may be fragmented on their way (no DF), as nothing here
// learns the path's MTU: so each has an id (RFC 6864 section 4.1).
func (d *udpHeaders) network(b []byte, n int, part fragment) []byte {
	b = append(b, d.mac[:]...)
	b = append(b, d.own[:]...)
	id := part.id
	if d.dst.Is4() {
		b = append(b, etherTypeIPv4>>8, etherTypeIPv4&0xff)
		flags := uint16(part.offset / 8)
		if part.more {
			flags |= 0x2000
		}
		total := uint16(ipv4HeaderLen + n)
		src, dst := d.src.As4(), d.dst.As4()
		at := len(b)
		b = append(b, 0x45, 0, byte(total>>8), byte(total), byte(id>>8), byte(id), byte(flags>>8), byte(flags),
			defaultTTL, protoUDP, 0, 0)
		b = append(append(b, src[:]...), dst[:]...)
		binary.BigEndian.PutUint16(b[at+10:], ^checksum.Checksum(b[at:], 0))
		return b
	}
	next := byte(protoUDP)
	if part.part {
		next, n = protoFragment, n+fragmentLen
	}
	src, dst := d.src.As16(), d.dst.As16()
	b = append(b, etherTypeIPv6>>8, etherTypeIPv6&0xff, 0x60, 0, 0, 0, byte(n>>8), byte(n), next, defaultTTL)
	b = append(append(b, src[:]...), dst[:]...)
	if part.part {
		at := uint16(part.offset)
		if part.more {
			at |= 1
		}
		b = append(b, protoUDP, 0, byte(at>>8), byte(at), byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	}
	return b
}

// udp appends the UDP header, without its checksum.
func (d *udpHeaders) udp(b, payload []byte) []byte {
	n := uint16(udpHeaderLen + len(payload))
	return append(b, byte(d.srcPort>>8), byte(d.srcPort), byte(d.dstPort>>8), byte(d.dstPort), byte(n>>8), byte(n), 0, 0)
}

func (d *udpHeaders) seal(l4, rest []byte) {
	if d.dst.Is4() {
		src, dst := d.src.As4(), d.dst.As4()
		sealUDP(l4, src[:], dst[:], rest)
		return
	}
	src, dst := d.src.As16(), d.dst.As16()
	sealUDP(l4, src[:], dst[:], rest)
}
