package udp

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver/memnic"
	"shardnet/driver/wire"
	"shardnet/stack/flow"
	"shardnet/stack/internal/clock"
	"shardnet/stack/internal/counter"
	"shardnet/stack/internal/frametest"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/steer"
	"shardnet/stack/internal/txq"
)

// noLoop is a shard whose loop is the test's goroutine.
type noLoop struct{}

func (noLoop) Index() int                { return 0 }
func (noLoop) Kick()                     {}
func (noLoop) Sleeping() bool            { return false }
func (noLoop) NoteWoken()                {}
func (noLoop) Post(t flow.Task)          {}
func (noLoop) Register(loop.Closer) bool { return true }
func (noLoop) Unregister(loop.Closer)    {}

// noEngine is a TCP engine that has nothing.
type noEngine struct{ netstack.Engine }

// tableRig is the sockets of a shard with two addresses of each family, and the netstack
// they stand on.
type tableRig struct {
	t  testing.TB
	ns *netstack.Netstack
	*Sockets
	open []*Socket
	all  []*wire.Packet // of packets
}

func newTableRig(t testing.TB) *tableRig {
	t.Helper()
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	addresses := []netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.1.2/24"),
		netip.MustParsePrefix("2001:db8::2/64"), netip.MustParsePrefix("2001:db8:1::2/64"),
	}
	own := steer.NewAddresses(addresses)
	steering, err := steer.New(1, 32768, 60999, nil)
	if err != nil {
		t.Fatal(err)
	}
	info, clk := a.Info(), clock.New(func() {})
	tx := txq.New(a.Queue(0), func() {})
	counters, running := new(counter.Set), new(loop.Running)
	ns, err := netstack.New(netstack.Config{
		Shard: noLoop{}, Running: running, Clock: clk, Counters: counters, Tx: tx,
		Steering: steering, Own: own, Addresses: addresses, MAC: [6]byte(info.MAC), MTU: info.MTU,
		Logger: slog.New(slog.DiscardHandler), Engine: noEngine{},
	})
	t.Cleanup(func() { tx.Close(); ns.Close(); a.Close(); b.Close() })
	if err != nil {
		t.Fatal(err)
	}
	return &tableRig{t: t, ns: ns, Sockets: New(Config{
		Shard: noLoop{}, Running: running, Clock: clk, Counters: counters, Tx: tx,
		Netstack: ns, Own: own, MAC: [6]byte(info.MAC), MTU: info.MTU,
	})}
}

// udpPacket is a datagram that Parse has read.
func (r *tableRig) udpPacket(src, dst netip.AddrPort) *wire.Packet {
	r.t.Helper()
	mac := r.cfg.MAC
	e := &layers.Ethernet{SrcMAC: frametest.SrcMAC, DstMAC: mac[:], EthernetType: layers.EthernetTypeIPv6}
	udp := &layers.UDP{SrcPort: layers.UDPPort(src.Port()), DstPort: layers.UDPPort(dst.Port())}
	var ip gopacket.SerializableLayer = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: net.IP(src.Addr().AsSlice()), DstIP: net.IP(dst.Addr().AsSlice())}
	if dst.Addr().Is4() {
		e.EthernetType = layers.EthernetTypeIPv4
		ip = &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP(src.Addr().AsSlice()), DstIP: net.IP(dst.Addr().AsSlice())}
	}
	p := new(wire.Packet)
	if !p.Parse(frametest.Serialize(r.t, e, ip, udp, gopacket.Payload("to whom?"))) || !r.cfg.Own.FastPathEligible(p) {
		r.t.Fatalf("a datagram from %v to %v is not eligible for the fast path", src, dst)
	}
	return p
}

// netstackFinds is the socket whose endpoint netstack's demultiplexer chooses for p.
func (r *tableRig) netstackFinds(p *wire.Packet) (found *Socket) {
	r.t.Helper()
	r.ns.Input(p, true)
	var buf [100]byte
	for _, s := range r.open {
		if n, from, _, err := s.ep.Read(buf[:]); err != flow.ErrWouldBlock {
			if err != nil || string(buf[:n]) != "to whom?" || from != p.Source() {
				r.t.Fatalf("read %q from %v, %v", buf[:n], from, err)
			}
			if found != nil {
				r.t.Fatalf("netstack gave one datagram to two sockets")
			}
			found = s
		}
	}
	return found
}

// binds are all kinds of sockets on one port.
var binds = []struct {
	name          string
	local, remote string
	opt           flow.SocketOptions
}{
	{"any", "[::]:7", "", flow.SocketOptions{}},
	{"any, zero address", "", "", flow.SocketOptions{}},
	{"any IPv6 only", "[::]:7", "", flow.SocketOptions{V6Only: true}},
	{"any IPv4", "0.0.0.0:7", "", flow.SocketOptions{}},
	{"any IPv4, mapped", "[::ffff:0.0.0.0]:7", "", flow.SocketOptions{}},
	{"IPv4", "198.18.0.2:7", "", flow.SocketOptions{}},
	{"IPv4, mapped", "[::ffff:198.18.0.2]:7", "", flow.SocketOptions{}},
	{"other IPv4", "198.18.1.2:7", "", flow.SocketOptions{}},
	{"IPv6", "[2001:db8::2]:7", "", flow.SocketOptions{}},
	{"connected IPv4", "198.18.0.2:7", "198.18.0.9:1000", flow.SocketOptions{}},
	{"connected IPv4 to another port", "198.18.0.2:7", "198.18.0.9:1001", flow.SocketOptions{}},
	{"connected IPv4, mapped", "0.0.0.0:7", "[::ffff:198.18.0.9]:1002", flow.SocketOptions{}},
	{"connected IPv6", "[2001:db8::2]:7", "[2001:db8::9]:1000", flow.SocketOptions{}},
	{"connected from any", "[::]:7", "[2001:db8:1::9]:1000", flow.SocketOptions{}},
	{"other port", "[::]:8", "", flow.SocketOptions{}},
}

