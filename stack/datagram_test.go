package stack_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// datagramFunc is a DatagramHandler.
type datagramFunc func(d *flow.Datagram)

func (f datagramFunc) HandleDatagram(d *flow.Datagram) { f(d) }

// echoDatagram answers with what was asked.
func echoDatagram(d *flow.Datagram) { d.Reply(d.Data) }

var (
	otherAddr4 = netip.MustParseAddr("198.18.0.3")
	otherAddr6 = netip.MustParseAddr("2001:db8::3")
)

// datagramRig is a stack with two addresses of each family and a raw peer.
type datagramRig struct {
	*rawPeer
	st    *stack.Stack
	pings uint16
}

func newDatagramRig(t testing.TB, cfg *memnic.Config) *datagramRig {
	t.Helper()
	return newDatagramRigOn(t, flow.TransportDefault, cfg)
}

// newDatagramRigOn is a rig whose stack has tr as its TCP.
func newDatagramRigOn(t testing.TB, tr flow.Transport, cfg *memnic.Config) *datagramRig {
	t.Helper()
	a, b, err := memnic.NewPair(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c := serverConfigOn(tr)
	c.Addresses = append(c.Addresses, netip.PrefixFrom(otherAddr4, 24), netip.PrefixFrom(otherAddr6, 64))
	st := startStack(t, a, c)
	return &datagramRig{rawPeer: newRawPeer(t, b, a.Info().MAC), st: st}
}

// handle opens a socket on every shard and gives it to h, which has it when handle
// returns.
func (r *datagramRig) handle(local netip.AddrPort, h flow.DatagramHandler) (fs []flow.PacketFlow) {
	r.t.Helper()
	for i := range r.st.Shards() {
		sh := r.st.Shard(i)
		f, err := sh.ListenUDP(local, flow.SocketOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		if err := f.HandleDatagrams(h); err != nil {
			r.t.Fatal(err)
		}
		onLoop(sh, func() {})
		fs = append(fs, f)
	}
	return fs
}

// onLoop runs f on sh's loop, after what was posted before, and waits for it.
func onLoop(sh *stack.Shard, f func()) {
	done := make(chan struct{})
	sh.Post(taskFunc(func() { f(); close(done) }))
	<-done
}

// datagram is a UDP datagram between two addresses, with its headers to be changed
// before it is serialized.
type datagram struct {
	eth     *layers.Ethernet
	ip4     *layers.IPv4
	ip6     *layers.IPv6
	udp     *layers.UDP
	payload []byte
}

func (r *datagramRig) datagram(src, dst netip.Addr, payload string) *datagram {
	d := &datagram{udp: &layers.UDP{SrcPort: 1000, DstPort: 7}, payload: []byte(payload)}
	if dst.Is4() {
		d.eth = r.eth(layers.EthernetTypeIPv4)
		d.ip4 = &layers.IPv4{Version: 4, TTL: 64, Id: 77, Protocol: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	} else {
		d.eth = r.eth(layers.EthernetTypeIPv6)
		d.ip6 = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolUDP, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return d
}

func (d *datagram) frame(t testing.TB) []byte {
	t.Helper()
	if d.ip4 != nil {
		return frameOf(t, d.eth, d.ip4, d.udp, gopacket.Payload(d.payload))
	}
	return frameOf(t, d.eth, d.ip6, d.udp, gopacket.Payload(d.payload))
}

// answer is a received datagram.
type answer struct {
	src, dst netip.AddrPort
	mac      net.HardwareAddr // it was sent to
	payload  []byte
	ttl, id  int
}

// udpAnswer reads b, or returns false if it is no whole UDP datagram. Lengths and
// checksums must be what gopacket makes them.
func udpAnswer(t testing.TB, b []byte) (a answer, ok bool) {
	t.Helper()
	pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	udp, ok := pkt.Layer(layers.LayerTypeUDP).(*layers.UDP)
	if !ok || pkt.Layer(layers.LayerTypeICMPv4) != nil || pkt.Layer(layers.LayerTypeICMPv6) != nil {
		return a, false
	}
	eth := pkt.LinkLayer().(*layers.Ethernet)
	src, _ := netip.AddrFromSlice(pkt.NetworkLayer().NetworkFlow().Src().Raw())
	dst, _ := netip.AddrFromSlice(pkt.NetworkLayer().NetworkFlow().Dst().Raw())
	a = answer{netip.AddrPortFrom(src, uint16(udp.SrcPort)), netip.AddrPortFrom(dst, uint16(udp.DstPort)), eth.DstMAC, udp.Payload, 0, 0}
	var again []byte
	if ip, ok := pkt.NetworkLayer().(*layers.IPv4); ok {
		a.ttl, a.id = int(ip.TTL), int(ip.Id)
		again = frameOf(t, eth, ip, udp, gopacket.Payload(udp.Payload))
	} else {
		ip := pkt.NetworkLayer().(*layers.IPv6)
		a.ttl = int(ip.HopLimit)
		again = frameOf(t, eth, ip, udp, gopacket.Payload(udp.Payload))
	}
	if n := len(b); len(again) > n { // gopacket pads to 60 bytes
		again = again[:n]
	}
	if !bytes.Equal(again, b) {
		t.Fatalf("a length or checksum is wrong:\n%x, want\n%x", b, again)
	}
	return a, true
}

// poll takes in what has arrived and answers NDP solicitations, as rawPeer does ARP.
func (r *datagramRig) poll() {
	r.rawPeer.poll()
	kept := r.got[:0]
	for _, b := range r.got {
		if len(b) >= 78 && b[12] == 0x86 && b[13] == 0xdd && b[20] == 58 && b[54] == 135 {
			r.seen--
			r.send(r.advertisement(b))
		} else {
			kept = append(kept, b)
		}
	}
	r.got = kept
}

// advertisement answers a neighbour solicitation with MAC address r.mac, or the device's.
func (r *datagramRig) advertisement(solicitation []byte) []byte {
	target := bytes.Clone(solicitation[62:78])
	return r.neighbourAdvertisement(target, solicitation[22:38], r.mac, 0x60)
}

// neighbourAdvertisement says that target is at mac. flags are its first byte: solicited
// 0x40, override 0x20.
func (r *datagramRig) neighbourAdvertisement(target, dst []byte, mac net.HardwareAddr, flags byte) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: target, DstIP: dst}
	return frameOf(r.t, r.eth(layers.EthernetTypeIPv6), ip,
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)},
		&layers.ICMPv6NeighborAdvertisement{Flags: flags, TargetAddress: target,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: mac}}})
}

