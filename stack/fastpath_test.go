package stack_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// unplain are ways in which a segment reaches TCP by way of netstack's IP.
var unplain = []struct {
	name string
	v6   bool
	make func(t *testing.T, frame []byte) [][]byte
}{
	{"IP options", false, func(t *testing.T, b []byte) [][]byte {
		b = append(append(bytes.Clone(b[:34]), 1, 1, 1, 0), b[34:]...)
		b[14] = 0x46
		binary.BigEndian.PutUint16(b[16:], binary.BigEndian.Uint16(b[16:])+4)
		sumHeader(b)
		return [][]byte{b}
	}},
	{"fragments", false, fragments4},
	{"fragments, the last first", false, func(t *testing.T, b []byte) [][]byte {
		fs := fragments4(t, b)
		return [][]byte{fs[1], fs[0]}
	}},
	{"hop-by-hop options", true, func(t *testing.T, b []byte) [][]byte {
		return [][]byte{withExtension(b, 0, []byte{6, 0, 1, 4, 0, 0, 0, 0})}
	}},
	{"destination options", true, func(t *testing.T, b []byte) [][]byte {
		return [][]byte{withExtension(b, 60, []byte{6, 0, 1, 4, 0, 0, 0, 0})}
	}},
	{"atomic fragment", true, func(t *testing.T, b []byte) [][]byte {
		return [][]byte{withExtension(b, 44, []byte{6, 0, 0, 0, 0, 0, 0, 9})}
	}},
	{"fragments", true, func(t *testing.T, b []byte) [][]byte {
		const cut = 54 + 24
		first, second := bytes.Clone(b[:cut]), append(bytes.Clone(b[:54]), b[cut:]...)
		binary.BigEndian.PutUint16(first[18:], uint16(len(first)-54))
		binary.BigEndian.PutUint16(second[18:], uint16(len(second)-54))
		return [][]byte{
			withExtension(first, 44, []byte{6, 0, 0, 1, 0, 0, 0, 9}),
			withExtension(second, 44, []byte{6, 0, 0, 24, 0, 0, 0, 9}),
		}
	}},
}

// fragments4 cuts an IPv4 packet in two.
func fragments4(_ *testing.T, b []byte) [][]byte {
	const cut = 34 + 24
	first, second := bytes.Clone(b[:cut]), append(bytes.Clone(b[:34]), b[cut:]...)
	for i, f := range [][]byte{first, second} {
		binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
		binary.BigEndian.PutUint16(f[18:], 77)
		binary.BigEndian.PutUint16(f[20:], [...]uint16{0x2000, 24 / 8}[i])
		sumHeader(f)
	}
	return [][]byte{first, second}
}

// sumHeader sets the checksum of an IPv4 header, and no other.
func sumHeader(b []byte) {
	h := b[14 : 14+4*int(b[14]&15)]
	h[10], h[11] = 0, 0
	sum := uint32(0)
	for i := 0; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(h[10:], ^uint16(sum))
}

// A connection gets the segments that netstack's IP had to see first, among plain
// ones and in order with them; and a wrong checksum is found in them.
func TestSegmentsThatAreNotPlain(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		for _, c := range unplain {
			name := "IPv4/" + c.name
			if c.v6 {
				name = "IPv6/" + c.name
			}
			t.Run(name, func(t *testing.T) {
				p := connectSegments(t, tr, c.v6, 1460, func(sh *stack.Shard, f flow.Flow) {
					f.Serve(&echoTask{f: f, sh: sh, buf: make([]byte, 2048)})
				})
				ask := func(question string, as func(t *testing.T, frame []byte) [][]byte) {
					t.Helper()
					f := p.data([]byte(question))
					broken := bytes.Clone(f)
					broken[len(broken)-1] ^= 1
					if as != nil {
						p.batch(as(t, broken)...)
						p.batch(as(t, f)...)
					} else {
						p.batch(broken, f)
					}
					answer := ""
					for answer != question {
						s := tcpOf(p.await("the answer "+question, func(pkt gopacket.Packet) bool {
							s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
							return ok && s.Seq == p.ack && len(s.Payload) > 0
						}))
						if answer += string(s.Payload); len(answer) > len(question) {
							t.Fatalf("answer is %q", answer)
						}
						p.ack += uint32(len(s.Payload))
					}
				}
				ask("plain, and first", nil)
				for range 3 {
					ask("a question that is asked in a strange way", c.make)
					ask("a question that is asked as usual", nil)
				}
			})
		}
	})
}

