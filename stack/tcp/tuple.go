package tcp

import (
	"encoding/binary"
	"net/netip"
)

// Tuple identifies a connection: addresses and ports, seen from this host. IPv4 addresses are in
// their IPv4-mapped form (RFC 4291 section 2.5.5.2). It is comparable, and 36 bytes without a
// pointer.
type Tuple struct {
	Local, Remote         [16]byte
	LocalPort, RemotePort uint16
}

// MakeTuple returns the tuple of two addresses of one family. Zones are ignored.
func MakeTuple(local, remote netip.AddrPort) Tuple {
	return Tuple{
		Local: local.Addr().As16(), Remote: remote.Addr().As16(),
		LocalPort: local.Port(), RemotePort: remote.Port(),
	}
}

// Is4 reports whether the connection runs over IPv4.
func (t *Tuple) Is4() bool { return is4(&t.Remote) }

// LocalAddr returns this host's address and port.
func (t *Tuple) LocalAddr() netip.AddrPort { return addrPort(&t.Local, t.LocalPort) }

// RemoteAddr returns the peer's address and port.
func (t *Tuple) RemoteAddr() netip.AddrPort { return addrPort(&t.Remote, t.RemotePort) }

func addrPort(a *[16]byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(*a).Unmap(), port)
}

func is4(a *[16]byte) bool {
	return binary.BigEndian.Uint64(a[:8]) == 0 && binary.BigEndian.Uint32(a[8:12]) == 0xffff
}

// setAddr writes a 4- or 16-byte address in network order. Any other length gives the zero address.
func setAddr(dst *[16]byte, a []byte) {
	switch len(a) {
	case 4:
		*dst = [16]byte{10: 0xff, 11: 0xff}
		copy(dst[12:], a)
	case 16:
		copy(dst[:], a)
	default:
		*dst = [16]byte{}
	}
}

// ports is the ports' word of the hash.
func (t *Tuple) ports() uint64 { return uint64(t.LocalPort)<<16 | uint64(t.RemotePort) }

// hash is the flow table's keyed hash: SipHash-1-3, two words for IPv4 and five
// for IPv6. A peer that picks addresses and ports at will can't make collisions
// without the key.
func (t *Tuple) hash(k *sipKey) uint32 {
	if t.Is4() {
		s := k.start()
		s.round(uint64(binary.BigEndian.Uint32(t.Local[12:]))<<32 | uint64(binary.BigEndian.Uint32(t.Remote[12:])))
		s.round(t.ports() | 4<<32)
		return uint32(s.finish3())
	}
	s := k.start()
	s.round(binary.BigEndian.Uint64(t.Local[:8]))
	s.round(binary.BigEndian.Uint64(t.Local[8:]))
	s.round(binary.BigEndian.Uint64(t.Remote[:8]))
	s.round(binary.BigEndian.Uint64(t.Remote[8:]))
	s.round(t.ports() | 6<<32)
	return uint32(s.finish3())
}

// mac is SipHash-2-4 of the tuple and an extra word, for values that a peer must not be able to
// guess: initial sequence numbers and cookies.
func (t *Tuple) mac(k *sipKey, extra uint64) uint64 {
	s := k.start()
	s.round2(binary.BigEndian.Uint64(t.Local[:8]))
	s.round2(binary.BigEndian.Uint64(t.Local[8:]))
	s.round2(binary.BigEndian.Uint64(t.Remote[:8]))
	s.round2(binary.BigEndian.Uint64(t.Remote[8:]))
	s.round2(t.ports())
	s.round2(extra)
	return s.finish4()
}

// hostMAC is mac without the ports: equal for all connections of two hosts.
func (t *Tuple) hostMAC(k *sipKey) uint64 {
	h := *t
	h.LocalPort, h.RemotePort = 0, 0
	return h.mac(k, 0)
}