// await is rawPeer's, with this poll.
func (r *datagramRig) await(what string, ok func(pkt gopacket.Packet) bool) gopacket.Packet {
	r.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		r.poll()
		for i, b := range r.got {
			if pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default); ok(pkt) {
				r.got = r.got[i+1:]
				return pkt
			}
		}
		r.got = r.got[:0]
		if time.Now().After(deadline) {
			r.t.Fatalf("%s never came", what)
		}
		runtime.Gosched()
	}
}

// awaitAnswer waits for the next datagram.
func (r *datagramRig) awaitAnswer() answer {
	r.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for {
		r.poll()
		for i, b := range r.got {
			if a, ok := udpAnswer(r.t, b); ok {
				r.got = r.got[i+1:]
				return a
			}
		}
		r.got = r.got[:0]
		if time.Now().After(deadline) {
			r.t.Fatalf("no answer came: %+v", r.st.Stats())
		}
		runtime.Gosched()
	}
}

// silence checks that nothing but what reply allows comes before an echo reply to
// a ping sent now.
func (r *datagramRig) silence() {
	r.t.Helper()
	r.pings++
	r.send(frameOf(r.t, r.eth(layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: clientAddr4.AsSlice(), DstIP: serverAddr4.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 4711, Seq: r.pings}))
	r.await("echo reply", func(pkt gopacket.Packet) bool {
		if pkt.Layer(layers.LayerTypeUDP) != nil && pkt.Layer(layers.LayerTypeICMPv4) == nil && pkt.Layer(layers.LayerTypeICMPv6) == nil {
			r.t.Fatalf("answered: %v", pkt)
		}
		e, ok := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && e.TypeCode.Type() == layers.ICMPv4TypeEchoReply && e.Seq == r.pings
	})
}

// learn lets the stack learn addr's MAC address, by a packet of ours that has it
// look for it.
func (r *datagramRig) learn(addr netip.Addr) {
	r.t.Helper()
	f, err := r.st.Shard(0).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 9), flow.SocketOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteTo([]byte("hello"), netip.AddrPortFrom(addr, 9)); err != nil {
		r.t.Fatal(err)
	}
	r.awaitAnswer()
}

