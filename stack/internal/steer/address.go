package steer

import (
	"encoding/binary"
	"net/netip"

	"shardnet/driver/wire"
)

// Addresses are the stack's own, with the broadcast addresses of their subnets. They don't
// change, and any goroutine may ask.
type Addresses []ownAddress

type ownAddress struct {
	addr, broadcast netip.Addr // broadcast is invalid where there is none
}

// NewAddresses returns the addresses of prefixes.
func NewAddresses(prefixes []netip.Prefix) (own Addresses) {
	for _, p := range prefixes {
		a := ownAddress{addr: p.Addr()}
		if a.addr.Is4() && p.Bits() < 31 {
			b := a.addr.As4()
			host := ^uint32(0) >> p.Bits()
			binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
			a.broadcast = netip.AddrFrom4(b)
		}
		own = append(own, a)
	}
	return own
}

// Own reports whether addr is the stack's.
func (own Addresses) Own(addr netip.Addr) bool {
	for i := range own {
		if own[i].addr == addr {
			return true
		}
	}
	return false
}

// FastPathEligible reports whether p, UDP or TCP, may bypass netstack's IP: whole, without
// options, from a host's address to one of ours, in a frame to us alone. What is left
// (broadcast, multicast, an address that is not ours, a source that can't be replied to)
// has rules that netstack knows. So it is with a sender whose MAC address is a group's: a
// reply in place would go to the group.
func (own Addresses) FastPathEligible(p *wire.Packet) bool {
	if !p.NoOptions || (p.Frame[0]|p.Frame[6])&1 != 0 || p.SrcPort == 0 {
		return false
	}
	src, dst := wire.Addr(p.Src), wire.Addr(p.Dst)
	if src.Is4() {
		if a := p.Src[0]; a == 0 || a == 127 || a >= 224 {
			return false
		}
	} else if src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || src.Is4In6() {
		return false
	}
	eligible := false
	for i := range own {
		a := &own[i]
		if a.addr == src || a.broadcast == src {
			return false
		}
		eligible = eligible || a.addr == dst
	}
	return eligible
}
