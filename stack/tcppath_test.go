package stack_test

import (
	"bytes"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// A segment from or to what is no host is not answered, as the way round netstack's
// IP is for hosts alone.
func TestSegmentsOfNoHost(t *testing.T) { onTransports(t, testSegmentsOfNoHost) }

func testSegmentsOfNoHost(t *testing.T, tr flow.Transport) {
	p := connectSegments(t, tr, false, 1460, func(*stack.Shard, flow.Flow) {})
	broadcast := net.HardwareAddr{255, 255, 255, 255, 255, 255}
	for _, c := range []struct {
		name     string
		src, dst net.IP
		mac      net.HardwareAddr
	}{
		{"to the subnet's broadcast", clientAddr4.AsSlice(), net.IP{198, 18, 0, 255}, broadcast},
		{"to the subnet's broadcast, in a frame to us", clientAddr4.AsSlice(), net.IP{198, 18, 0, 255}, nil},
		{"to 255.255.255.255", clientAddr4.AsSlice(), net.IP{255, 255, 255, 255}, broadcast},
		{"to a group", clientAddr4.AsSlice(), net.IP{224, 0, 0, 1}, net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}},
		{"to another host", clientAddr4.AsSlice(), net.IP{198, 18, 0, 77}, nil},
		{"from the subnet's broadcast", net.IP{198, 18, 0, 255}, serverAddr4.AsSlice(), nil},
		{"from 255.255.255.255", net.IP{255, 255, 255, 255}, serverAddr4.AsSlice(), nil},
		{"from a group", net.IP{224, 0, 0, 1}, serverAddr4.AsSlice(), nil},
		{"from loopback", net.IP{127, 0, 0, 1}, serverAddr4.AsSlice(), nil},
		{"from nobody", net.IP{0, 0, 0, 0}, serverAddr4.AsSlice(), nil},
		{"from ourselves", serverAddr4.AsSlice(), serverAddr4.AsSlice(), nil},
	} {
		for _, syn := range []bool{true, false} {
			e := p.eth(layers.EthernetTypeIPv4)
			if c.mac != nil {
				e.DstMAC = c.mac
			}
			p.batch(frameOf(t, e, &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: c.src, DstIP: c.dst},
				&layers.TCP{SrcPort: 999, DstPort: 7, Seq: 1, SYN: syn, ACK: !syn, Window: 1000}))
			if got := p.segments(); len(got) > 0 {
				t.Errorf("%s, SYN %v: answered by %v", c.name, syn, got)
			}
		}
	}
}

// A connection follows a neighbour whose MAC address changes.
func TestConnectionFollowsItsNeighbour(t *testing.T) {
	bothFamilies(t, func(t *testing.T, tr flow.Transport, v6 bool) {
		p := connectSegments(t, tr, v6, 1460, func(sh *stack.Shard, f flow.Flow) {
			f.Serve(&echoTask{f: f, sh: sh, buf: make([]byte, 2048)})
		})
		ask := func(want net.HardwareAddr) {
			t.Helper()
			p.batch(p.data([]byte("where am I?")))
			answer := p.await("answer", func(pkt gopacket.Packet) bool {
				s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && s.Seq == p.ack && string(s.Payload) == "where am I?"
			})
			p.ack += uint32(len(tcpOf(answer).Payload))
			if to := answer.LinkLayer().(*layers.Ethernet).DstMAC; !bytes.Equal(to, want) {
				t.Fatalf("the answer went to %v, want %v", to, want)
			}
		}
		ask(p.mac)
		p.mac = net.HardwareAddr{2, 9, 9, 9, 9, 9}
		if v6 {
			p.batch(p.neighbourAdvertisement(p.src.AsSlice(), p.dst.AsSlice(), p.mac, 0x20)) // override
		} else {
			request := make([]byte, 42)
			copy(request[6:12], p.to)
			copy(request[22:28], p.to)
			copy(request[28:32], p.dst.AsSlice())
			copy(request[38:42], p.src.AsSlice())
			p.batch(p.arpReply(request))
		}
		ask(p.mac)
	})
}

// After an ICMP error that says that the path takes less, segments are as long as
// that, those sent again and those that are cut from one packet.
func TestPathMTUOfSegments(t *testing.T) { onTransports(t, testPathMTUOfSegments) }

func testPathMTUOfSegments(t *testing.T, tr flow.Transport) {
	want := make([]byte, 200_000)
	rng := rand.NewChaCha8([32]byte{4})
	rng.Read(want)
	var fl flow.Flow
	p := connectSegments(t, tr, false, 1460, func(_ *stack.Shard, f flow.Flow) { fl = f })
	fl.Serve(&writeTask{fl, want})
	first := p.segments()
	if len(first) == 0 || len(tcpOf(first[0]).Payload) < 1000 {
		t.Fatalf("sent at first: %v", first)
	}
	const mtu = 600
	original := first[0].Data()[14 : 14+28]
	p.batch(frameOf(t, p.eth(layers.EthernetTypeIPv4),
		&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: net.IP{198, 18, 0, 9}, DstIP: p.dst.AsSlice()},
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: mtu},
		gopacket.Payload(original)))
	full := 0
	got := p.receiveAll(len(want), func(pkt gopacket.Packet, s *layers.TCP) {
		n := len(pkt.NetworkLayer().LayerContents()) + len(pkt.NetworkLayer().LayerPayload())
		if n > mtu {
			t.Fatalf("a packet of %d bytes on a path that takes %d", n, mtu)
		}
		if n > mtu-60 {
			full++
		}
	})
	if !bytes.Equal(got, want) {
		t.Error("what came differs from what was written")
	}
	if full < len(want)/mtu*8/10 {
		t.Errorf("only %d segments were as long as the path takes", full)
	}
}