// families are the addresses to ask from and to.
var families = []struct {
	name     string
	src, dst netip.Addr
	other    netip.Addr
}{{"IPv4", clientAddr4, serverAddr4, otherAddr4}, {"IPv6", clientAddr6, serverAddr6, otherAddr6}}

func TestDatagramAnsweredInPlace(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 1400))
	for _, fam := range families {
		for _, c := range []struct {
			name, ask string
			reply     func(d *flow.Datagram) []byte
			want      string
		}{
			{"the same", "ask", func(d *flow.Datagram) []byte { return d.Data }, "ask"},
			{"empty to empty", "", func(d *flow.Datagram) []byte { return d.Data }, ""},
			{"odd length", "12345", func(d *flow.Datagram) []byte { return d.Data }, "12345"},
			{"shorter", "a longer question", func(d *flow.Datagram) []byte { return []byte("no") }, "no"},
			{"empty", "question", func(d *flow.Datagram) []byte { return nil }, ""},
			{"longer", "?", func(d *flow.Datagram) []byte { return []byte(long) }, long},
			{"a part of the question", "head tail", func(d *flow.Datagram) []byte { return d.Data[5:] }, "tail"},
			{"appended to the question", "one", func(d *flow.Datagram) []byte { return append(d.Data, " two"...) }, "one two"},
		} {
			t.Run(fam.name+"/"+c.name, func(t *testing.T) {
				r := newDatagramRig(t, nil)
				r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(func(d *flow.Datagram) {
					if d.Source() != netip.AddrPortFrom(fam.src, 1000) || d.Destination() != netip.AddrPortFrom(fam.other, 7) || string(d.Data) != c.ask {
						t.Errorf("handler sees %q from %v to %v", d.Data, d.Source(), d.Destination())
					}
					if err := d.Reply(c.reply(d)); err != nil {
						t.Error(err)
					}
				}))
				for range 2 {
					r.send(r.datagram(fam.src, fam.other, c.ask).frame(t))
					a := r.awaitAnswer()
					if a.src != netip.AddrPortFrom(fam.other, 7) || a.dst != netip.AddrPortFrom(fam.src, 1000) || string(a.payload) != c.want {
						t.Errorf("answer is %q from %v to %v", a.payload, a.src, a.dst)
					}
					if !bytes.Equal(a.mac, r.dev.Info().MAC) || a.ttl != 64 {
						t.Errorf("answer to %v with TTL %d", a.mac, a.ttl)
					}
				}
				// The loop publishes its counts when the turn's answers have left.
				testutil.Eventually(t, "two datagrams are counted, each way", func() bool {
					s := r.st.Stats()
					return s.ToUDP == 2 && s.RepliesInPlace == 2 && s.UDPReceived == 2 && s.UDPSent == 2
				})
			})
		}
	}
}

// Ethernet pads frames to 60 bytes: what is behind the datagram is no part of it.
func TestDatagramWithEthernetPadding(t *testing.T) {
	for _, fam := range families {
		for _, pad := range []int{1, 17, 100} {
			t.Run(fmt.Sprintf("%s/pad=%d", fam.name, pad), func(t *testing.T) {
				r := newDatagramRig(t, nil)
				r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(echoDatagram))
				d := r.datagram(fam.src, fam.dst, "a")
				frame := d.frame(t)[:14+8+1+map[bool]int{true: 20, false: 40}[fam.src.Is4()]]
				r.send(append(bytes.Clone(frame), bytes.Repeat([]byte{0xee}, pad)...))
				if a := r.awaitAnswer(); string(a.payload) != "a" {
					t.Errorf("answer is %q", a.payload)
				}
			})
		}
	}
}

// Every reply to a datagram goes to its source, in the order of the calls.
func TestDatagramAnsweredManyTimes(t *testing.T) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			r.learn(fam.src)
			r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(func(d *flow.Datagram) {
				for i := range 4 {
					if err := d.Reply(fmt.Append(nil, "reply ", i)); err != nil {
						t.Error(err)
					}
					if d.Source() != netip.AddrPortFrom(fam.src, 1000) || d.Destination() != netip.AddrPortFrom(fam.other, 7) {
						t.Errorf("after reply %d the datagram is from %v to %v", i, d.Source(), d.Destination())
					}
				}
			}))
			for range 3 {
				r.send(r.datagram(fam.src, fam.other, "ask").frame(t))
				for i := range 4 {
					a := r.awaitAnswer()
					if a.src != netip.AddrPortFrom(fam.other, 7) || a.dst != netip.AddrPortFrom(fam.src, 1000) || string(a.payload) != fmt.Sprint("reply ", i) {
						t.Errorf("answer %d is %q from %v to %v", i, a.payload, a.src, a.dst)
					}
				}
			}
		})
	}
}

