package stack

import (
	"net"
	"testing"

	"github.com/google/gopacket/layers"
)

// TestOwner is the table of who owns a packet.
func TestOwner(t *testing.T) {
	const shards, arrival = 4, 2
	s, err := newSteering(shards, 32768, 60999)
	if err != nil {
		t.Fatal(err)
	}
	s.listen(protoTCP, 80)
	s.listen(protoTCP, 40000) // in the ephemeral range, and listening all the same
	s.listen(protoUDP, 53)
	s.pin(protoTCP, 5000, 3)
	lo3, _ := s.portRange(3)
	for _, c := range []struct {
		name  string
		frame []byte
		want  int
	}{
		{"TCP to a listening port", tcp4(t, 80, nil), arrival},
		{"TCP to a listening port in the ephemeral range", tcp4(t, 40000, nil), arrival},
		{"TCP to a pinned port", tcp4(t, 5000, nil), 3},
		{"TCP to an ephemeral port", tcp4(t, lo3, nil), 3},
		{"TCP to the first ephemeral port", tcp4(t, 32768, nil), 0},
		{"TCP to the last ephemeral port", tcp4(t, 60999, nil), 3},
		{"TCP to a port nobody has", tcp4(t, 81, nil), arrival},
		{"UDP to a listening port", udp4(t, 53), arrival},
		{"UDP over IPv6 to a listening port", udp6(t, 53), arrival},
		{"UDP to an ephemeral port", udp4(t, lo3), 3},
		{"UDP to TCP's listening port", udp4(t, 40000), 1},
		{"ARP request", arpFrame(t, layers.ARPRequest, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2}), arrival},
		{"ARP reply", arpFrame(t, layers.ARPReply, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2}), everyShard},
		{"gratuitous ARP", arpFrame(t, layers.ARPRequest, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 1}), everyShard},
		{"echo request", icmp4(t, 8), arrival},
		{"echo request over IPv6", icmp6(t, 128), arrival},
		{"destination unreachable", icmp4(t, 3), everyShard},
		{"time exceeded", icmp4(t, 11), everyShard},
		{"packet too big", icmp6(t, 2), everyShard},
		{"neighbor solicitation", icmp6(t, 135), arrival},
		{"neighbor advertisement", icmp6(t, 136), everyShard},
		{"router advertisement", icmp6(t, 134), everyShard},
		{"MLD query", icmp6(t, 130), everyShard},
		{"IGMP", serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolIGMP)), everyShard},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p packet
			if !p.parse(c.frame) {
				t.Fatal("parse refuses the frame")
			}
			if got := s.owner(&p, arrival); got != c.want {
				t.Errorf("owner is %d, want %d", got, c.want)
			}
		})
	}
}

func TestFragmentsOfOneDatagramMeet(t *testing.T) {
	s, err := newSteering(8, 32768, 60999)
	if err != nil {
		t.Fatal(err)
	}
	owners := map[int]int{}
	for id := range uint16(400) {
		owner := -1
		for piece := range uint16(4) {
			var p packet
			if !p.parse(fragment4(t, id, piece*3, piece < 3)) || !p.fragment {
				t.Fatal("fragment is not parsed as one")
			}
			o := s.owner(&p, int(piece))
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
		s, err := newSteering(shards, 32768, 60999)
		if err != nil {
			t.Fatal(err)
		}
		next := 32768
		for i := range shards {
			lo, hi := s.portRange(i)
			if int(lo) != next || hi < lo {
				t.Fatalf("%d shards: shard %d has %d-%d, want it to begin at %d", shards, i, lo, hi, next)
			}
			for _, port := range []uint16{lo, hi} {
				var p packet
				p.parse(tcp4(t, port, nil))
				if o := s.owner(&p, 0); o != i {
					t.Errorf("%d shards: port %d of shard %d is owned by %d", shards, port, i, o)
				}
			}
			next = int(hi) + 1
		}
		if next != 61000 {
			t.Errorf("%d shards: ranges end at %d", shards, next-1)
		}
	}
	if _, err := newSteering(4, 100, 101); err == nil {
		t.Error("two ports for four shards are accepted")
	}
}

func TestListeningIsCounted(t *testing.T) {
	s, _ := newSteering(2, 32768, 60999)
	var p packet
	p.parse(tcp4(t, 80, nil))
	for range 2 {
		s.listen(protoTCP, 80)
	}
	s.unlisten(protoTCP, 80)
	if s.table(protoTCP)[80].Load() != portListening {
		t.Error("one of two listeners closed, and the port is free")
	}
	s.unlisten(protoTCP, 80)
	if s.table(protoTCP)[80].Load() != portFree {
		t.Error("both listeners closed, and the port is still taken")
	}
	if s.pin(protoTCP, 60000, 1) || !s.pin(protoTCP, 80, 1) || !s.pin(protoTCP, 80, 1) {
		t.Error("pin does not tell a port that is the shard's own")
	}
	s.unpin(protoTCP, 80, 1)
	if o := s.owner(&p, 0); o != 1 {
		t.Errorf("port pinned twice and unpinned once is owned by %d", o)
	}
	s.listen(protoTCP, 80)
	if o := s.owner(&p, 0); o != 0 {
		t.Errorf("listening does not outweigh the pin: owner is %d", o)
	}
	s.unlisten(protoTCP, 80)
	if o := s.owner(&p, 0); o != 1 {
		t.Errorf("the pin did not outlive the listener: owner is %d", o)
	}
	s.unpin(protoTCP, 80, 1)
	if o := s.owner(&p, 0); o != 0 || len(s.uses) != 0 {
		t.Errorf("unpinned port is owned by %d, %d uses are left", o, len(s.uses))
	}
}

func TestSYNFilter(t *testing.T) {
	f := newSYNFilter()
	var a, b packet
	a.parse(tcp4(t, 80, nil))
	b.parse(tcp4(t, 80, func(h *layers.TCP) { h.SrcPort = 1235 }))
	if f.has(&a) {
		t.Error("empty filter has a flow")
	}
	f.add(&a)
	if !f.has(&a) || f.has(&b) {
		t.Error("filter does not tell flows apart")
	}
}

func TestHandoverRing(t *testing.T) {
	r := new(handover)
	frame := udp4(t, 53)
	for range 3 { // around the ring more than once
		for i := range handoverSlots {
			frame[0] = byte(i)
			if !r.push(frame, i%2 == 0) {
				t.Fatalf("ring of %d is full at %d", handoverSlots, i)
			}
		}
		if r.push(frame, true) {
			t.Fatal("full ring takes a frame")
		}
		for i := range handoverSlots {
			s := r.peek()
			if s == nil || s.frame[0] != byte(i) || s.verified != (i%2 == 0) || len(s.frame) != len(frame) {
				t.Fatalf("frame %d came out wrong", i)
			}
			r.pop()
		}
		if r.peek() != nil || !r.empty() {
			t.Fatal("empty ring gives a frame")
		}
	}
	if n := testing.AllocsPerRun(1000, func() { r.push(frame, true); r.peek(); r.pop() }); n != 0 {
		t.Errorf("%v allocations per frame handed over", n)
	}
}

func BenchmarkInputParseVerifySteer(b *testing.B) {
	s, _ := newSteering(2, 32768, 60999)
	s.listen(protoTCP, 80)
	frame := tcp4(b, 80, nil)
	for b.Loop() {
		var p packet
		if !p.parse(frame) || p.verify(false) != checksumGood || s.owner(&p, 0) != 0 {
			b.Fatal("frame refused")
		}
	}
}