// A handshake whose every packet is in fragments, and a segment of no connection in
// fragments, which is refused.
func TestHandshakeInFragments(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		r := newDatagramRigOn(t, tr, nil)
		l := listenOn(t, r.st.Shard(0), tr, 7)
		p := &segmentPeer{datagramRig: r, src: clientAddr4, dst: serverAddr4, seq: 1000}
		r.learn(p.src)
		syn := func(t *layers.TCP) {
			t.SYN, t.ACK = true, false
			t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop}}
		}
		p.batch(fragments4(t, p.frame(syn, nil))...)
		synAck := tcpOf(p.await("SYN-ACK", func(pkt gopacket.Packet) bool {
			s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return ok && s.SYN && s.ACK && s.Ack == 1001
		}))
		p.seq, p.ack = 1001, synAck.Seq+1
		p.batch(fragments4(t, p.data([]byte("the last of the handshake, and data")))...)
		c := accept(t, l)
		defer c.Abort()
		got := make([]byte, 100)
		if n, err := c.Read(got); string(got[:n]) != "the last of the handshake, and data" {
			t.Errorf("read %q, %v", got[:n], err)
		}
		p.ack = 77
		p.batch(fragments4(t, p.frame(func(t *layers.TCP) { t.SrcPort++ }, []byte("of nobody")))...)
		p.await("RST", func(pkt gopacket.Packet) bool {
			s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return ok && s.RST && s.Seq == 77 && s.DstPort == segmentPort+1
		})
	})
}

// icmp is an ICMP error that quotes frame, with the type and code of the frame's
// family, and rest its second word.
func (p *segmentPeer) icmp(frame []byte, typ, code uint8, rest uint32) []byte {
	quoted := bytes.Clone(frame[14:min(len(frame), 14+68)])
	word := binary.BigEndian.AppendUint32(nil, rest)
	if p.dst.Is4() {
		return frameOf(p.t, p.eth(layers.EthernetTypeIPv4),
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IP{198, 18, 0, 9}, DstIP: p.dst.AsSlice()},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(rest >> 16), Seq: uint16(rest)},
			gopacket.Payload(quoted))
	}
	return frameOf(p.t, p.eth(layers.EthernetTypeIPv6),
		&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: net.ParseIP("2001:db8::9"), DstIP: p.dst.AsSlice()},
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}, gopacket.Payload(append(word, quoted...)))
}

// icmpErrors are the types and codes of both families.
var icmpErrors = map[bool]struct{ tooBig, port, host [2]uint8 }{
	false: {[2]uint8{3, 4}, [2]uint8{3, 3}, [2]uint8{3, 1}},
	true:  {[2]uint8{2, 0}, [2]uint8{1, 4}, [2]uint8{1, 3}},
}

// ICMP errors end a dial if they quote what was sent, and only then. Netstack is not
// asked: it takes any quote of the ports for one (see ARCHITECTURE.md).
func TestICMPErrorsOfADial(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		fam := families[0]
		if v6 {
			fam = families[1]
		}
		t.Run(fam.name, func(t *testing.T) {
			r := newDatagramRigOn(t, flow.TransportFast, nil)
			p := &segmentPeer{datagramRig: r, src: fam.src, dst: fam.dst}
			r.learn(p.src)
			f, err := r.st.Shard(0).DialTCP(netip.AddrPort{}, netip.AddrPortFrom(p.src, 9), flow.SocketOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			syn := p.await("SYN", func(pkt gopacket.Packet) bool {
				s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && s.SYN
			}).Data()
			tcp := 14 + map[bool]int{false: 20, true: 40}[v6]
			forge := func(at int, by byte) []byte {
				b := bytes.Clone(syn)
				b[tcp+at] += by
				return b
			}
			e := icmpErrors[v6]
			p.batch(
				p.icmp(forge(7, 1), e.port[0], e.port[1], 0), // a sequence number not in flight
				p.icmp(forge(1, 1), e.port[0], e.port[1], 0), // another port of ours
				p.icmp(forge(3, 1), e.port[0], e.port[1], 0), // and of the peer's
				p.icmp(syn, e.tooBig[0], e.tooBig[1], 600),   // a SYN is never too big
				p.icmp(syn, e.host[0], e.host[1], 0),         // may pass: RFC 1122 section 4.2.3.9
				p.icmp(syn, 11, 0, 0),
			)
			for range 3 { // the errors go by way of the loop's next turn
				onLoop(r.st.Shard(0), func() {})
			}
			if err := f.ConnectError(); err != flow.ErrWouldBlock {
				t.Fatalf("after errors not to be believed: %v", err)
			}
			p.batch(p.icmp(syn, e.port[0], e.port[1], 0))
			testutil.Eventually(t, "the dial fails", func() bool { err = f.ConnectError(); return err != flow.ErrWouldBlock })
			if err != syscall.ECONNREFUSED {
				t.Errorf("dial failed with %v", err)
			}
		})
	}
}