// A reply too long for a packet goes in fragments from the address that was asked;
// a short one after it does not overtake it.
func TestDatagramReplyInFragments(t *testing.T) {
	long := make([]byte, 5000)
	for i := range long {
		long[i] = byte(i * 7)
	}
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			r.learn(fam.src)
			r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(func(d *flow.Datagram) {
				if err := d.Reply(make([]byte, 65536)); !errors.Is(err, syscall.EMSGSIZE) {
					t.Errorf("65536 bytes: %v", err)
				}
				if err := d.Reply(long); err != nil {
					t.Error(err)
				}
				if err := d.Reply([]byte("short")); err != nil {
					t.Error(err)
				}
			}))
			r.send(r.datagram(fam.src, fam.other, "ask").frame(t))
			whole := r.reassemble(fam.other, fam.src)
			if len(whole) != 8+len(long) || !bytes.Equal(whole[8:], long) {
				t.Errorf("%d bytes came, want %d", len(whole), 8+len(long))
			}
			// The checksum is over all of it.
			d := r.datagram(fam.other, fam.src, string(long))
			d.udp.SrcPort, d.udp.DstPort = 7, 1000
			want := d.frame(t)
			if want = want[len(want)-len(long)-8:]; !bytes.Equal(whole[:8], want[:8]) {
				t.Errorf("UDP header %x, want %x", whole[:8], want[:8])
			}
			if a := r.awaitAnswer(); string(a.payload) != "short" {
				t.Errorf("after the fragments came %q", a.payload)
			}
		})
	}
}

// reassemble puts the fragments of one datagram from src to dst together, which come
// in order.
func (r *datagramRig) reassemble(src, dst netip.Addr) (whole []byte) {
	r.t.Helper()
	for more := true; more; {
		var offset int
		var data []byte
		r.await("fragment", func(pkt gopacket.Packet) bool {
			switch ip := pkt.NetworkLayer().(type) {
			case *layers.IPv4:
				offset, more, data = int(ip.FragOffset)*8, ip.Flags&layers.IPv4MoreFragments != 0, ip.Payload
				if len(ip.Contents)+len(ip.Payload) > 1500 {
					r.t.Errorf("fragment of %d bytes", ip.Length)
				}
				return offset == len(whole) && src == netip.AddrFrom4([4]byte(ip.SrcIP)) && dst == netip.AddrFrom4([4]byte(ip.DstIP))
			case *layers.IPv6:
				f, ok := pkt.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment)
				if !ok {
					return false
				}
				offset, more, data = int(f.FragmentOffset)*8, f.MoreFragments, f.Payload
				return offset == len(whole) && src == netip.AddrFrom16([16]byte(ip.SrcIP)) && dst == netip.AddrFrom16([16]byte(ip.DstIP))
			}
			return false
		})
		whole = append(whole, data...)
	}
	return whole
}

