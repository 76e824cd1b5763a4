package stack_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/stack/internal/frametest"
	"shardnet/test/testutil"
)

func heapMiB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// handshake opens a connection to port by hand and returns when SYN-ACK came.
func (p *rawPeer) handshake(srcPort uint16, port uint16) {
	p.t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
	p.send(frameOf(p.t, p.eth(layers.EthernetTypeIPv4), ip,
		&layers.TCP{SrcPort: layers.TCPPort(srcPort), DstPort: layers.TCPPort(port), Seq: 1000, SYN: true, Window: 65535}))
	p.await("SYN-ACK", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && r.SYN && r.ACK && r.DstPort == layers.TCPPort(srcPort) && r.Ack == 1001
	})
}

func floodSize(t testing.TB) int {
	if testing.Short() || testutil.RaceEnabled {
		return 50_000
	}
	return 1_000_000
}

// A million SYNs from random sources leave memory bounded and the service up.
func TestSYNFlood(t *testing.T) { onTransports(t, testSYNFlood) }

func testSYNFlood(t *testing.T, tr flow.Transport) {
	st, p := rawServerOn(t, tr, 2)
	e := startEcho(t, st, 7)
	p.ping(1)
	before := heapMiB()
	syn := frameOf(t, p.eth(layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: net.IP{198, 19, 0, 1}, DstIP: serverAddr4.AsSlice()},
		&layers.TCP{SrcPort: 1, DstPort: 7, Seq: 1, SYN: true, Window: 65535})
	rng := rand.New(rand.NewPCG(1, 1))
	n := floodSize(t)
	for i := range n {
		// Another source address, port and sequence number, with both checksums
		// updated as RFC 1624 has it.
		setWord(syn, 28, uint16(rng.Uint32()), 24, 50) // low half of the source address
		setWord(syn, 34, uint16(rng.Uint32())|1, 50)   // source port
		setWord(syn, 40, uint16(rng.Uint32()), 50)     // sequence number
		p.send(syn)
		p.pace(st, i)
	}
	p.ping(2)
	p.handshake(40001, 7)
	p.pace(st, 0)
	if s := st.Stats(); s.Drops[drop.BadChecksum]+s.Drops[drop.Malformed]+s.Queue.RxDropped > 0 || s.RxPackets < uint64(n) {
		t.Errorf("the flood did not reach the listener: %+v", s)
	}
	if grown := heapMiB() - before; grown > 150 {
		t.Errorf("heap grew by %.0f MiB in a flood of %d SYNs", grown, n)
	}
	for shard, n := range e.counts() {
		if n > 0 {
			t.Errorf("shard %d accepted %d connections nobody made", shard, n)
		}
	}
}

// setWord changes the 16-bit word at off, and every checksum at sums with it.
func setWord(b []byte, off int, v uint16, sums ...int) {
	old := binary.BigEndian.Uint16(b[off:])
	binary.BigEndian.PutUint16(b[off:], v)
	for _, s := range sums {
		sum := uint32(^binary.BigEndian.Uint16(b[s:])) + uint32(^old) + uint32(v)
		sum = sum>>16 + sum&0xffff
		sum += sum >> 16
		binary.BigEndian.PutUint16(b[s:], ^uint16(sum))
	}
}

// A million fragments of datagrams that never become whole leave memory bounded
// and the service up.
func TestFragmentFlood(t *testing.T) {
	st, p := rawServer(t, 2)
	p.ping(1)
	before := heapMiB()
	frag := frameOf(t, p.eth(layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, Flags: layers.IPv4MoreFragments, SrcIP: net.IP{198, 19, 0, 1}, DstIP: serverAddr4.AsSlice()},
		gopacket.Payload(make([]byte, 1024)))
	rng := rand.New(rand.NewPCG(2, 2))
	n := floodSize(t)
	for i := range n {
		setWord(frag, 18, uint16(i), 24)                              // identification
		setWord(frag, 28, uint16(rng.Uint32()), 24)                   // source
		setWord(frag, 20, 0x2000|uint16(rng.Uint32N(8000))&^0x7f, 24) // offset, more fragments
		p.send(frag)
		p.pace(st, i)
	}
	p.ping(2)
	p.pace(st, 0)
	if s := st.Stats(); s.RxPackets < uint64(n) || s.Drops[drop.Malformed]+s.Drops[drop.BadChecksum]+s.Drops[drop.HandoverFull]+s.Queue.RxDropped > 0 {
		t.Errorf("the flood did not reach reassembly: %+v", s)
	}
	if grown := heapMiB() - before; grown > 100 {
		t.Errorf("heap grew by %.0f MiB in a flood of %d fragments", grown, n)
	}
}

// Stray segments of no connection are each refused, and cost nothing more.
func TestStraySegments(t *testing.T) { onTransports(t, testStraySegments) }

func testStraySegments(t *testing.T, tr flow.Transport) {
	st, p := rawServerOn(t, tr, 4)
	startEcho(t, st, 7)
	p.ping(1)
	for i := range 2000 {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
		p.send(frameOf(t, p.eth(layers.EthernetTypeIPv4), ip,
			&layers.TCP{SrcPort: layers.TCPPort(1024 + i), DstPort: 7, Seq: uint32(i), Ack: 77, ACK: true, Window: 100}, gopacket.Payload("stray")))
		p.pace(st, i)
	}
	p.await("RST", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && r.RST && r.Seq == 77
	})
	p.ping(2)
	if s := st.Stats(); s.WrongShard != 0 || s.Established != 0 {
		t.Errorf("stray segments were taken for a connection's: %+v", s)
	}
}

