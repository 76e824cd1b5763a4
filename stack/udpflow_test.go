package stack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// listen opens a socket for port 9 on every address.
func (r *datagramRig) listen() flow.PacketFlow {
	r.t.Helper()
	f, err := r.st.Shard(0).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 9), flow.SocketOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// taken waits until the stack has processed what was sent.
func (r *datagramRig) taken() { r.pace(r.st, 0); onLoop(r.st.Shard(0), func() {}) }

// Datagrams to a neighbour not known yet are kept until it is.
func TestUDPToUnknownNeighbour(t *testing.T) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			f := r.listen()
			const n = 20
			for i := range n {
				if _, err := f.WriteTo([]byte{byte(i)}, netip.AddrPortFrom(fam.src, 1000)); err != nil {
					t.Fatal(err)
				}
			}
			came := make(map[byte]bool)
			for range n {
				a := r.awaitAnswer()
				came[a.payload[0]] = true
			}
			if len(came) != n {
				t.Errorf("%d of %d datagrams came", len(came), n)
			}
			// From here on they go in the order they were written.
			for i := range 2 * n {
				f.WriteTo([]byte{byte(i)}, netip.AddrPortFrom(fam.src, 1000))
			}
			for i := range 2 * n {
				if a := r.awaitAnswer(); a.payload[0] != byte(i) {
					t.Fatalf("datagram %d came as number %d", a.payload[0], i)
				}
			}
		})
	}
}

// Writing to a neighbour that does not answer costs no memory.
func TestUDPToSilentNeighbour(t *testing.T) {
	r := newDatagramRig(t, nil)
	f := r.listen()
	payload := make([]byte, 10)
	write := func(n int) {
		for range n {
			f.WriteTo(payload, netip.MustParseAddrPort("198.18.0.99:1000")) // the raw peer is not polled
		}
	}
	write(1000)
	before := heapMiB()
	write(100_000)
	if grown := heapMiB() - before; grown > 4 {
		t.Errorf("heap grew by %.1f MiB in 100000 writes to a neighbour that is silent", grown)
	}
	if s := r.st.Stats(); s.Drops.Sent() < 90_000 {
		t.Errorf("%d of 101000 datagrams counted as dropped", s.Drops.Sent())
	}
}

// A neighbour that says that its MAC address is another gets the very next datagram
// there.
func TestUDPFollowsNeighbour(t *testing.T) {
	newMAC := net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	arp := func(op uint16, eth, target net.HardwareAddr, tpa netip.Addr) func(r *datagramRig) []byte {
		return func(r *datagramRig) []byte {
			return frameOf(r.t, &layers.Ethernet{SrcMAC: newMAC, DstMAC: eth, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
				AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
				SourceHwAddress: newMAC, SourceProtAddress: clientAddr4.AsSlice(), DstHwAddress: target, DstProtAddress: tpa.AsSlice(),
			})
		}
	}
	serverMAC := net.HardwareAddr{2, 0, 0, 0, 0, 0x0a}
	for _, c := range []struct {
		name string
		src  netip.Addr
		news func(r *datagramRig) []byte
	}{
		{"ARP announcement, a request", clientAddr4, arp(1, broadcast, make([]byte, 6), clientAddr4)},
		{"ARP announcement, a reply", clientAddr4, arp(2, broadcast, broadcast, clientAddr4)},
		{"ARP reply", clientAddr4, arp(2, serverMAC, serverMAC, serverAddr4)},
		{"ARP request for us", clientAddr4, arp(1, broadcast, make([]byte, 6), serverAddr4)},
		{"unsolicited advertisement", clientAddr6, func(r *datagramRig) []byte {
			b := r.neighbourAdvertisement(clientAddr6.AsSlice(), net.ParseIP("ff02::1"), newMAC, 0x20)
			copy(b, []byte{0x33, 0x33, 0, 0, 0, 1})
			return b
		}},
		{"solicited advertisement", clientAddr6, func(r *datagramRig) []byte {
			return r.neighbourAdvertisement(clientAddr6.AsSlice(), serverAddr6.AsSlice(), newMAC, 0x60)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			f := r.listen()
			to := netip.AddrPortFrom(c.src, 1000)
			for range 3 {
				f.WriteTo([]byte("old"), to)
				if a := r.awaitAnswer(); !bytes.Equal(a.mac, r.mac) {
					t.Fatalf("sent to %v, want %v", a.mac, r.mac)
				}
			}
			r.mac = newMAC
			r.send(c.news(r))
			r.taken()
			f.WriteTo([]byte("new"), to)
			if a := r.awaitAnswer(); !bytes.Equal(a.mac, newMAC) || string(a.payload) != "new" {
				t.Errorf("%q sent to %v, want %v", a.payload, a.mac, newMAC)
			}
		})
	}
}