// What must not be answered, or not in place, and what netstack answers instead.
func TestDatagramsThatAreNotPlain(t *testing.T) {
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	for _, c := range []struct {
		name     string
		v6       bool
		change   func(d *datagram)
		frame    func(t *testing.T, d *datagram) []byte
		answered bool
		bypassed bool
		from     netip.Addr // the answer's source, if not the address asked
	}{
		{name: "plain", answered: true, bypassed: true},
		{name: "wrong MAC", change: func(d *datagram) { d.eth.DstMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0x77} }},
		{name: "VLAN tag", frame: func(t *testing.T, d *datagram) []byte {
			b := d.frame(t)
			return append(append(bytes.Clone(b[:12]), 0x81, 0, 0, 5), b[12:]...)
		}},
		{name: "IP options", change: func(d *datagram) {
			d.ip4.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}, answered: true},
		{name: "broadcast", change: func(d *datagram) { d.eth.DstMAC = broadcast; d.ip4.DstIP = net.IP{198, 18, 0, 255} }, answered: true, from: serverAddr4},
		{name: "limited broadcast", change: func(d *datagram) { d.eth.DstMAC = broadcast; d.ip4.DstIP = net.IP{255, 255, 255, 255} }, answered: true, from: serverAddr4},
		{name: "unicast in a broadcast frame", change: func(d *datagram) { d.eth.DstMAC = broadcast }, answered: true},
		{name: "multicast", change: func(d *datagram) {
			d.eth.DstMAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 9}
			d.ip4.DstIP = net.IP{224, 0, 0, 9}
		}},
		{name: "address of another", change: func(d *datagram) { d.ip4.DstIP = net.IP{198, 18, 0, 99} }},
		{name: "from a group's MAC", change: func(d *datagram) { d.eth.SrcMAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 9} }, answered: true},
		{name: "from 0.0.0.0", change: func(d *datagram) { d.ip4.SrcIP = net.IP{0, 0, 0, 0} }},
		{name: "from the broadcast address", change: func(d *datagram) { d.ip4.SrcIP = net.IP{198, 18, 0, 255} }},
		{name: "from 255.255.255.255", change: func(d *datagram) { d.ip4.SrcIP = net.IP{255, 255, 255, 255} }},
		{name: "from a group", change: func(d *datagram) { d.ip4.SrcIP = net.IP{224, 0, 0, 1} }},
		{name: "from loopback", change: func(d *datagram) { d.ip4.SrcIP = net.IP{127, 0, 0, 1} }},
		{name: "from ourselves", change: func(d *datagram) { d.ip4.SrcIP = serverAddr4.AsSlice() }},
		{name: "from port 0", change: func(d *datagram) { d.udp.SrcPort = 0 }},
		{name: "checksum 0", frame: func(t *testing.T, d *datagram) []byte {
			b := d.frame(t)
			b[40], b[41] = 0, 0
			return b
		}, answered: true, bypassed: true},
		{name: "checksum wrong", frame: func(t *testing.T, d *datagram) []byte {
			b := d.frame(t)
			b[40] ^= 1
			return b
		}},
		{name: "UDP length too long", frame: func(t *testing.T, d *datagram) []byte {
			b := d.frame(t)
			setWord(b, 38, 8+3+9, 40)
			setWord(b, 38, 8+3+9, 40)
			return b
		}},
		{name: "UDP length shorter than the packet", frame: func(t *testing.T, d *datagram) []byte {
			b := frameOf(t, d.eth, d.ip4, d.udp, gopacket.Payload("ask and more"))
			b[38], b[39], b[40], b[41] = 0, 8+3, 0, 0
			return b
		}, answered: true},
		{name: "plain", v6: true, answered: true, bypassed: true},
		{name: "checksum 0", v6: true, frame: func(t *testing.T, d *datagram) []byte {
			b := d.frame(t)
			b[60], b[61] = 0, 0
			return b
		}},
		{name: "hop-by-hop options", v6: true, frame: func(t *testing.T, d *datagram) []byte {
			return withExtension(d.frame(t), 0, []byte{17, 0, 1, 4, 0, 0, 0, 0})
		}, answered: true},
		{name: "destination options", v6: true, frame: func(t *testing.T, d *datagram) []byte {
			return withExtension(d.frame(t), 60, []byte{17, 0, 1, 4, 0, 0, 0, 0})
		}, answered: true},
		{name: "atomic fragment", v6: true, frame: func(t *testing.T, d *datagram) []byte {
			return withExtension(d.frame(t), 44, []byte{17, 0, 0, 0, 0, 0, 0, 9})
		}, answered: true},
		{name: "from ::", v6: true, change: func(d *datagram) { d.ip6.SrcIP = net.IPv6unspecified }},
		{name: "from a group", v6: true, change: func(d *datagram) { d.ip6.SrcIP = net.ParseIP("ff02::1") }},
		{name: "from ourselves", v6: true, change: func(d *datagram) { d.ip6.SrcIP = serverAddr6.AsSlice() }},
		{name: "multicast", v6: true, change: func(d *datagram) {
			d.eth.DstMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 9}
			d.ip6.DstIP = net.ParseIP("ff02::9")
		}},
	} {
		fam := families[0]
		if c.v6 {
			fam = families[1]
		}
		t.Run(fam.name+"/"+c.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			r.learn(fam.src)
			r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(echoDatagram))
			d := r.datagram(fam.src, fam.dst, "ask")
			if c.change != nil {
				c.change(d)
			}
			frame := c.frame
			if frame == nil {
				frame = func(t *testing.T, d *datagram) []byte { return d.frame(t) }
			}
			r.send(frame(t, d))
			if !c.answered {
				r.silence()
			} else {
				a := r.awaitAnswer()
				want := fam.dst
				if c.from.IsValid() {
					want = c.from
				}
				if a.src != netip.AddrPortFrom(want, 7) || a.dst != netip.AddrPortFrom(fam.src, 1000) || string(a.payload) != "ask" || !bytes.Equal(a.mac, r.dev.Info().MAC) {
					t.Errorf("answer is %q from %v to %v at %v", a.payload, a.src, a.dst, a.mac)
				}
			}
			if got := r.st.Stats().ToUDP > 0; got != c.bypassed {
				t.Errorf("bypassed netstack: %v", got)
			}
		})
	}
}