func (r *tableRig) bind(i int, reuse bool) (s *Socket, err error) {
	b := binds[i]
	opt := b.opt
	opt.ReusePort = reuse
	local := netip.AddrPortFrom(netip.Addr{}, 7)
	if b.local != "" {
		local = netip.MustParseAddrPort(b.local)
	}
	if b.remote != "" {
		s, err = r.Dial(local, netip.MustParseAddrPort(b.remote), opt)
	} else {
		s, err = r.Listen(local, opt)
	}
	if err == nil {
		r.open = append(r.open, s)
	}
	return s, err
}

// close closes a socket that bind opened.
func (r *tableRig) close(s *Socket) {
	s.Close()
	r.open = slices.DeleteFunc(r.open, func(o *Socket) bool { return o == s })
}

// checkTable compares the table with netstack for datagrams of every kind.
func (r *tableRig) checkTable(open string) {
	r.t.Helper()
	for _, p := range r.packets() {
		got, want := r.table.find(p), r.netstackFinds(p)
		switch {
		case got == nil && want != nil && !r.sharedPort(p):
			r.t.Errorf("%s: no socket found for %v to %v, netstack has one", open, p.Source(), p.Destination())
		case got != nil && want != got:
			r.t.Errorf("%s: another socket than netstack's found for %v to %v (bound to %v, peer %v)", open, p.Source(), p.Destination(), got.local, got.remote)
		}
	}
}

// packets are datagrams of every kind. They are made once.
func (r *tableRig) packets() []*wire.Packet {
	r.t.Helper()
	if r.all != nil {
		return r.all
	}
	try := func(locals, peers []string) {
		for _, l := range locals {
			for _, peer := range peers {
				for port := range uint16(3) {
					r.all = append(r.all, r.udpPacket(netip.MustParseAddrPort(peer), netip.AddrPortFrom(netip.MustParseAddr(l), 6+port)))
				}
			}
		}
	}
	try([]string{"198.18.0.2", "198.18.1.2"}, []string{"198.18.0.9:1000", "198.18.0.9:1001", "198.18.0.9:1002", "198.18.0.8:1000"})
	try([]string{"2001:db8::2", "2001:db8:1::2"}, []string{"[2001:db8::9]:1000", "[2001:db8:1::9]:1000", "[2001:db8::9]:1001"})
	return r.all
}

// sharedPort reports whether several sockets are equally right for p.
func (r *tableRig) sharedPort(p *wire.Packet) bool {
	best, n := -1, 0
	for _, s := range *r.table.pages[p.DstPort>>8].Load()[p.DstPort&255].Load() {
		switch rank := s.binding.match(p); {
		case rank > best:
			best, n = rank, 1
		case rank == best && rank >= 0:
			n++
		}
	}
	return n > 1
}

// One socket of each kind, and each two of them that can be open at once.
func TestUDPTableFindsWhatNetstackFinds(t *testing.T) {
	r := newTableRig(t)
	pairs := 0
	for i := range binds {
		f, err := r.bind(i, true)
		if err != nil {
			t.Fatalf("%s: %v", binds[i].name, err)
		}
		r.checkTable(binds[i].name)
		for j := range binds {
			g, err := r.bind(j, true)
			if err != nil {
				continue
			}
			pairs++
			r.checkTable(fmt.Sprintf("%s and %s", binds[i].name, binds[j].name))
			r.close(g)
		}
		r.close(f)
		r.checkTable("none")
	}
	if pairs < len(binds)*len(binds)/2 {
		t.Errorf("only %d pairs of sockets could be opened", pairs)
	}
}

func TestUDPTableRandom(t *testing.T) {
	r := newTableRig(t)
	rng := rand.New(rand.NewPCG(3, 3))
	for range 300 {
		if len(r.open) > 0 && rng.IntN(5) < 2 {
			r.close(r.open[rng.IntN(len(r.open))])
		} else {
			r.bind(rng.IntN(len(binds)), true)
		}
		r.checkTable(fmt.Sprintf("%d sockets", len(r.open)))
	}
}

// Sockets that share a port are netstack's to choose from.
func TestUDPTableLeavesTiesToNetstack(t *testing.T) {
	r := newTableRig(t)
	p := r.udpPacket(netip.MustParseAddrPort("198.18.0.9:1000"), netip.MustParseAddrPort("198.18.0.2:7"))
	f, err := r.bind(0, true)
	if err != nil {
		t.Fatal(err)
	}
	g, err := r.bind(0, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.table.find(p); got != nil {
		t.Error("one of two equal sockets was chosen")
	}
	connected, err := r.bind(9, true)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.table.find(p); got != connected {
		t.Error("the connected socket was not chosen before two that are not")
	}
	r.close(connected)
	r.close(g)
	if got := r.table.find(p); got != f {
		t.Error("the socket that was left was not found")
	}
}
