package steer

import (
	"net"
	"testing"

	"github.com/google/gopacket/layers"

	"shardnet/driver/wire"
	"shardnet/stack/internal/frametest"
)

// TestOwner is the table of who owns a packet.
func TestOwner(t *testing.T) {
	const shards, arrival = 4, 2
	s, err := New(shards, 32768, 60999, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Listen(wire.ProtoTCP, 80)
	s.Listen(wire.ProtoTCP, 40000) // in the ephemeral range, and listening all the same
	s.Listen(wire.ProtoUDP, 53)
	s.Pin(wire.ProtoTCP, 5000, 3)
	lo3, _ := s.PortRange(3)
	for _, c := range []struct {
		name  string
		frame []byte
		want  int
	}{
		{"TCP to a listening port", frametest.TCP4(t, 80, nil), arrival},
		{"TCP to a listening port in the ephemeral range", frametest.TCP4(t, 40000, nil), arrival},
		{"TCP to a pinned port", frametest.TCP4(t, 5000, nil), 3},
		{"TCP to an ephemeral port", frametest.TCP4(t, lo3, nil), 3},
		{"TCP to the first ephemeral port", frametest.TCP4(t, 32768, nil), 0},
		{"TCP to the last ephemeral port", frametest.TCP4(t, 60999, nil), 3},
		{"TCP to a port nobody has", frametest.TCP4(t, 81, nil), arrival},
		{"UDP to a listening port", frametest.UDP4(t, 53), arrival},
		{"UDP over IPv6 to a listening port", frametest.UDP6(t, 53), arrival},
		{"UDP to an ephemeral port", frametest.UDP4(t, lo3), 3},
		{"UDP to TCP's listening port", frametest.UDP4(t, 40000), 1},
		{"ARP request", frametest.ARP(t, layers.ARPRequest, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2}), arrival},
		{"ARP reply", frametest.ARP(t, layers.ARPReply, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2}), EveryShard},
		{"gratuitous ARP", frametest.ARP(t, layers.ARPRequest, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 1}), EveryShard},
		{"echo request", frametest.ICMP4(t, 8), arrival},
		{"echo request over IPv6", frametest.ICMP6(t, 128), arrival},
		{"destination unreachable", frametest.ICMP4(t, 3), EveryShard},
		{"time exceeded", frametest.ICMP4(t, 11), EveryShard},
		{"packet too big", frametest.ICMP6(t, 2), EveryShard},
		{"neighbor solicitation", frametest.ICMP6(t, 135), arrival},
		{"neighbor advertisement", frametest.ICMP6(t, 136), EveryShard},
		{"router advertisement", frametest.ICMP6(t, 134), EveryShard},
		{"MLD query", frametest.ICMP6(t, 130), EveryShard},
		{"IGMP", frametest.Serialize(t, frametest.Ethernet(layers.EthernetTypeIPv4), frametest.IPv4(layers.IPProtocolIGMP)), EveryShard},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p wire.Packet
			if !p.Parse(c.frame) {
				t.Fatal("Parse refuses the frame")
			}
			if got := s.Owner(&p, arrival); got != c.want {
				t.Errorf("owner is %d, want %d", got, c.want)
			}
		})
	}
}

func TestFragmentsOfOneDatagramMeet(t *testing.T) {
	s, err := New(8, 32768, 60999, nil)
	if err != nil {
		t.Fatal(err)
	}
	owners := map[int]int{}
	for id := range uint16(400) {
		owner := -1
		for piece := range uint16(4) {
			var p wire.Packet
			if !p.Parse(frametest.Fragment4(t, id, piece*3, piece < 3)) || !p.Fragment {
				t.Fatal("fragment is not parsed as one")
			}
			o := s.Owner(&p, int(piece))
			if piece > 0 && o != owner {
				t.Fatalf("fragments of datagram %d go to shards %d and %d", id, owner, o)
			}
			owner = o
		}
		owners[owner]++
	}
	for i := range 8 {
		if owners[i] < 20 {
			t.Errorf("shard %d owns %d of 400 datagrams: %v", i, owners[i], owners)
		}
	}
}

