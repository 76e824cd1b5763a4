package bench

import "net/netip"

// Addresses of both ends, of the networks for benchmarks (RFC 2544) and for
// documentation (RFC 3849). Our stack's are beside those of the kernel's server,
// on the same interface.
var (
	stackAddr4  = netip.MustParsePrefix("198.18.0.2/15")
	stackAddr6  = netip.MustParsePrefix("2001:db8::2/64")
	kernelAddr4 = netip.MustParsePrefix("198.18.0.3/15")
	kernelAddr6 = netip.MustParsePrefix("2001:db8::3/64")
	clientAddr4 = netip.MustParsePrefix("198.18.0.4/15") // of kernel sockets where the generator is
	clientAddr6 = netip.MustParsePrefix("2001:db8::4/64")
	source4     = netip.MustParseAddr("198.19.0.1") // and those after it
	source6     = netip.MustParseAddr("2001:db8::1:1")
)

// numSources is how many addresses the generator has: enough to hold millions of
// connections to one port, and to leave ports long unused when connections are
// short.
const numSources = 64

// sources are the generator's addresses.
func sources(ipv6 bool) []netip.Addr {
	a := source4
	if ipv6 {
		a = source6
	}
	all := make([]netip.Addr, numSources)
	for i := range all {
		all[i] = a
		a = a.Next()
	}
	return all
}

// serverAddr is where a kind of server is found.
func serverAddr(ours, ipv6 bool) netip.Prefix {
	switch {
	case ours && ipv6:
		return stackAddr6
	case ours:
		return stackAddr4
	case ipv6:
		return kernelAddr6
	}
	return kernelAddr4
}
