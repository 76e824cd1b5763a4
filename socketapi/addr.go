package socketapi

import (
	"net"
	"net/netip"
)

// parseAddress turns a network name and an address into the protocol, "tcp" or
// "udp", and what to bind or dial. The errors are those of package net for the
// same mistakes. The address is never IPv4-mapped, and is the zero netip.Addr
// when the host was empty.
func parseAddress(network, address string) (proto string, a netip.AddrPort, err error) {
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
		proto = network[:3]
	default:
		return "", a, net.UnknownNetworkError(network)
	}
	if address == "" {
		return proto, a, nil
	}
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return proto, a, err
	}
	port, err := net.LookupPort(network, service)
	if err != nil {
		return proto, a, err
	}
	if host == "" {
		return proto, netip.AddrPortFrom(netip.Addr{}, uint16(port)), nil
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return proto, a, &net.DNSError{
			Err:        "host names are not resolved here, give a literal IP address",
			Name:       host,
			IsNotFound: true,
		}
	}
	ip = ip.Unmap()
	if network[len(network)-1] == '4' && ip.WithZone("") == netip.IPv6Unspecified() {
		ip = netip.IPv4Unspecified() // package net does the same: go.dev/issue/18806
	}
	if family := network[len(network)-1]; family == '4' && !ip.Is4() || family == '6' && ip.Is4() {
		return proto, a, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	return proto, netip.AddrPortFrom(ip, uint16(port)), nil
}

// parseListen is parseAddress for a listener of the protocol want. Its error is
// ready to be returned.
func parseListen(want, network, address string) (netip.AddrPort, error) {
	proto, a, err := parseAddress(network, address)
	if err != nil {
		return a, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if proto != want {
		err := &net.AddrError{Err: "unexpected address type", Addr: address}
		return a, &net.OpError{Op: "listen", Net: network, Addr: netAddr(proto, a), Err: err}
	}
	return a, nil
}

// bindAddress is where a listener of the given network binds for a parsed
// address, and whether it keeps to IPv6. As in package net, a wildcard of either
// family stands for both, unless the network names one.
func bindAddress(network string, a netip.AddrPort) (local netip.AddrPort, v6only bool) {
	ip := a.Addr()
	wildcard := !ip.IsValid() || ip.IsUnspecified()
	switch network[len(network)-1] {
	case '4':
		if wildcard {
			ip = netip.IPv4Unspecified()
		}
	case '6':
		if wildcard {
			ip = netip.IPv6Unspecified()
		}
		v6only = true
	default:
		if wildcard {
			ip = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(ip, a.Port()), v6only
}

// unmap gives an address of a dual-stack socket its plain form. All addresses
// that leave this package are plain.
func unmap(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4In6() {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return a
}

// tcpAddr returns a as a net.TCPAddr, in one allocation.
func tcpAddr(a netip.AddrPort) *net.TCPAddr {
	t := &struct {
		net.TCPAddr
		ip [16]byte
	}{}
	t.IP = appendIP(t.ip[:0], a.Addr())
	t.Port = int(a.Port())
	t.Zone = a.Addr().Zone()
	return &t.TCPAddr
}

// udpAddr returns a as a net.UDPAddr, in one allocation.
func udpAddr(a netip.AddrPort) *net.UDPAddr {
	u := &struct {
		net.UDPAddr
		ip [16]byte
	}{}
	u.IP = appendIP(u.ip[:0], a.Addr())
	u.Port = int(a.Port())
	u.Zone = a.Addr().Zone()
	return &u.UDPAddr
}

// appendIP appends the 4 or 16 bytes of ip to b; nothing for the zero Addr, for
// which the result is nil.
func appendIP(b []byte, ip netip.Addr) net.IP {
	switch {
	case ip.Is4():
		a := ip.As4()
		return append(b, a[:]...)
	case ip.IsValid():
		a := ip.As16()
		return append(b, a[:]...)
	}
	return nil
}

// netAddr returns a as the address type of proto, for an error.
func netAddr(proto string, a netip.AddrPort) net.Addr {
	if proto == "udp" {
		return udpAddr(a)
	}
	return tcpAddr(a)
}
