package stack_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// Ports of accountRig's services, on every shard.
const (
	netstackPort = 7  // TCP echo of netstack
	enginePort   = 8  // and of the TCP engine
	handlerPort  = 53 // UDP, answered by a handler
	socketPort   = 54 // UDP, that nobody reads
	smallPort    = 55 // and with a buffer of 4 KiB
)

// accountRig is a stack of several shards with services of all kinds, and a raw peer.
type accountRig struct {
	*datagramRig
	nic     *memnic.Device
	stalled atomic.Bool    // the stack's TX rings take nothing
	pinned  netip.AddrPort // of a UDP socket that is the last shard's
	fed     uint64
}

// stallDevice is a device whose TX rings are full while stalled.
type stallDevice struct {
	driver.Device
	queues []stallQueue
}

type stallQueue struct {
	driver.Queue
	stalled *atomic.Bool
}

func (d *stallDevice) Queue(i int) driver.Queue { return &d.queues[i] }

func (q *stallQueue) Transmit(fs []driver.Frame) (int, error) {
	if q.stalled.Load() {
		return 0, nil
	}
	return q.Queue.Transmit(fs)
}

func newAccountRig(t *testing.T, shards int) *accountRig {
	t.Helper()
	a, b := newBareCable(t, shards, 1)
	r := &accountRig{nic: a}
	dev := &stallDevice{Device: a}
	for i := range shards {
		dev.queues = append(dev.queues, stallQueue{a.Queue(i), &r.stalled})
	}
	st := startStack(t, dev, serverConfig())
	r.datagramRig = &datagramRig{st: st, rawPeer: newRawPeer(t, b, a.Info().MAC)}
	startEchoOn(t, st, flow.TransportNetstack, netstackPort)
	startEchoOn(t, st, flow.TransportFast, enginePort)
	r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), handlerPort), datagramFunc(echoDatagram))
	for i := range shards {
		for port, buffer := range map[uint16]int{socketPort: 0, smallPort: 4096} {
			if _, err := st.Shard(i).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), flow.SocketOptions{ReadBuffer: buffer}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.pinned = netip.AddrPortFrom(serverAddr4, 60999) // of the ephemeral ports, the last shard's last
	if _, err := st.Shard(shards-1).DialUDP(r.pinned, netip.AddrPortFrom(clientAddr4, 1000), flow.SocketOptions{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// feed sends frames of a case. What else the peer sends are its replies to ARP and NDP.
func (r *accountRig) feed(frames ...[]byte) {
	for _, f := range frames {
		r.send(f)
		r.fed++
		if r.fed%64 == 0 { // so that no RX ring overflows
			r.received()
		}
	}
}

// received waits until the stack has taken all that was sent out of its queues.
func (r *accountRig) received() {
	r.t.Helper()
	testutil.Eventually(r.t, "all frames are received", func() bool {
		return r.st.Stats().RxPackets == r.dev.Queue(0).Stats().TxPackets
	})
}

// tcp4, udp and the like make frames for the rig's services.
func (r *accountRig) tcp4(port uint16, tcp layers.TCP, payload string) []byte {
	tcp.SrcPort, tcp.DstPort, tcp.Window = cmp.Or(tcp.SrcPort, 40000), layers.TCPPort(port), 65535
	return frameOf(r.t, r.eth(layers.EthernetTypeIPv4), r.ip4(layers.IPProtocolTCP), &tcp, gopacket.Payload(payload))
}

func (r *accountRig) ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()}
}

func (r *accountRig) udp4(port uint16, payload string) []byte {
	return r.udp(clientAddr4, serverAddr4, port, payload).frame(r.t)
}

func (r *accountRig) udp6(port uint16, payload string) []byte {
	return r.udp(clientAddr6, serverAddr6, port, payload).frame(r.t)
}

func (r *accountRig) udp(src, dst netip.Addr, port uint16, payload string) *datagram {
	d := r.datagram(src, dst, payload)
	d.udp.DstPort = layers.UDPPort(port)
	return d
}

// optioned is a datagram with IPv4 options, which netstack's IP has to read.
func (r *accountRig) optioned(port uint16, payload string) []byte {
	d := r.udp(clientAddr4, serverAddr4, port, payload)
	d.ip4.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
	return d.frame(r.t)
}

// fragments is a datagram in two pieces, which meet where id says.
func (r *accountRig) fragments(port, id uint16, payload string) [][]byte {
	whole := r.udp4(port, payload)
	const cut = 34 + 24
	first, second := bytes.Clone(whole[:cut]), append(bytes.Clone(whole[:34]), whole[cut:]...)
	for i, f := range [][]byte{first, second} {
		f[16], f[17] = byte((len(f)-14)>>8), byte(len(f)-14)
		f[18], f[19] = byte(id>>8), byte(id)
		f[20], f[21] = [...]byte{0x20, 0}[i], [...]byte{0, 24 / 8}[i]
		sumHeader(f)
	}
	return [][]byte{first, second}
}

func (r *accountRig) icmp4(typ, code uint8, payload []byte) []byte {
	return frameOf(r.t, r.eth(layers.EthernetTypeIPv4), r.ip4(layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code)}, gopacket.Payload(payload))
}

