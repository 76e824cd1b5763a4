package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/memnic"
)

// tableShard is a shard with two addresses of each family.
func tableShard(t testing.TB) *Shard {
	t.Helper()
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	st, err := New(a, &Config{Addresses: []netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.1.2/24"),
		netip.MustParsePrefix("2001:db8::2/64"), netip.MustParsePrefix("2001:db8:1::2/64"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close(); b.Close() })
	return st.Shard(0)
}

// udpPacket is a datagram as far as the table looks at it.
func udpPacket(src, dst netip.AddrPort) *packet {
	p := &packet{proto: protoUDP, src: src.Addr().AsSlice(), dst: dst.Addr().AsSlice(), srcPort: src.Port(), dstPort: dst.Port()}
	p.etherType = etherTypeIPv6
	if dst.Addr().Is4() {
		p.etherType = etherTypeIPv4
	}
	return p
}

// netstackFinds is the endpoint that netstack's demultiplexer chooses for p.
func (sh *Shard) netstackFinds(p *packet) stack.TransportEndpoint {
	return sh.ns.FindTransportEndpoint(tcpip.NetworkProtocolNumber(p.etherType), header.UDPProtocolNumber, stack.TransportEndpointID{
		LocalPort: p.dstPort, LocalAddress: tcpip.AddrFromSlice(p.dst),
		RemotePort: p.srcPort, RemoteAddress: tcpip.AddrFromSlice(p.src),
	}, nicID)
}

// binds are all kinds of sockets on one port.
var binds = []struct {
	name          string
	local, remote string
	opt           SocketOptions
}{
	{"any", "[::]:7", "", SocketOptions{}},
	{"any, zero address", "", "", SocketOptions{}},
	{"any IPv6 only", "[::]:7", "", SocketOptions{V6Only: true}},
	{"any IPv4", "0.0.0.0:7", "", SocketOptions{}},
	{"any IPv4, mapped", "[::ffff:0.0.0.0]:7", "", SocketOptions{}},
	{"IPv4", "198.18.0.2:7", "", SocketOptions{}},
	{"IPv4, mapped", "[::ffff:198.18.0.2]:7", "", SocketOptions{}},
	{"other IPv4", "198.18.1.2:7", "", SocketOptions{}},
	{"IPv6", "[2001:db8::2]:7", "", SocketOptions{}},
	{"connected IPv4", "198.18.0.2:7", "198.18.0.9:1000", SocketOptions{}},
	{"connected IPv4 to another port", "198.18.0.2:7", "198.18.0.9:1001", SocketOptions{}},
	{"connected IPv4, mapped", "0.0.0.0:7", "[::ffff:198.18.0.9]:1002", SocketOptions{}},
	{"connected IPv6", "[2001:db8::2]:7", "[2001:db8::9]:1000", SocketOptions{}},
	{"connected from any", "[::]:7", "[2001:db8:1::9]:1000", SocketOptions{}},
	{"other port", "[::]:8", "", SocketOptions{}},
}

func (sh *Shard) bind(i int, reuse bool) (*udpFlow, error) {
	b := binds[i]
	opt := b.opt
	opt.ReusePort = reuse
	local := netip.AddrPortFrom(netip.Addr{}, 7)
	if b.local != "" {
		local = netip.MustParseAddrPort(b.local)
	}
	var f PacketFlow
	var err error
	if b.remote != "" {
		f, err = sh.DialUDP(local, netip.MustParseAddrPort(b.remote), opt)
	} else {
		f, err = sh.ListenUDP(local, opt)
	}
	if err != nil {
		return nil, err
	}
	return f.(*udpFlow), nil
}

// checkTable compares the table with netstack for datagrams of every kind.
func checkTable(t *testing.T, sh *Shard, open string) {
	t.Helper()
	v4 := []string{"198.18.0.2", "198.18.1.2"}
	v6 := []string{"2001:db8::2", "2001:db8:1::2"}
	peers4 := []string{"198.18.0.9:1000", "198.18.0.9:1001", "198.18.0.9:1002", "198.18.0.8:1000"}
	peers6 := []string{"[2001:db8::9]:1000", "[2001:db8:1::9]:1000", "[2001:db8::9]:1001"}
	try := func(locals, peers []string) {
		for _, l := range locals {
			for _, peer := range peers {
				for port := range uint16(3) {
					p := udpPacket(netip.MustParseAddrPort(peer), netip.AddrPortFrom(netip.MustParseAddr(l), 6+port))
					got, want := sh.udp.find(p), sh.netstackFinds(p)
					switch {
					case got == nil && want != nil && !sh.sharedPort(p):
						t.Errorf("%s: no socket found for %s to %s:%d, netstack has one", open, peer, l, p.dstPort)
					case got != nil && (want == nil || want.(tcpip.Endpoint) != got.ep):
						t.Errorf("%s: another socket than netstack's found for %s to %s:%d (bound to %v, peer %v)", open, peer, l, p.dstPort, got.local, got.remote)
					}
				}
			}
		}
	}
	try(v4, peers4)
	try(v6, peers6)
}

// sharedPort reports whether several sockets are equally right for p.
func (sh *Shard) sharedPort(p *packet) bool {
	best, n := -1, 0
	for _, f := range *sh.udp.pages[p.dstPort>>8].Load()[p.dstPort&255].Load() {
		switch r := f.binding.match(p); {
		case r > best:
			best, n = r, 1
		case r == best && r >= 0:
			n++
		}
	}
	return n > 1
}

// One socket of each kind, and each two of them that can be open at once.
func TestUDPTableFindsWhatNetstackFinds(t *testing.T) {
	sh := tableShard(t)
	pairs := 0
	for i := range binds {
		f, err := sh.bind(i, true)
		if err != nil {
			t.Fatalf("%s: %v", binds[i].name, err)
		}
		checkTable(t, sh, binds[i].name)
		for j := range binds {
			g, err := sh.bind(j, true)
			if err != nil {
				continue
			}
			pairs++
			checkTable(t, sh, fmt.Sprintf("%s and %s", binds[i].name, binds[j].name))
			g.Close()
		}
		f.Close()
		checkTable(t, sh, "none")
	}
	if pairs < len(binds)*len(binds)/2 {
		t.Errorf("only %d pairs of sockets could be opened", pairs)
	}
}

func TestUDPTableRandom(t *testing.T) {
	sh := tableShard(t)
	rng := rand.New(rand.NewPCG(3, 3))
	var open []*udpFlow
	for range 300 {
		if len(open) > 0 && rng.IntN(5) < 2 {
			i := rng.IntN(len(open))
			open[i].Close()
			open = append(open[:i], open[i+1:]...)
		} else if f, err := sh.bind(rng.IntN(len(binds)), true); err == nil {
			open = append(open, f)
		}
		checkTable(t, sh, fmt.Sprintf("%d sockets", len(open)))
	}
}

// Sockets that share a port are netstack's to choose from.
func TestUDPTableLeavesTiesToNetstack(t *testing.T) {
	sh := tableShard(t)
	p := udpPacket(netip.MustParseAddrPort("198.18.0.9:1000"), netip.MustParseAddrPort("198.18.0.2:7"))
	f, err := sh.bind(0, true)
	if err != nil {
		t.Fatal(err)
	}
	g, err := sh.bind(0, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := sh.udp.find(p); got != nil {
		t.Error("one of two equal sockets was chosen")
	}
	connected, err := sh.bind(9, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := sh.udp.find(p); got != connected {
		t.Error("the connected socket was not chosen before two that are not")
	}
	connected.Close()
	g.Close()
	if got := sh.udp.find(p); got != f {
		t.Error("the socket that was left was not found")
	}
}