// What a neighbour's news say of one must not be believed of another, nor be taken
// from a request that is none of ours.
func TestUDPKeepsNeighbour(t *testing.T) {
	r := newDatagramRig(t, nil)
	f := r.listen()
	to := netip.AddrPortFrom(clientAddr4, 1000)
	f.WriteTo([]byte("first"), to)
	r.awaitAnswer()
	mac := r.mac
	other := net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	r.mac = other // whoever asks now is told another address
	for _, a := range []struct {
		op       uint16
		spa, tpa netip.Addr
	}{{1, netip.MustParseAddr("198.18.0.50"), netip.MustParseAddr("198.18.0.50")}, {1, clientAddr4, netip.MustParseAddr("198.18.0.51")}} {
		r.send(frameOf(t, &layers.Ethernet{SrcMAC: other, DstMAC: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: a.op,
			SourceHwAddress: other, SourceProtAddress: a.spa.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: a.tpa.AsSlice(),
		}))
		r.taken()
		f.WriteTo([]byte("still"), to)
		if a := r.awaitAnswer(); !bytes.Equal(a.mac, mac) {
			t.Errorf("sent to %v, want %v", a.mac, mac)
		}
	}
}

// Beyond the subnet datagrams go to the gateway's MAC address.
func TestUDPByGateway(t *testing.T) {
	a, b := newBareCable(t, 1, 1)
	cfg := serverConfig()
	cfg.Routes = []stack.Route{stack.DefaultRoute(clientAddr4), stack.DefaultRoute(clientAddr6)}
	r := &datagramRig{st: startStack(t, a, cfg), rawPeer: newRawPeer(t, b, a.Info().MAC)}
	f := r.listen()
	for _, to := range []string{"203.0.113.1:53", "[2001:db8:9::1]:53", "203.0.113.1:53", "[2001:db8:9::1]:53"} {
		if _, err := f.WriteTo([]byte("far"), netip.MustParseAddrPort(to)); err != nil {
			t.Fatal(err)
		}
		if a := r.awaitAnswer(); a.dst.String() != to || !bytes.Equal(a.mac, r.mac) {
			t.Errorf("sent to %v at %v", a.dst, a.mac)
		}
	}
	if s := r.st.Stats(); s.UDPSent != 4 {
		t.Errorf("%d datagrams sent", s.UDPSent)
	}
}

// Destinations that only netstack knows what to do about.
func TestUDPWriteErrors(t *testing.T) {
	r := newDatagramRig(t, nil)
	r.learn(clientAddr4)
	r.learn(clientAddr6)
	sh := r.st.Shard(0)
	for _, c := range []struct {
		name, local, to string
		opt             flow.SocketOptions
		size            int
		want            []error
	}{
		{"subnet broadcast", "[::]:9", "198.18.0.255:1", flow.SocketOptions{}, 1, []error{syscall.EACCES}},
		{"limited broadcast", "[::]:9", "255.255.255.255:1", flow.SocketOptions{}, 1, []error{syscall.EACCES, syscall.ENETUNREACH}}, // there is no default route
		{"port 0", "[::]:9", "198.18.0.1:0", flow.SocketOptions{}, 1, []error{syscall.EINVAL}},
		{"no destination", "[::]:9", "", flow.SocketOptions{}, 1, []error{syscall.EDESTADDRREQ}},
		{"no route", "[::]:9", "203.0.113.1:1", flow.SocketOptions{}, 1, []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH}},
		{"too long", "[::]:9", "198.18.0.1:1", flow.SocketOptions{}, 65508, []error{syscall.EMSGSIZE}},
		{"too long for IPv6", "[::]:9", "[2001:db8::1]:1", flow.SocketOptions{}, 65528, []error{syscall.EMSGSIZE}},
		{"IPv6 from IPv4", "0.0.0.0:9", "[2001:db8::1]:1", flow.SocketOptions{}, 1, []error{syscall.EAFNOSUPPORT}},
		{"IPv4 from an IPv6 address", "[2001:db8::2]:9", "198.18.0.1:1", flow.SocketOptions{}, 1, []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EINVAL}},
		{"IPv4 from IPv6 only", "[::]:9", "198.18.0.1:1", flow.SocketOptions{V6Only: true}, 1, []error{syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.EINVAL}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := sh.ListenUDP(netip.MustParseAddrPort(c.local), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var to netip.AddrPort
			if c.to != "" {
				to = netip.MustParseAddrPort(c.to)
			}
			n, err := f.WriteTo(make([]byte, c.size), to)
			for _, want := range c.want {
				if n == 0 && errors.Is(err, want) {
					return
				}
			}
			t.Errorf("%d, %v; want %v", n, err, c.want)
		})
	}
}