// withExtension puts an extension header of type typ before the transport's.
func withExtension(b []byte, typ byte, ext []byte) []byte {
	b = append(append(bytes.Clone(b[:54]), ext...), b[54:]...)
	b[20] = typ
	b[19] += byte(len(ext))
	return b
}

// Fragments come by way of netstack, are handled in one piece, and answered from
// the address they were sent to.
func TestDatagramInFragmentsIsAnswered(t *testing.T) {
	r := newDatagramRig(t, nil)
	r.learn(clientAddr4)
	r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(func(d *flow.Datagram) {
		if d.Source() != netip.AddrPortFrom(clientAddr4, 1000) || d.Destination() != netip.AddrPortFrom(otherAddr4, 7) {
			t.Errorf("from %v to %v", d.Source(), d.Destination())
		}
		d.Reply(fmt.Append(nil, len(d.Data)))
	}))
	d := r.datagram(clientAddr4, otherAddr4, string(make([]byte, 2000)))
	l4 := d.frame(t)[34:]
	d.ip4.Flags = layers.IPv4MoreFragments
	r.send(frameOf(t, d.eth, d.ip4, gopacket.Payload(l4[:1480])))
	d.ip4.Flags, d.ip4.FragOffset = 0, 1480/8
	r.send(frameOf(t, d.eth, d.ip4, gopacket.Payload(l4[1480:])))
	if a := r.awaitAnswer(); string(a.payload) != "2000" || a.src.Addr() != otherAddr4 {
		t.Errorf("answer is %q from %v", a.payload, a.src)
	}
}

// The answer leaves from the address that was asked, also when its next hop has to
// be found first.
func TestDatagramAnsweredFromTheAddressAsked(t *testing.T) {
	for _, fam := range families {
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRig(t, nil)
			r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(func(d *flow.Datagram) {
				d.Reply([]byte("one"))
				d.Reply([]byte("two"))
			}))
			r.send(r.datagram(fam.src, fam.other, "ask").frame(t))
			for range 2 {
				if a := r.awaitAnswer(); a.src.Addr() != fam.other {
					t.Errorf("%q came from %v", a.payload, a.src)
				}
			}
		})
	}
}

// What waited when the handler was set is handled first, in order, and answered from
// the address it was sent to.
func TestHandleDatagramsThatWait(t *testing.T) {
	r := newDatagramRig(t, nil)
	r.learn(clientAddr4)
	sh := r.st.Shard(0)
	f, err := sh.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const waiting = 200 // more than a turn's budget
	for i := range waiting {
		r.send(r.datagram(clientAddr4, otherAddr4, fmt.Sprint(i)).frame(t))
	}
	r.waitStats("datagrams queued", func(s stack.Stats) bool { return s.UDPReceived == waiting })
	next := 0
	if err := f.HandleDatagrams(datagramFunc(func(d *flow.Datagram) {
		if string(d.Data) != fmt.Sprint(next) {
			t.Errorf("datagram %q came in place %d", d.Data, next)
		}
		next++
		d.Reply(d.Data)
	})); err != nil {
		t.Fatal(err)
	}
	for i := waiting; i < waiting+50; i++ {
		r.send(r.datagram(clientAddr4, otherAddr4, fmt.Sprint(i)).frame(t))
	}
	for i := range waiting + 50 {
		if a := r.awaitAnswer(); a.src != netip.AddrPortFrom(otherAddr4, 7) || string(a.payload) != fmt.Sprint(i) {
			t.Fatalf("answer %d is %q from %v", i, a.payload, a.src)
		}
	}
}

