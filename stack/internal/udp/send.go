package udp

import (
	"encoding/binary"
	"net/netip"

	"shardnet/driver/wire"
	"shardnet/stack/drop"
	"shardnet/stack/internal/txq"
)

// turnAround makes frame, a received datagram whose payload was replaced and whose length
// is right, the reply: addresses and ports change places, lengths and checksums are
// computed anew. The frame goes back to the neighbor that sent it, which is the way to the
// source. id is IPv4's identification (RFC 6864 section 4.1): the packet may be fragmented.
func turnAround(frame []byte, v6 bool, id uint16) {
	dst, src := [6]byte(frame[6:12]), [6]byte(frame[:6])
	ip := frame[wire.EthernetLen:]
	var l4 []byte
	if v6 {
		l4 = ip[wire.IPv6Len:]
		to, from := [16]byte(ip[8:24]), [16]byte(ip[24:40])
		wire.PutEthernet(frame, &dst, &src, wire.EtherTypeIPv6)
		wire.PutIPv6(ip, 0, len(l4), wire.ProtoUDP, wire.DefaultTTL, from[:], to[:])
	} else {
		l4 = ip[wire.IPv4Len:]
		to, from := [4]byte(ip[12:16]), [4]byte(ip[16:20])
		wire.PutEthernet(frame, &dst, &src, wire.EtherTypeIPv4)
		wire.PutIPv4(ip, 0, len(ip), id, 0, wire.DefaultTTL, wire.ProtoUDP, from[:], to[:])
	}
	wire.PutUDP(l4, binary.BigEndian.Uint16(l4[2:]), binary.BigEndian.Uint16(l4), len(l4)-wire.UDPLen)
	from, to := wire.Addresses(ip)
	wire.SetUDPChecksum(l4, nil, from, to)
}

// send writes payload straight into TX frames, as one datagram from port of src to to: in
// IP fragments when it is longer than the MTU allows. An invalid src is the route's. It
// returns false when the datagram must go through netstack, which knows more: the neighbor
// is not known, there are packets before it, or no frame is left. While netstack resolves
// the neighbor with enough datagrams waiting, payload is dropped, and counted, as a full
// neighbor queue does. Any goroutine may call it.
func (u *Sockets) send(src netip.Addr, port uint16, to netip.AddrPort, payload []byte) bool {
	tx, dst, now := u.cfg.Tx, to.Addr(), u.cfg.Clock.Nanos()
	n := tx.LockNeighbor(dst, now)
	if n == nil {
		dropped := !tx.MayWait(dst, now)
		if dropped {
			tx.Drop(drop.NoNeighbor)
		}
		tx.Unlock()
		return dropped
	}
	if !src.IsValid() {
		src = n.Src
	}
	h := headers{to: n.MAC, from: u.cfg.MAC, v4: dst.Is4(), srcPort: port, dstPort: to.Port()}
	h.setAddresses(src, dst)
	ok := h.write(tx, payload, u.cfg.MTU)
	if ok {
		tx.SentUDP()
	}
	tx.Unlock()
	if ok {
		tx.Sent()
	}
	return ok
}

// headers is what a datagram's headers are made of.
type headers struct {
	to, from         [6]byte
	v4               bool
	src, dst         [16]byte // IPv4's in the first 4 bytes
	srcPort, dstPort uint16
}

func (h *headers) setAddresses(src, dst netip.Addr) {
	if h.v4 {
		*(*[4]byte)(h.src[:]), *(*[4]byte)(h.dst[:]) = src.As4(), dst.As4()
		return
	}
	h.src, h.dst = src.As16(), dst.As16()
}

// addresses are the two, of 4 or 16 bytes.
func (h *headers) addresses() (src, dst []byte) {
	if h.v4 {
		return h.src[:4], h.dst[:4]
	}
	return h.src[:], h.dst[:]
}

// write makes frames of the datagram, all or none. tx is locked.
func (h *headers) write(tx *txq.Queue, payload []byte, mtu int) bool {
	if !tx.Ready() || len(payload) > wire.MaxUDPPayload(h.v4) {
		return false
	}
	ipLen, whole := wire.IPLen(h.v4), wire.UDPLen+len(payload)
	src, dst := h.addresses()
	if ipLen+whole <= mtu {
		if tx.Free() == 0 {
			return false
		}
		f, l4 := tx.Take(), wire.EthernetLen+ipLen
		b := f.Data[:l4+whole]
		h.network(b, whole, fragment{id: tx.NextID(1)})
		wire.PutUDP(b[l4:], h.srcPort, h.dstPort, len(payload))
		copy(b[l4+wire.UDPLen:], payload)
		wire.SetUDPChecksum(b[l4:], nil, src, dst)
		f.Data = b
		tx.Put(f)
		return true
	}
	if !h.v4 {
		ipLen += wire.IPv6FragmentLen
	}
	step := (mtu - ipLen) &^ 7
	if n := (whole + step - 1) / step; n > tx.Free() {
		return false
	}
	var head [wire.UDPLen]byte
	wire.PutUDP(head[:], h.srcPort, h.dstPort, len(payload))
	wire.SetUDPChecksum(head[:], payload, src, dst)
	id := tx.NextID(1)
	for at := 0; at < whole; at += step {
		n, l4 := min(step, whole-at), wire.EthernetLen+ipLen
		f := tx.Take()
		b := f.Data[:l4+n]
		h.network(b, n, fragment{id: id, offset: at, more: at+n < whole, part: true})
		if at == 0 {
			copy(b[l4:], head[:])
			copy(b[l4+wire.UDPLen:], payload)
		} else {
			copy(b[l4:], payload[at-wire.UDPLen:])
		}
		f.Data = b
		tx.Put(f)
	}
	return true
}

// fragment says which part of a datagram a packet is: all of it, unless part is set.
type fragment struct {
	id     uint32
	offset int
	more   bool
	part   bool
}

// network writes the Ethernet and IP headers of a packet with n bytes after them. IPv4
// packets may be fragmented on their way (no DF), as nothing here learns the path's MTU:
// so each has an id (RFC 6864 section 4.1).
func (h *headers) network(b []byte, n int, part fragment) {
	ip := b[wire.EthernetLen:]
	src, dst := h.addresses()
	if h.v4 {
		word := uint16(part.offset / 8)
		if part.more {
			word |= wire.MoreFragments
		}
		wire.PutEthernet(b, &h.to, &h.from, wire.EtherTypeIPv4)
		wire.PutIPv4(ip, 0, wire.IPv4Len+n, uint16(part.id), word, wire.DefaultTTL, wire.ProtoUDP, src, dst)
		return
	}
	wire.PutEthernet(b, &h.to, &h.from, wire.EtherTypeIPv6)
	if !part.part {
		wire.PutIPv6(ip, 0, n, wire.ProtoUDP, wire.DefaultTTL, src, dst)
		return
	}
	wire.PutIPv6(ip, 0, wire.IPv6FragmentLen+n, wire.ProtoFragment, wire.DefaultTTL, src, dst)
	wire.PutIPv6Fragment(ip[wire.IPv6Len:], wire.ProtoUDP, part.offset, part.more, part.id)
}