// No ICMP error ends a connection that is established (RFC 5927 section 5.2), and a
// path MTU is believed only if it quotes what is in flight and is larger.
func TestICMPErrorsOfAConnection(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		fam := families[0]
		if v6 {
			fam = families[1]
		}
		t.Run(fam.name, func(t *testing.T) {
			var fl flow.Flow
			p := connectSegments(t, flow.TransportFast, v6, 1400, func(_ *stack.Shard, f flow.Flow) { fl = f })
			e := icmpErrors[v6]
			send := func(size int) []gopacket.Packet {
				t.Helper()
				if n, err := fl.Write(make([]byte, size)); n != size {
					t.Fatalf("wrote %d bytes, %v", n, err)
				}
				return p.segments()
			}
			// Between the reports and what they have changed, a probe may come again.
			longest := func(got []gopacket.Packet) (n int) {
				for _, pkt := range got {
					n = max(n, len(tcpOf(pkt).Payload))
				}
				return n
			}
			first := send(2800)
			if len(first) != 2 || longest(first) != 1400 {
				t.Fatalf("sent %v", first)
			}
			sent := first[0].Data()
			forged := bytes.Clone(sent)
			forged[len(forged)-1400-20+4] ^= 0x40 // the sequence number's first byte
			p.batch(
				p.icmp(forged, e.tooBig[0], e.tooBig[1], 1300),
				p.icmp(sent, e.tooBig[0], e.tooBig[1], 1500), // larger than what was sent
				p.icmp(sent, e.port[0], e.port[1], 0),
				p.icmp(sent, e.host[0], e.host[1], 0),
			)
			p.segments()
			p.ack += 2800
			p.batch(p.frame(nil, nil))
			if got := send(2800); longest(got) != 1400 {
				t.Fatalf("after errors not to be believed: %v", got)
			} else {
				sent = got[0].Data()
			}
			p.batch(p.icmp(sent, e.tooBig[0], e.tooBig[1], 1300))
			head := map[bool]int{false: 40, true: 60}[v6]
			again := p.segments()
			if longest(again) != 1300-head || tcpOf(again[0]).Seq != p.ack {
				t.Errorf("a path that takes 1300 bytes gets segments of %d at once: %v", longest(again), again)
			}
			p.ack += 2800
			p.batch(p.frame(nil, nil))
			if got := send(5000); longest(got) != 1300-head {
				t.Errorf("and then of %d", longest(got))
			}
			if _, err := fl.Read(make([]byte, 1)); err != flow.ErrWouldBlock {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// A SYN to a neighbour that is not known leaves as soon as it is.
func TestDialWaitsForItsNeighbour(t *testing.T) {
	bothFamilies(t, func(t *testing.T, tr flow.Transport, v6 bool) {
		r := newDatagramRigOn(t, tr, nil)
		to := clientAddr4
		if v6 {
			to = clientAddr6
		}
		onLoop(r.st.Shard(0), func() {})
		before := r.st.Stats().Queue.TxPackets
		f, err := r.st.Shard(0).DialTCP(netip.AddrPort{}, netip.AddrPortFrom(to, 9), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Abort()
		testutil.Eventually(t, "the neighbour is asked for", func() bool { return r.st.Stats().Queue.TxPackets > before })
		if err := f.ConnectError(); err != flow.ErrWouldBlock {
			t.Errorf("meanwhile: %v", err)
		}
		start := time.Now()
		syn := r.await("SYN", func(pkt gopacket.Packet) bool {
			s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return ok && s.SYN
		})
		// It would be sent again after a second.
		if took := time.Since(start); took > 700*time.Millisecond {
			t.Errorf("the SYN came %v after the neighbour was known", took)
		}
		if n := len(syn.TransportLayer().LayerPayload()); n != 0 {
			t.Errorf("the SYN has %d bytes of data", n)
		}
	})
}

// A dial to a neighbour that does not answer fails after the three seconds in which
// it was asked, as the kernel's does.
func TestDialWithoutNeighbour(t *testing.T) {
	a, b := newCable(t, 1, 1)
	client := startStack(t, a, serverConfig())
	t.Cleanup(func() { b.Close() }) // nobody answers
	start := time.Now()
	var dials []flow.Flow
	for _, to := range []string{"198.18.0.77:7", "[2001:db8::77]:7"} {
		for _, tr := range transports {
			for range 10 {
				f, err := client.Shard(0).DialTCP(netip.AddrPort{}, netip.MustParseAddrPort(to), flow.SocketOptions{Transport: tr})
				if err != nil {
					t.Fatal(err)
				}
				dials = append(dials, f)
			}
		}
	}
	for i, f := range dials {
		c := newConn(f)
		if err := f.ConnectError(); err == flow.ErrWouldBlock {
			if err := c.writable.wait(); err != nil {
				t.Errorf("dial %d: %v", i, err)
			}
		}
		if err := f.ConnectError(); err != syscall.EHOSTUNREACH {
			t.Errorf("dial %d to %v: %v, want EHOSTUNREACH", i, f.RemoteAddr(), err)
		}
		if _, err := c.Flow.Read(make([]byte, 1)); err == nil || err == flow.ErrWouldBlock {
			t.Errorf("read: %v", err)
		}
		f.Close()
	}
	if took := time.Since(start); took < 2*time.Second || took > 8*time.Second {
		t.Errorf("it took %v", took)
	}
}