func (r *accountRig) icmp6(typ uint8, dst netip.Addr, payload []byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: clientAddr6.AsSlice(), DstIP: dst.AsSlice()}
	return frameOf(r.t, r.eth(layers.EthernetTypeIPv6), ip,
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, gopacket.Payload(payload))
}

func (r *accountRig) arp(op uint16, from, to netip.Addr) []byte {
	return frameOf(r.t, r.eth(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: r.dev.Info().MAC, SourceProtAddress: from.AsSlice(), DstHwAddress: make([]byte, 6), DstProtAddress: to.AsSlice(),
	})
}

// converse opens a connection to an echo service, asks once and resets it: three frames.
func (r *accountRig) converse(port uint16) {
	r.t.Helper()
	answer := func(what string, ok func(s *layers.TCP) bool) *layers.TCP {
		return tcpOf(r.await(what, func(pkt gopacket.Packet) bool {
			s, is := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return is && s.SrcPort == layers.TCPPort(port) && ok(s)
		}))
	}
	r.feed(r.tcp4(port, layers.TCP{SYN: true, Seq: 999}, ""))
	synAck := answer("SYN-ACK", func(s *layers.TCP) bool { return s.SYN && s.ACK && s.Ack == 1000 })
	r.feed(r.tcp4(port, layers.TCP{ACK: true, PSH: true, Seq: 1000, Ack: synAck.Seq + 1}, "are you there?"))
	answer("echo", func(s *layers.TCP) bool { return string(s.Payload) == "are you there?" })
	r.feed(r.tcp4(port, layers.TCP{RST: true, Seq: 1014}, ""))
}

// block keeps shard i's loop until the function it returns is called.
func (r *accountRig) block(i int) (release func()) {
	stands, goOn := make(chan struct{}), make(chan struct{})
	r.st.Shard(i).Post(taskFunc(func() { close(stands); <-goOn }))
	<-stands
	return sync.OnceFunc(func() { close(goOn) })
}

// stall keeps the stack from sending until the function it returns is called, which waits
// until as many packets as it is told have left.
func (r *accountRig) stall() (goOn func(packets uint64)) {
	before := r.st.Stats().Queue.TxPackets
	r.stalled.Store(true)
	return func(packets uint64) {
		r.t.Helper()
		r.stalled.Store(false)
		testutil.Eventually(r.t, fmt.Sprintf("%d packets leave", packets), func() bool {
			r.poll()
			return r.st.Stats().Queue.TxPackets >= before+packets
		})
	}
}

// account is what a case makes of the counters, all shards together.
type account struct {
	engine, udp, netstack, copies uint64
	every                         uint64 // packets for every shard
	drops                         drop.Counts
}

// shards are the counters of each shard, as far as they are about packets.
func (r *accountRig) shards() (all []stack.Stats) {
	for i := range r.st.Shards() {
		s := r.st.Shard(i).Stats()
		all = append(all, stack.Stats{
			Queue:     driver.Stats{RxDropped: s.Queue.RxDropped, RxErrors: s.Queue.RxErrors},
			RxPackets: s.RxPackets, Drops: s.Drops, ToEngine: s.ToEngine, ToUDP: s.ToUDP, ToNetstack: s.ToNetstack,
			Copies: s.Copies, HandedOut: s.HandedOut, HandedIn: s.HandedIn,
		})
	}
	return all
}

