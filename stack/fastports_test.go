package stack_test

import (
	"fmt"
	"net/netip"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
	"syscall"
	"testing"
)

// otherThan is the TCP that tr is not.
func otherThan(tr flow.Transport) flow.Transport {
	if tr == flow.TransportFast {
		return flow.TransportNetstack
	}
	return flow.TransportFast
}

// A port that one TCP listens on is taken for the other, where their addresses
// overlap, and free for both once it is closed.
func TestPortsAreSharedByTheTCPs(t *testing.T) {
	server, _ := pair(t, 1, 1)
	sh := server.Shard(0)
	any6, any4 := netip.IPv6Unspecified(), netip.IPv4Unspecified()
	for _, c := range []struct {
		name         string
		first, other netip.Addr
		v6Only       bool // of the first
		taken        bool
	}{
		{"the same address", serverAddr4, serverAddr4, false, true},
		{"the same IPv6 address", serverAddr6, serverAddr6, false, true},
		{"all, and one", any6, serverAddr4, false, true},
		{"one, and all", serverAddr4, any6, false, true},
		{"all of IPv4, and one", any4, serverAddr4, false, true},
		{"all, and all of IPv4", any6, any4, false, true},
		{"all of IPv4, and one of IPv6", any4, serverAddr6, false, false},
		{"all of IPv6, and all of IPv4", any6, any4, true, false},
		{"one of each", serverAddr4, serverAddr6, false, false},
	} {
		for _, tr := range transports {
			t.Run(fmt.Sprintf("%s/%v", c.name, tr), func(t *testing.T) {
				l, err := sh.ListenTCP(netip.AddrPortFrom(c.first, 80), flow.SocketOptions{Transport: tr, V6Only: c.v6Only})
				if err != nil {
					t.Fatal(err)
				}
				for _, second := range transports {
					m, err := sh.ListenTCP(netip.AddrPortFrom(c.other, 80), flow.SocketOptions{Transport: second})
					switch {
					case c.taken && err != syscall.EADDRINUSE:
						t.Errorf("%v beside %v: %v, want EADDRINUSE", second, tr, err)
					case !c.taken && err != nil:
						t.Errorf("%v beside %v: %v", second, tr, err)
					}
					if err == nil {
						m.Close()
					}
				}
				l.Close()
				for _, tr := range transports {
					m, err := sh.ListenTCP(netip.AddrPortFrom(c.other, 80), flow.SocketOptions{Transport: tr})
					if err != nil {
						t.Fatalf("%v on a port given back: %v", tr, err)
					}
					m.Close()
				}
			})
		}
	}
}

// Listeners that share a port are all of one TCP.
func TestReusePortGroups(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		server, client := pair(t, 1, 1)
		sh := server.Shard(0)
		at := netip.AddrPortFrom(serverAddr4, 80)
		shared := flow.SocketOptions{Transport: tr, ReusePort: true}
		var ls []flow.Listener
		for range 3 {
			l, err := sh.ListenTCP(at, shared)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			ls = append(ls, l)
		}
		if _, err := sh.ListenTCP(at, flow.SocketOptions{Transport: tr}); err != syscall.EADDRINUSE {
			t.Errorf("a listener that does not share: %v", err)
		}
		if _, err := sh.ListenTCP(at, flow.SocketOptions{Transport: otherThan(tr), ReusePort: true}); err != syscall.EADDRINUSE {
			t.Errorf("one of the other TCP: %v", err)
		}
		// Each has its share of the connections, and what one had goes to the others
		// when it is closed.
		for left := len(ls); left > 0; left-- {
			const conns = 60
			got := make([]int, left)
			for range conns {
				c, err := dial(client.Shard(0), at)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
			}
			testutil.Eventually(t, "all are accepted", func() bool {
				sum := 0
				for i, l := range ls[:left] {
					for {
						f, err := l.Accept()
						if err != nil {
							break
						}
						got[i]++
						f.Abort() // netstack's connections hold the port for a minute
					}
					sum += got[i]
				}
				return sum == conns
			})
			for i, n := range got {
				if n < conns/left/4 {
					t.Errorf("listener %d of %d got %d of %d connections", i, left, n, conns)
				}
			}
			if err := ls[left-1].Close(); err != nil {
				t.Error(err)
			}
		}
		testutil.Eventually(t, "the port is free", func() bool {
			l, err := sh.ListenTCP(at, flow.SocketOptions{Transport: otherThan(tr)})
			if err == nil {
				l.Close()
			}
			return err == nil
		})
	})
}

// A local port that a connection was dialed from by one TCP is taken for listeners
// and connections of both, until it is given up; ephemeral ones are never given to two
// connections to the same peer.
func TestDialedPortsAreSharedByTheTCPs(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		_, client := pair(t, 1, 1)
		sh := client.Shard(0)
		from, nobody := netip.AddrPortFrom(clientAddr4, 5000), netip.MustParseAddrPort("198.18.0.77:7")
		f, err := sh.DialTCP(from, nobody, flow.SocketOptions{Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		for _, second := range transports {
			if _, err := sh.ListenTCP(from, flow.SocketOptions{Transport: second}); err != syscall.EADDRINUSE {
				t.Errorf("%v listens: %v", second, err)
			}
			if _, err := sh.DialTCP(from, nobody, flow.SocketOptions{Transport: second}); err != syscall.EADDRINUSE {
				t.Errorf("%v dials: %v", second, err)
			}
		}
		f.Abort()
		testutil.Eventually(t, "the port is free", func() bool {
			l, err := sh.ListenTCP(from, flow.SocketOptions{Transport: otherThan(tr)})
			if err == nil {
				l.Close()
			}
			return err == nil
		})
		used := make(map[uint16]flow.Transport)
		for i := range 200 {
			tr := transports[i%2]
			f, err := sh.DialTCP(netip.AddrPort{}, nobody, flow.SocketOptions{Transport: tr})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Abort()
			port := f.LocalAddr().Port()
			if by, taken := used[port]; taken {
				t.Errorf("port %d is that of a connection by %v and of one by %v", port, by, tr)
			}
			used[port] = tr
		}
	})
}