// A connection whose packets change queue in mid-life goes on: they are found,
// counted and handed over.
func TestConnectionThatChangesQueueGoesOn(t *testing.T) {
	onTransports(t, testConnectionThatChangesQueueGoesOn)
}

func testConnectionThatChangesQueueGoesOn(t *testing.T, tr flow.Transport) {
	a, b := newBareCable(t, 2, 1)
	st := startStack(t, a, serverConfigOn(tr))
	p := newRawPeer(t, b, a.Info().MAC)
	startEcho(t, st, 7)
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
	send := func(tcp *layers.TCP, payload string) {
		tcp.SrcPort, tcp.DstPort, tcp.Window = 40000, 7, 65535
		p.send(frameOf(t, p.eth(layers.EthernetTypeIPv4), ip, tcp, gopacket.Payload(payload)))
	}
	send(&layers.TCP{SYN: true, Seq: 999}, "")
	synack := p.await("SYN-ACK", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && r.SYN && r.ACK
	}).Layer(layers.LayerTypeTCP).(*layers.TCP)
	send(&layers.TCP{ACK: true, Seq: 1000, Ack: synack.Seq + 1}, "one ")
	p.await("first echo", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && string(r.Payload) == "one "
	})
	// The NIC changes its mind: all that came to one queue comes to the other.
	table := a.Info().RSS.Table
	reversed := make([]uint16, len(table))
	for i, q := range table {
		reversed[i] = 1 - q
	}
	if err := a.SetIndirection(reversed); err != nil {
		t.Fatal(err)
	}
	send(&layers.TCP{ACK: true, PSH: true, Seq: 1004, Ack: synack.Seq + 5}, "two ")
	p.await("second echo", func(pkt gopacket.Packet) bool {
		r, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && string(r.Payload) == "two "
	})
	send(&layers.TCP{RST: true, Seq: 1008}, "")
	if s := st.Stats(); s.WrongShard == 0 || s.HandedIn == 0 {
		t.Errorf("the connection moved and nothing was handed over: %+v", s)
	}
}

// FuzzFrames feeds raw frames to a stack of two shards, which serves port 7 by
// netstack's TCP and port 8 by its own. Whatever they are, the stack goes on
// answering, and Close finds every frame.
func FuzzFrames(f *testing.F) {
	seed := func(ls ...gopacket.SerializableLayer) { f.Add(frameOf(f, ls...)) }
	eth4 := &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, DstMAC: net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EthernetType: layers.EthernetTypeIPv4}
	eth6 := *eth4
	eth6.EthernetType = layers.EthernetTypeIPv6
	ip := func(proto layers.IPProtocol) *layers.IPv4 {
		return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
	}
	ip6 := func(proto layers.IPProtocol) *layers.IPv6 {
		return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: proto, SrcIP: clientAddr6.AsSlice(), DstIP: serverAddr6.AsSlice()}
	}
	for _, port := range []layers.TCPPort{7, 8} {
		seed(eth4, ip(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: port, SYN: true, Window: 100,
			Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}})
		seed(eth4, ip(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: port, ACK: true, Seq: 5, Window: 100}, gopacket.Payload("data"))
		fragment := ip(layers.IPProtocolTCP)
		fragment.Flags = layers.IPv4MoreFragments
		seed(eth4, fragment, gopacket.Payload([]byte{0, 1, 0, byte(port), 0, 0, 0, 1}))
	}
	seed(eth4, ip(layers.IPProtocolTCP), &layers.TCP{SrcPort: 1, DstPort: 40000, RST: true, Window: 100})
	seed(eth4, ip(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: 7}, gopacket.Payload("data"))
	seed(eth4, ip(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}, gopacket.Payload("quoted packet, or so it says........"))
	seed(&eth6, ip6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1, DstPort: 7}, gopacket.Payload("data"))
	seed(&eth6, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}, gopacket.Payload(append(make([]byte, 4), serverAddr6.AsSlice()...)))
	seed(&eth6, ip6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(134, 0)}, gopacket.Payload(make([]byte, 40)))
	seed(&eth6, ip6(layers.IPProtocolIPv6Fragment), gopacket.Payload([]byte{17, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8}))
	st, p := rawServer(f, 2)
	startEcho(f, st, 7)
	startEchoOn(f, st, flow.TransportFast, 8)
	for i := range 2 {
		if _, err := st.Shard(i).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{}); err != nil {
			f.Fatal(err)
		}
	}
	seq := uint16(0)
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) == 0 || len(frame) > p.dev.Info().MTU+14 {
			return
		}
		p.t = t
		// As it is, and with the checksums that would get it further.
		p.send(frame)
		p.send(mended(frame, p.to))
		seq++
		p.ping(seq)
	})
}

// mended is frame addressed to to, with its checksums right where they can be.
func mended(frame []byte, to net.HardwareAddr) []byte {
	b := append([]byte(nil), frame...)
	copy(b, to)
	frametest.FixChecksums(b)
	return b
}