func sumOf(all []stack.Stats) (sum stack.Stats) {
	for _, s := range all {
		sum.Add(s)
	}
	return sum
}

// quiet waits until nothing is under way any more.
func (r *accountRig) quiet() []stack.Stats {
	r.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		before := r.shards()
		for range 2 { // a turn publishes after its tasks
			for i := range r.st.Shards() {
				onLoop(r.st.Shard(i), func() {})
			}
			r.poll()
		}
		now := r.shards()
		if sum := sumOf(now); sum == sumOf(before) && sum.RxPackets+sum.Queue.RxDropped == r.dev.Queue(0).Stats().TxPackets {
			return now
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the stack is not quiet: %+v", now)
		}
		runtime.Gosched()
	}
}

// checkFrames checks that every frame of one shard, or of all, is accounted for.
func checkFrames(t *testing.T, who string, s stack.Stats) {
	t.Helper()
	in, out := s.RxPackets+s.HandedIn+s.Copies, s.ToEngine+s.ToUDP+s.ToNetstack+s.HandedOut+s.Drops.Received()
	if in != out {
		t.Errorf("%s: %d packets came and %d went: %+v", who, in, out, s)
	}
}

// check runs one case and compares.
func (r *accountRig) check(run func(r *accountRig) account) {
	t := r.t.(*testing.T)
	t.Helper()
	before, others := sumOf(r.quiet()), r.dev.Queue(0).Stats().TxPackets-r.fed
	want := run(r)
	all := r.quiet()
	after := sumOf(all)
	for i, s := range all {
		checkFrames(t, fmt.Sprintf("shard %d", i), s)
	}
	checkFrames(t, "all shards", after)
	if after.HandedOut != after.HandedIn {
		t.Errorf("%d frames were handed out, and %d in", after.HandedOut, after.HandedIn)
	}
	if after.Queue != (driver.Stats{}) {
		t.Errorf("the test lost frames on the way to the stack: %+v", after.Queue)
	}
	got := account{
		engine: after.ToEngine - before.ToEngine, udp: after.ToUDP - before.ToUDP,
		netstack: after.ToNetstack - before.ToNetstack, copies: after.Copies - before.Copies,
	}
	for i := range got.drops {
		got.drops[i] = after.Drops[i] - before.Drops[i]
	}
	// Every reply to ARP or NDP that the peer sent meanwhile is every shard's too.
	every, shards := want.every+r.dev.Queue(0).Stats().TxPackets-r.fed-others, uint64(len(all))
	want.every, want.netstack, want.copies = 0, want.netstack+every*shards, want.copies+every*(shards-1)
	if got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

// changed is frame with byte i changed.
func changed(frame []byte, i int) []byte {
	b := bytes.Clone(frame)
	b[i] ^= 0x55
	return b
}

// accountCases are traffic of all kinds. Each sends, and returns what is to be counted.
var accountCases = []struct {
	name string
	run  func(r *accountRig) account
}{
	{"TCP of the engine", func(r *accountRig) account {
		r.converse(enginePort)
		return account{engine: 3}
	}},
	{"TCP of netstack", func(r *accountRig) account {
		r.converse(netstackPort)
		return account{netstack: 3}
	}},
	{"TCP to a closed port", func(r *accountRig) account {
		for i := range 20 {
			r.feed(r.tcp4(81, layers.TCP{SrcPort: layers.TCPPort(1000 + i), SYN: true}, ""))
		}
		return account{netstack: 20}
	}},
	{"TCP of no connection", func(r *accountRig) account {
		r.feed(
			r.tcp4(netstackPort, layers.TCP{SrcPort: 999, ACK: true, Ack: 77}, "stray"),
			r.tcp4(60999, layers.TCP{SrcPort: 999, ACK: true, Ack: 77}, "stray"),
		)
		return account{netstack: 2}
	}},
	{"TCP in fragments", func(r *accountRig) account {
		for _, port := range []uint16{netstackPort, enginePort} {
			fs := fragments4(nil, r.tcp4(port, layers.TCP{SrcPort: 40002, ACK: true, Ack: 77}, "a stray segment in two pieces"))
			r.feed(fs[0])
			r.quiet() // fragments of one id: the next may begin once these have met
			r.feed(fs[1])
			r.quiet()
		}
		return account{netstack: 4}
	}},
	{"UDP to sockets", func(r *accountRig) account {
		for i := range 20 {
			d := r.udp(clientAddr4, serverAddr4, socketPort, "one of many")
			d.udp.SrcPort = layers.UDPPort(2000 + i)
			r.feed(d.frame(r.t))
			d = r.udp(clientAddr6, serverAddr6, socketPort, "one of many")
			d.udp.SrcPort = layers.UDPPort(2000 + i)
			r.feed(d.frame(r.t))
		}
		return account{udp: 40}
	}},
	{"UDP to one shard's socket", func(r *accountRig) account {
		for range 20 {
			r.feed(r.udp4(r.pinned.Port(), "handed over, unless it came in there"))
		}
		return account{udp: 20}
	}},
	{"UDP to handlers", func(r *accountRig) account {
		for i := range 20 {
			d := r.udp(clientAddr4, serverAddr4, handlerPort, "answer")
			d.udp.SrcPort = layers.UDPPort(2000 + i)
			r.feed(d.frame(r.t), r.udp6(handlerPort, "answer"))
		}
		return account{udp: 40}
	}},
	{"UDP by way of netstack", func(r *accountRig) account {
		r.feed(r.optioned(socketPort, "options"), r.optioned(handlerPort, "options"))
		return account{netstack: 2}
	}},
	{"UDP to a closed port", func(r *accountRig) account {
		r.feed(r.udp4(9, "nobody"), r.udp6(9, "nobody"), r.udp4(60998, "nobody"))
		return account{netstack: 3}
	}},
	{"UDP to others' addresses", func(r *accountRig) account {
		toAll := r.udp(clientAddr4, netip.MustParseAddr("198.18.0.255"), socketPort, "to all")
		toAll.eth.DstMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		r.feed(toAll.frame(r.t), r.udp(clientAddr4, netip.MustParseAddr("198.18.0.99"), socketPort, "astray").frame(r.t))
		return account{netstack: 2}
	}},
	{"fragments to sockets", func(r *accountRig) account {
		for id := range uint16(40) {
			r.feed(r.fragments(socketPort, id, "a datagram that comes in two pieces")...)
		}
		return account{netstack: 80}
	}},
	{"fragments to one shard's socket", func(r *accountRig) account {
		before := sumOf(r.quiet()).Copies
		for id := range uint16(40) {
			r.feed(r.fragments(r.pinned.Port(), 100+id, "a datagram that comes in two pieces")...)
		}
		copies := sumOf(r.quiet()).Copies - before
		if several := r.st.Shards() > 1; several != (copies > 0) {
			r.t.Errorf("%d of 40 datagrams were reassembled on another shard than their socket's", copies)
		}
		return account{netstack: 80 + copies, copies: copies}
	}},
	{"fragments without end", func(r *accountRig) account {
		for id := range uint16(20) {
			r.feed(r.fragments(socketPort, 200+id, "a datagram that comes in two pieces")[0])
		}
		return account{netstack: 20}
	}},
	{"ARP", func(r *accountRig) account {
		r.feed(
			r.arp(layers.ARPRequest, clientAddr4, serverAddr4),
			r.arp(layers.ARPReply, clientAddr4, serverAddr4),
			r.arp(layers.ARPRequest, clientAddr4, clientAddr4), // announcement
		)
		return account{netstack: 1, every: 2}
	}},
	{"NDP and MLD", func(r *accountRig) account {
		target := append(make([]byte, 4), serverAddr6.AsSlice()...)
		r.feed(
			r.icmp6(layers.ICMPv6TypeNeighborSolicitation, serverAddr6, target),
			r.neighbourAdvertisement(clientAddr6.AsSlice(), serverAddr6.AsSlice(), r.dev.Info().MAC, 0x60),
			r.icmp6(layers.ICMPv6TypeRouterAdvertisement, serverAddr6, make([]byte, 12)),
			r.icmp6(layers.ICMPv6TypeMLDv1MulticastListenerQueryMessage, serverAddr6, make([]byte, 20)),
		)
		return account{netstack: 1, every: 3}
	}},
	{"echo requests", func(r *accountRig) account {
		r.feed(r.icmp4(layers.ICMPv4TypeEchoRequest, 0, []byte("ping")), r.icmp6(layers.ICMPv6TypeEchoRequest, serverAddr6, []byte("0000ping")))
		return account{netstack: 2}
	}},
	{"ICMP errors", func(r *accountRig) account {
		quoted := r.udp4(9, "not sent by the stack")[14:]
		r.feed(
			r.icmp4(layers.ICMPv4TypeDestinationUnreachable, 3, quoted),
			r.icmp4(layers.ICMPv4TypeTimeExceeded, 0, quoted),
			r.icmp6(layers.ICMPv6TypePacketTooBig, serverAddr6, append([]byte{0, 0, 5, 0}, r.udp6(9, "")[14:]...)),
		)
		return account{every: 3}
	}},
	{"another protocol of IP", func(r *accountRig) account {
		r.feed(frameOf(r.t, r.eth(layers.EthernetTypeIPv4), r.ip4(layers.IPProtocolSCTP), gopacket.Payload("sixteen bytes...")))
		return account{netstack: 1}
	}},
	{"ICMP with a bad checksum", func(r *accountRig) account {
		f := r.icmp4(layers.ICMPv4TypeEchoRequest, 0, []byte("ping"))
		r.feed(changed(f, 44)) // netstack finds it
		return account{netstack: 1}
	}},
	{"malformed", func(r *accountRig) account {
		tcp, udp, udp6 := r.tcp4(netstackPort, layers.TCP{ACK: true}, "hello"), r.udp4(socketPort, "hello"), r.udp6(socketPort, "hello")
		set := func(f []byte, bytes ...byte) []byte {
			f = append([]byte(nil), f...)
			for i := 0; i < len(bytes); i += 2 {
				f[bytes[i]] = bytes[i+1]
			}
			return f
		}
		frames := [][]byte{
			tcp[:30],
			set(tcp, 14, 0x55),              // version
			set(tcp, 14, 0x44),              // header length
			set(tcp, 16, 0x7f),              // total length
			set(tcp, 46, 0x40),              // TCP's header length
			set(udp, 38, 0x7f),              // UDP's length
			set(udp, 38, 0, 39, 7),          // likewise
			set(udp6, 18, 0x7f),             // IPv6's payload length
			set(udp6, 20, 0, 55, 200),       // extension header
			set(tcp, 0, 2, 5, 99, 14, 0x55), // another host's, and malformed
			r.arp(layers.ARPRequest, clientAddr4, serverAddr4)[:40],
		}
		r.feed(frames...)
		return account{drops: drop.Counts{drop.Malformed: uint64(len(frames))}}
	}},
	{"bad checksums", func(r *accountRig) account {
		tcp, udp, udp6 := r.tcp4(enginePort, layers.TCP{ACK: true}, "hello"), r.udp4(socketPort, "hello"), r.udp6(socketPort, "hello")
		unsummed := bytes.Clone(udp6)
		unsummed[60], unsummed[61] = 0, 0
		r.feed(
			changed(tcp, 22), // TTL
			changed(tcp, 58), changed(udp, 44), changed(udp6, 63),
			unsummed,
			changed(r.fragments(socketPort, 300, "a datagram that comes in two pieces")[0], 22),
		)
		return account{drops: drop.Counts{drop.BadChecksum: 6}}
	}},
	{"another host's", func(r *accountRig) account {
		other := func(f []byte) []byte {
			f = bytes.Clone(f)
			f[5] ^= 0x77
			return f
		}
		r.feed(other(r.udp4(socketPort, "hello")), other(r.tcp4(enginePort, layers.TCP{ACK: true}, "")), other(changed(r.udp4(socketPort, "hello"), 44)),
			other(r.arp(layers.ARPReply, clientAddr4, serverAddr4)))
		return account{drops: drop.Counts{drop.OtherHost: 4}}
	}},
	{"unknown protocols", func(r *accountRig) account {
		for _, typ := range []layers.EthernetType{layers.EthernetTypeLinkLayerDiscovery, layers.EthernetTypeDot1Q, 0x0101} {
			f := r.udp4(socketPort, "hello")
			f[12], f[13] = byte(typ>>8), byte(typ)
			r.feed(f)
		}
		return account{drops: drop.Counts{drop.UnknownProtocol: 3}}
	}},
	{"a full socket", func(r *accountRig) account {
		before := sumOf(r.quiet()).ToUDP
		const n = 40 // of one flow, to one shard
		for range n {
			r.feed(r.udp4(smallPort, string(make([]byte, 1000))))
		}
		took := sumOf(r.quiet()).ToUDP - before
		if took < 3 || took > 4 {
			r.t.Errorf("a buffer of 4 KiB took %d datagrams of 1000 bytes", took)
		}
		return account{udp: took, drops: drop.Counts{drop.SocketBufferFull: n - took}}
	}},
	{"a socket that netstack finds full", func(r *accountRig) account {
		before := r.st.Stats().UDPDropped
		for range 40 {
			r.feed(r.optioned(smallPort, string(make([]byte, 1000))))
		}
		r.quiet()
		if n := r.st.Stats().UDPDropped - before; n < 30 || n >= 40 {
			r.t.Errorf("netstack dropped %d of 40 datagrams", n)
		}
		return account{netstack: 40}
	}},
	{"a full hand-over ring", func(r *accountRig) account {
		shards := r.st.Shards()
		if shards == 1 {
			return account{}
		}
		table := r.nic.Info().RSS.Table
		if err := r.nic.SetIndirection(make([]uint16, len(table))); err != nil { // all comes to the first queue
			r.t.Fatal(err)
		}
		defer r.nic.SetIndirection(table)
		const slots, more = 256, 44
		release := r.block(shards - 1)
		defer release()
		for range slots + more {
			r.feed(r.udp4(r.pinned.Port(), "the last shard stands"))
		}
		for range 10 { // for every shard, of which the last takes no more
			r.feed(r.arp(layers.ARPReply, clientAddr4, serverAddr4))
		}
		r.received()
		release()
		others := uint64(shards - 1)
		return account{udp: slots, netstack: 10 * others, copies: 10 * others, drops: drop.Counts{drop.HandoverFull: more + 10}}
	}},
	{"too many reassembled", func(r *accountRig) account {
		shards := r.st.Shards()
		if shards == 1 {
			return account{}
		}
		before := sumOf(r.quiet())
		const n = 600
		release := r.block(shards - 1)
		defer release()
		for id := range uint16(n) {
			r.feed(r.fragments(r.pinned.Port(), 1000+id, "a datagram that comes in two pieces")...)
		}
		r.received()
		for i := range shards - 1 {
			onLoop(r.st.Shard(i), func() {})
		}
		release()
		after := sumOf(r.quiet())
		copies, full := after.Copies-before.Copies, after.Drops[drop.HandoverFull]-before.Drops[drop.HandoverFull]
		// A quarter meets on the last shard itself. Of the others 256 may wait.
		if copies < n/2 || full < copies-256 {
			r.t.Errorf("%d of %d datagrams were reassembled elsewhere, and %d packets dropped", copies, n, full)
		}
		// Fragments that did not get into the ring are not delivered, nor is what is reassembled from them.
		return account{copies: copies, netstack: 2*n + copies - full, drops: drop.Counts{drop.HandoverFull: full}}
	}},
	{"more ICMP errors than the engine takes in a turn", func(r *accountRig) account {
		shards := r.st.Shards()
		if shards < 6 { // 64 from each are too few
			return account{}
		}
		before := r.st.Stats().Drops[drop.SlowPathFull]
		quoted := frameOf(r.t, r.eth(layers.EthernetTypeIPv4),
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: serverAddr4.AsSlice(), DstIP: clientAddr4.AsSlice()},
			&layers.TCP{SrcPort: enginePort, DstPort: 1, ACK: true})[14:]
		const n = 800
		release := r.block(shards - 1)
		defer release()
		for i := range n {
			ip := r.ip4(layers.IPProtocolICMPv4)
			ip.SrcIP = net.IP{198, 18, 1 + byte(i>>8), byte(i)} // from all over: they come in on all shards
			f := frameOf(r.t, r.eth(layers.EthernetTypeIPv4), ip,
				&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeHost)}, gopacket.Payload(quoted))
			r.send(f)
			if r.fed++; i%64 == 0 {
				for i := range shards - 1 {
					onLoop(r.st.Shard(i), func() {})
				}
			}
		}
		release()
		r.quiet()
		full := r.st.Stats().Drops[drop.SlowPathFull] - before
		if full == 0 {
			r.t.Error("no error was dropped")
		}
		return account{every: n, drops: drop.Counts{drop.SlowPathFull: full}}
	}},
	{"replies that wait too long", func(r *accountRig) account {
		const wait, more = 256, 44
		goOn := r.stall()
		for range wait + more { // of one flow
			r.feed(r.udp4(handlerPort, "answer"))
		}
		r.received()
		goOn(wait)
		return account{udp: wait + more, drops: drop.Counts{drop.ReplyBacklog: more}}
	}},
	{"a neighbor that is silent", func(r *accountRig) account {
		f, err := r.st.Shard(0).ListenUDP(netip.AddrPortFrom(serverAddr4, 0), flow.SocketOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		defer f.Close()
		before := r.st.Stats().Drops[drop.NoNeighbor]
		for range 1000 { // the peer is not polled, and does not answer
			f.WriteTo([]byte("hello"), netip.MustParseAddrPort("198.18.0.77:1000"))
		}
		n := r.st.Stats().Drops[drop.NoNeighbor] - before
		if n < 700 || n >= 1000 {
			r.t.Errorf("%d of 1000 datagrams were dropped", n)
		}
		return account{drops: drop.Counts{drop.NoNeighbor: n}}
	}},
	{"segments for a neighbor that is silent", func(r *accountRig) account {
		before := r.st.Stats().Drops[drop.NeighborQueue]
		for range 300 { // likewise: 256 SYNs wait
			f, err := r.st.Shard(0).DialTCP(netip.AddrPort{}, netip.MustParseAddrPort("198.18.0.78:1000"), flow.SocketOptions{Transport: flow.TransportFast})
			if err != nil {
				r.t.Fatal(err)
			}
			defer f.Abort()
		}
		onLoop(r.st.Shard(0), func() {})
		onLoop(r.st.Shard(0), func() {})
		n := r.st.Stats().Drops[drop.NeighborQueue] - before
		if n < 44 {
			r.t.Errorf("%d of 300 segments were dropped", n)
		}
		return account{drops: drop.Counts{drop.NeighborQueue: n}}
	}},
	{"packets that wait too long for a frame", func(r *accountRig) account {
		before := r.st.Stats().Drops[drop.TxBacklog]
		const n = 7000
		goOn := r.stall()
		ping := r.icmp4(layers.ICMPv4TypeEchoRequest, 0, []byte("ping"))
		for range n {
			r.feed(ping)
		}
		r.received()
		for i := range r.st.Shards() {
			onLoop(r.st.Shard(i), func() {})
			onLoop(r.st.Shard(i), func() {})
		}
		full := r.st.Stats().Drops[drop.TxBacklog] - before
		if full == 0 {
			r.t.Error("no packet was dropped")
		}
		goOn(n - full)
		return account{netstack: n, drops: drop.Counts{drop.TxBacklog: full}}
	}},
}

// Every frame that comes in is accounted for, on each shard and on all together, and each
// that is dropped is counted under its reason and no other.
func TestFramesAddUp(t *testing.T) {
	for _, shards := range []int{1, 4, 8} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			r := newAccountRig(t, shards)
			all := r.t
			for _, c := range accountCases {
				t.Run(c.name, func(t *testing.T) {
					r.t = t
					r.check(c.run)
				})
			}
			r.t = all
			r.ping(1)
		})
	}
}
