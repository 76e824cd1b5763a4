// Package netlab makes small networks out of Linux network namespaces and veth
// pairs, by netlink and without the ip command, for tests and demonstrations.
//
// A [Lab] owns [Host]s, each a named network namespace, and the veth pairs
// between them. Everything a lab makes is named after the process that made it
// ("sn-<pid>-<lab>-<host>" under /run/netns, so that "ip netns exec" finds it)
// and is removed by [Lab.Close]. What a killed process left behind is removed by
// the next [New].
//
//	lab, err := netlab.New()
//	if err != nil {
//		return err
//	}
//	defer lab.Close()
//	a, err := lab.AddHost("a")
//	...
//	b, err := lab.AddHost("b")
//	...
//	va, vb, err := lab.Connect(
//		netlab.End{Host: a, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")}},
//		netlab.End{Host: b, Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")}},
//		netlab.LinkConfig{Queues: 2})
//	...
//	ln, err := b.Listen("tcp", "198.18.0.2:7") // an ordinary kernel socket in b
//
// In a test, [Test] and [Pair] do the same, skip without root, and clean up.
//
// It does not touch any interface outside the namespaces it made. It needs
// CAP_SYS_ADMIN and CAP_NET_ADMIN. On systems other than Linux the package is
// empty.
package netlab