// A socket that is connected gets its peer's datagrams alone; others are refused.
func TestDialUDPTakesItsPeersAlone(t *testing.T) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			r.learn(fam.src)
			remote := netip.AddrPortFrom(fam.src, 1000)
			if fam.src.Is4() {
				remote = netip.AddrPortFrom(netip.AddrFrom16(fam.src.As16()), 1000) // mapped, as package net has it
			}
			f, err := r.st.Shard(0).DialUDP(netip.AddrPortFrom(fam.dst, 7), remote, flow.SocketOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			send := func(src netip.Addr, port layers.UDPPort, payload string) {
				d := r.datagram(src, fam.dst, payload)
				d.udp.SrcPort = port
				r.send(d.frame(t))
				r.taken()
			}
			send(fam.src, 1001, "of another port")
			r.await("port unreachable", func(pkt gopacket.Packet) bool {
				return pkt.Layer(layers.LayerTypeICMPv4) != nil || pkt.Layer(layers.LayerTypeICMPv6) != nil
			})
			send(fam.src, 1000, "of the peer")
			buf := make([]byte, 100)
			n, from, err := f.ReadFrom(buf)
			if err != nil || string(buf[:n]) != "of the peer" || from != netip.AddrPortFrom(fam.src, 1000) {
				t.Errorf("read %q from %v, %v", buf[:n], from, err)
			}
			if _, _, err := f.ReadFrom(buf); err != flow.ErrWouldBlock {
				t.Errorf("read more: %v", err)
			}
			if _, err := f.WriteTo([]byte("to the peer"), netip.AddrPort{}); err != nil {
				t.Error(err)
			}
			if a := r.awaitAnswer(); a.src != netip.AddrPortFrom(fam.dst, 7) || a.dst != netip.AddrPortFrom(fam.src, 1000) {
				t.Errorf("sent from %v to %v", a.src, a.dst)
			}
			if s := r.st.Stats(); s.ToUDP != 1 {
				t.Errorf("%d datagrams bypassed netstack", s.ToUDP)
			}
		})
	}
}

// A port that is refused is told once, to Read or to Write, whichever comes first.
func TestDialUDPRefused(t *testing.T) {
	for _, fam := range families {
		for _, first := range []string{"read", "write"} {
			t.Run(fam.name+"/"+first, func(t *testing.T) {
				r := newDatagramRig(t, nil)
				r.learn(fam.src)
				f, err := r.st.Shard(0).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(fam.src, 1000), flow.SocketOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				buf := make([]byte, 100)
				for range 2 {
					before := r.st.Stats().UDPSent
					if _, err := f.WriteTo([]byte("anybody there?"), netip.AddrPort{}); err != nil {
						t.Fatal(err)
					}
					var asked []byte
					r.await("datagram", func(pkt gopacket.Packet) bool {
						if pkt.Layer(layers.LayerTypeUDP) == nil {
							return false
						}
						asked = bytes.Clone(pkt.Data())
						return true
					})
					if r.st.Stats().UDPSent != before+1 {
						t.Error("not counted as sent")
					}
					r.send(r.portUnreachable(asked))
					r.taken()
					refused := func() (err error) {
						if first == "read" {
							_, _, err = f.ReadFrom(buf)
						} else {
							_, err = f.WriteTo([]byte("hello?"), netip.AddrPort{})
						}
						return err
					}
					if err := refused(); err != syscall.ECONNREFUSED {
						t.Errorf("first %s: %v", first, err)
					}
					if _, _, err := f.ReadFrom(buf); err != flow.ErrWouldBlock {
						t.Errorf("read after that: %v", err)
					}
				}
			})
		}
	}
}