func (r *datagramRig) waitStats(what string, ok func(s stack.Stats) bool) {
	r.t.Helper()
	deadline := time.Now().Add(testTimeout)
	for !ok(r.st.Stats()) {
		r.poll()
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: never; %+v", what, r.st.Stats())
		}
		runtime.Gosched()
	}
}

// fullDevice is a device whose TX ring is full while full is set.
type fullDevice struct {
	driver.Device
	full atomic.Bool
}

func (d *fullDevice) Queue(i int) driver.Queue { return &fullQueue{d.Device.Queue(i), &d.full} }

type fullQueue struct {
	driver.Queue
	full *atomic.Bool
}

func (q *fullQueue) Transmit(fs []driver.Frame) (int, error) {
	if q.full.Load() {
		return 0, nil
	}
	return q.Queue.Transmit(fs)
}

// With the TX ring full answers wait, then are dropped and counted, and the stack
// goes on receiving; when there is room again what waited leaves, and no frame is
// lost.
func TestDatagramAnswersWaitForTheRing(t *testing.T) {
	a, b := newBareCable(t, 1, 1)
	full := &fullDevice{Device: a}
	st := startStack(t, full, serverConfig())
	r := &datagramRig{rawPeer: newRawPeer(t, b, a.Info().MAC), st: st}
	r.handle(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), datagramFunc(echoDatagram))
	r.ping(1)
	answered := r.seen
	full.full.Store(true)
	frame := r.datagram(clientAddr4, serverAddr4, "ask").frame(t)
	const asked = 10_000 // more than there are frames
	for i := range asked {
		r.send(frame)
		r.pace(st, i)
	}
	r.pace(st, 0)
	s := st.Stats()
	if s.Drops.Sent() == 0 || s.Queue.RxDropped != 0 || s.ToUDP != asked {
		t.Errorf("%d answers and %d requests dropped of %d; want answers alone dropped", s.Drops.Sent(), s.Queue.RxDropped, asked)
	}
	full.full.Store(false)
	r.waitStats("answers that waited", func(stack.Stats) bool { return r.seen-answered == asked-int(s.Drops.Sent()) })
	if got := r.seen - answered; got < 64 {
		t.Errorf("only %d answers waited", got)
	}
	r.ping(2)
}

// A reply on a socket that its handler has closed is refused.
func TestDatagramReplyAfterClose(t *testing.T) {
	r := newDatagramRig(t, nil)
	var fs []flow.PacketFlow
	fs = r.handle(netip.AddrPortFrom(serverAddr4, 7), datagramFunc(func(d *flow.Datagram) {
		fs[0].Close()
		if err := d.Reply(d.Data); err != net.ErrClosed {
			t.Errorf("reply: %v", err)
		}
	}))
	r.send(r.datagram(clientAddr4, serverAddr4, "ask").frame(t))
	r.silence()
	if err := fs[0].HandleDatagrams(datagramFunc(echoDatagram)); err != net.ErrClosed {
		t.Errorf("handler for a closed socket: %v", err)
	}
	// Now the port is refused.
	r.send(r.datagram(clientAddr4, serverAddr4, "ask").frame(t))
	r.await("port unreachable", func(pkt gopacket.Packet) bool {
		e, ok := pkt.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		return ok && e.TypeCode == layers.CreateICMPv4TypeCode(3, 3)
	})
}

// Sockets come and go while datagrams do.
func TestCloseUnderDatagrams(t *testing.T) {
	a, b := newCable(t, 2, 2)
	server, client := startStack(t, a, serverConfig()), startStack(t, b, clientConfig())
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !stop.Load(); i++ {
			f, err := client.Shard(i%2).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
			if err != nil {
				t.Error(err)
				return
			}
			for range 50 {
				f.WriteTo([]byte("ask"), netip.AddrPort{})
				f.ReadFrom(make([]byte, 10))
			}
			f.Close()
		}
	}()
	for i := range 200 {
		sh := server.Shard(i % 2)
		f, err := sh.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if i%4 < 2 {
			f.HandleDatagrams(datagramFunc(echoDatagram))
		} else {
			sig := newSignal()
			f.Notify(sig.notify)
			f.ReadFrom(make([]byte, 10))
		}
		runtime.Gosched()
		f.Close()
	}
	stop.Store(true)
	<-done
}