func TestPortRangesPartitionTheEphemeralRange(t *testing.T) {
	for _, shards := range []int{1, 2, 3, 7, 64} {
		s, err := New(shards, 32768, 60999, nil)
		if err != nil {
			t.Fatal(err)
		}
		next := 32768
		for i := range shards {
			lo, hi := s.PortRange(i)
			if int(lo) != next || hi < lo {
				t.Fatalf("%d shards: shard %d has %d-%d, want it to begin at %d", shards, i, lo, hi, next)
			}
			for _, port := range []uint16{lo, hi} {
				var p wire.Packet
				p.Parse(frametest.TCP4(t, port, nil))
				if o := s.Owner(&p, 0); o != i {
					t.Errorf("%d shards: port %d of shard %d is owned by %d", shards, port, i, o)
				}
			}
			next = int(hi) + 1
		}
		if next != 61000 {
			t.Errorf("%d shards: ranges end at %d", shards, next-1)
		}
	}
	if _, err := New(4, 100, 101, nil); err == nil {
		t.Error("two ports for four shards are accepted")
	}
}

func TestListeningIsCounted(t *testing.T) {
	s, _ := New(2, 32768, 60999, nil)
	var p wire.Packet
	p.Parse(frametest.TCP4(t, 80, nil))
	for range 2 {
		s.Listen(wire.ProtoTCP, 80)
	}
	s.Unlisten(wire.ProtoTCP, 80)
	if s.table(wire.ProtoTCP)[80].Load() != portListening {
		t.Error("one of two listeners closed, and the port is free")
	}
	s.Unlisten(wire.ProtoTCP, 80)
	if s.table(wire.ProtoTCP)[80].Load() != portFree {
		t.Error("both listeners closed, and the port is still taken")
	}
	if s.Pin(wire.ProtoTCP, 60000, 1) || !s.Pin(wire.ProtoTCP, 80, 1) || !s.Pin(wire.ProtoTCP, 80, 1) {
		t.Error("pin does not tell a port that is the shard's own")
	}
	s.Unpin(wire.ProtoTCP, 80, 1)
	if o := s.Owner(&p, 0); o != 1 {
		t.Errorf("port pinned twice and unpinned once is owned by %d", o)
	}
	s.Listen(wire.ProtoTCP, 80)
	if o := s.Owner(&p, 0); o != 0 {
		t.Errorf("listening does not outweigh the pin: owner is %d", o)
	}
	s.Unlisten(wire.ProtoTCP, 80)
	if o := s.Owner(&p, 0); o != 1 {
		t.Errorf("the pin did not outlive the listener: owner is %d", o)
	}
	s.Unpin(wire.ProtoTCP, 80, 1)
	if o := s.Owner(&p, 0); o != 0 || len(s.uses) != 0 {
		t.Errorf("unpinned port is owned by %d, %d uses are left", o, len(s.uses))
	}
}

func TestSYNFilter(t *testing.T) {
	f := NewSYNFilter()
	var a, b wire.Packet
	a.Parse(frametest.TCP4(t, 80, nil))
	b.Parse(frametest.TCP4(t, 80, func(h *layers.TCP) { h.SrcPort = 1235 }))
	if f.Has(&a) {
		t.Error("empty filter has a flow")
	}
	f.Add(&a)
	if !f.Has(&a) || f.Has(&b) {
		t.Error("filter does not tell flows apart")
	}
}

func BenchmarkInputParseVerifySteer(b *testing.B) {
	s, _ := New(2, 32768, 60999, nil)
	s.Listen(wire.ProtoTCP, 80)
	frame := frametest.TCP4(b, 80, nil)
	for b.Loop() {
		var p wire.Packet
		if !p.Parse(frame) || p.Verify(false) != wire.ChecksumGood || s.Owner(&p, 0) != 0 {
			b.Fatal("frame refused")
		}
	}
}

func FuzzOwner(f *testing.F) {
	for _, frame := range [][]byte{frametest.TCP4(f, 80, nil), frametest.UDP4(f, 53), frametest.UDP6(f, 53), frametest.ICMP4(f, 8), frametest.ICMP6(f, 135), frametest.Fragment4(f, 1, 3, true)} {
		f.Add(frame)
	}
	s, err := New(4, 32768, 60999, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var p wire.Packet
		if !p.Parse(frame) {
			return
		}
		p.Verify(true)
		if o := s.Owner(&p, 2); o < EveryShard || o >= 4 {
			t.Fatalf("owner is %d", o)
		}
	})
}