// portUnreachable is the ICMP error that refuses the datagram in frame.
func (r *datagramRig) portUnreachable(frame []byte) []byte {
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	switch ip := pkt.NetworkLayer().(type) {
	case *layers.IPv4:
		return frameOf(r.t, r.eth(layers.EthernetTypeIPv4),
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: ip.DstIP, DstIP: ip.SrcIP},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 3)}, gopacket.Payload(frame[14:]))
	case *layers.IPv6:
		return frameOf(r.t, r.eth(layers.EthernetTypeIPv6),
			&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: ip.DstIP, DstIP: ip.SrcIP},
			&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(1, 4)}, gopacket.Payload(append(make([]byte, 4), frame[14:]...)))
	}
	r.t.Fatal("no IP")
	return nil
}

// Datagrams for a socket of another shard's are handed over, and answered.
func TestDatagramsHandedOver(t *testing.T) {
	a, b := newBareCable(t, 2, 1)
	st := startStack(t, a, serverConfig())
	r := &datagramRig{st: st, rawPeer: newRawPeer(t, b, a.Info().MAC)}
	lo := uint16(32768 + (60999-32768+1)/2 + 100) // the second shard's part of the ephemeral range
	f, err := st.Shard(1).DialUDP(netip.AddrPortFrom(serverAddr4, lo), netip.AddrPortFrom(clientAddr4, 1000), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// Whatever RSS says, all comes to the first queue.
	table := make([]uint16, len(a.Info().RSS.Table))
	if err := a.SetIndirection(table); err != nil {
		t.Fatal(err)
	}
	ask := func(i int) {
		d := r.datagram(clientAddr4, serverAddr4, fmt.Sprint(i))
		d.udp.DstPort = layers.UDPPort(lo)
		r.send(d.frame(t))
	}
	const n = 50
	buf := make([]byte, 100)
	for i := range n {
		ask(i)
	}
	r.waitStats("datagrams", func(s stack.Stats) bool { return s.UDPReceived == n })
	for i := range n {
		if m, _, err := f.ReadFrom(buf); err != nil || string(buf[:m]) != fmt.Sprint(i) {
			t.Fatalf("read %q, %v in place %d", buf[:m], err, i)
		}
	}
	if err := f.HandleDatagrams(datagramFunc(echoDatagram)); err != nil {
		t.Fatal(err)
	}
	onLoop(st.Shard(1), func() {})
	for i := range n {
		ask(i)
		if a := r.awaitAnswer(); string(a.payload) != fmt.Sprint(i) || a.src != netip.AddrPortFrom(serverAddr4, lo) {
			t.Fatalf("answer %d is %q from %v", i, a.payload, a.src)
		}
	}
	if s := st.Stats(); s.HandedIn < 2*n || s.ToUDP != 2*n || s.RepliesInPlace != 0 {
		t.Errorf("stats: %+v", s)
	}
}

// logLines collects what is logged.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ io.Writer = (*logLines)(nil)

// slowHandler waits, as it must not.
type slowHandler struct{}

func (slowHandler) HandleDatagram(d *flow.Datagram) {
	time.Sleep(5 * time.Millisecond)
	d.Reply(d.Data)
}

func slowFunction() { time.Sleep(5 * time.Millisecond) }

// What keeps a shard from its queue is counted, and named in the log.
func TestStallNamesTheHandler(t *testing.T) {
	for _, c := range []struct {
		name, want string
		run        func(r *datagramRig)
	}{
		{"datagram in place", "stack_test.slowHandler", func(r *datagramRig) {
			r.handle(netip.AddrPortFrom(serverAddr4, 7), slowHandler{})
			r.send(r.datagram(clientAddr4, serverAddr4, "ask").frame(r.t))
		}},
		{"datagram of netstack's", "stack_test.slowHandler", func(r *datagramRig) {
			r.handle(netip.AddrPortFrom(netip.IPv4Unspecified(), 7), slowHandler{})
			d := r.datagram(clientAddr4, serverAddr4, "ask")
			d.ip4.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
			r.send(d.frame(r.t))
		}},
		{"timer", "stack_test.slowFunction", func(r *datagramRig) { r.st.Shard(0).AfterFunc(0, slowFunction) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newBareCable(t, 1, 1)
			var log logLines
			cfg := serverConfig()
			cfg.HandlerLimit = 4 * time.Millisecond
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			r := &datagramRig{st: startStack(t, a, cfg), rawPeer: newRawPeer(t, b, a.Info().MAC)}
			c.run(r)
			r.waitStats("stall", func(s stack.Stats) bool { return s.HandlerStalls > 0 && log.String() != "" })
			if !strings.Contains(log.String(), "handler="+"shardnet/stack_test."+strings.TrimPrefix(c.want, "stack_test.")) && !strings.Contains(log.String(), "handler="+c.want) {
				t.Errorf("log does not name %s: %s", c.want, log.String())
			}
		})
	}
}

// echoPinger sends one request and waits for its answer, without allocating.
type echoPinger struct {
	q     driver.Queue
	fs    [1]driver.Frame
	rx    [64]driver.Frame
	frame []byte
}

// ask asks n times at once and returns when as many answers came.
func (p *echoPinger) ask(n int) bool {
	for range n {
		for p.q.Alloc(p.fs[:]) == 0 {
			p.q.Flush()
		}
		p.fs[0].Data = append(p.fs[0].Data[:0], p.frame...)
		if m, err := p.q.Transmit(p.fs[:]); m != 1 || err != nil {
			return false
		}
	}
	p.q.Flush()
	for spins := 0; n > 0; spins++ {
		m, err := p.q.Receive(p.rx[:])
		if err != nil || spins > 100_000_000 {
			return false
		}
		if m == 0 {
			runtime.Gosched()
			continue
		}
		p.q.Release(p.rx[:m])
		n -= m
	}
	return true
}

// udpEchoWays are a handler in place, and a goroutine that reads and writes.
var udpEchoWays = []struct {
	name  string
	serve func(t testing.TB, r *datagramRig)
}{
	{"frame", func(t testing.TB, r *datagramRig) {
		r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(echoDatagram))
	}},
	{"queue", func(t testing.TB, r *datagramRig) {
		f, err := r.st.Shard(0).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sig := newSignal()
		f.Notify(sig.notify)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := f.ReadFrom(buf)
				if err == flow.ErrWouldBlock {
					<-sig
					continue
				}
				if err != nil {
					return
				}
				f.WriteTo(buf[:n], from)
			}
		}()
	}},
}

