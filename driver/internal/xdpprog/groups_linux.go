package xdpprog

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// groups keeps an interface a member of Ethernet multicast groups. The kernel
// does not know the stack's IPv6 addresses and so never joins their
// solicited-node groups: a NIC whose filter is not open would drop neighbor
// solicitations before XDP sees them. The membership belongs to a packet socket
// that receives nothing, and so ends with the process.
type groups struct {
	fd int
}

// joinSolicited joins the solicited-node groups of the IPv6 addresses. Without
// any it returns nil.
func joinSolicited(ifindex int, addrs []netip.Prefix) (*groups, error) {
	var g *groups
	for _, p := range addrs {
		a := p.Addr()
		if a.Is4() {
			continue
		}
		if g == nil {
			// Protocol 0 receives no packets.
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, fmt.Errorf("open packet socket for multicast: %w", err)
			}
			g = &groups{fd: fd}
		}
		mac := solicitedMAC(a)
		req := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_MULTICAST, Alen: uint16(len(mac))}
		copy(req.Address[:], mac[:])
		if err := unix.SetsockoptPacketMreq(g.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &req); err != nil {
			_ = g.leave()
			return nil, fmt.Errorf("join solicited-node group of %v: %w", a, err)
		}
	}
	return g, nil
}

// solicitedMAC is the Ethernet address (RFC 2464, section 7) of an address's
// solicited-node group (RFC 4291, section 2.7.1).
func solicitedMAC(a netip.Addr) [6]byte {
	b := a.As16()
	return [6]byte{0x33, 0x33, 0xff, b[13], b[14], b[15]}
}

// leave leaves all groups. It may be called on nil.
func (g *groups) leave() error {
	if g == nil {
		return nil
	}
	return unix.Close(g.fd)
}