func newEchoPinger(t testing.TB, way int, v6 bool) *echoPinger {
	a, b := newBareCable(t, 1, 1)
	r := &datagramRig{st: startStack(t, a, serverConfig()), rawPeer: newRawPeer(t, b, a.Info().MAC)}
	fam := families[0]
	if v6 {
		fam = families[1]
	}
	r.learn(fam.src)
	udpEchoWays[way].serve(t, r)
	return &echoPinger{q: b.Queue(0), frame: r.datagram(fam.src, fam.dst, strings.Repeat("x", 64)).frame(t)}
}

// A datagram in the frame, and one by way of ReadFrom and WriteTo, cost no
// allocation in the whole process.
func TestUDPEchoAllocates(t *testing.T) {
	if testutil.RaceEnabled {
		t.Skip("the race detector allocates")
	}
	for way, w := range udpEchoWays {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("in=%s/v6=%v", w.name, v6), func(t *testing.T) {
				p := newEchoPinger(t, way, v6)
				for range 50 {
					if !p.ask(16) {
						t.Fatal("no answer")
					}
				}
				const rounds = 200
				if n := testing.AllocsPerRun(rounds, func() {
					if !p.ask(16) {
						t.Error("no answer")
					}
				}); n > 1 { // of 16 datagrams: the runtime's own, and a hop looked up each second
					t.Errorf("%v allocations for 16 datagrams", n)
				}
			})
		}
	}
}
