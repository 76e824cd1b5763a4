package rss

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"shardnet/driver/wire"
)

// Microsoft, "Verifying the RSS hash calculation".
var microsoftSuite = []struct {
	dst, src     string
	addrs, ports uint32
}{
	{"161.142.100.80:1766", "66.9.149.187:2794", 0x323e8fc2, 0x51ccc178},
	{"65.69.140.83:4739", "199.92.111.2:14230", 0xd718262a, 0xc626b0ea},
	{"12.22.207.184:38024", "24.19.198.95:12898", 0xd2d0a5de, 0x5c2b394a},
	{"209.142.163.6:2217", "38.27.205.30:48228", 0x82989176, 0xafc7327f},
	{"202.188.127.2:1303", "153.39.163.191:44251", 0x5d1809c5, 0x10e828a2},
	{"[3ffe:2501:200:3::1]:1766", "[3ffe:2501:200:1fff::7]:2794", 0x2cc18cd5, 0x40207d3d},
	{"[ff02::1]:4739", "[3ffe:501:8::260:97ff:fe40:efab]:14230", 0x0f0c461c, 0xdde51bbf},
	{"[fe80::200:f8ff:fe21:67cf]:38024", "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251", 0x4b61e985, 0x02d1feef},
}

func hasher(t testing.TB, key []byte) *Hasher {
	t.Helper()
	h, err := NewHasher(key)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func input(src, dst netip.AddrPort, ports bool) []byte {
	b := append(src.Addr().AsSlice(), dst.Addr().AsSlice()...)
	if ports {
		b = binary.BigEndian.AppendUint16(b, src.Port())
		b = binary.BigEndian.AppendUint16(b, dst.Port())
	}
	return b
}

func TestMicrosoftSuite(t *testing.T) {
	h := hasher(t, MicrosoftKey())
	for _, v := range microsoftSuite {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		t.Run(v.src, func(t *testing.T) {
			check := func(what string, got, want uint32) {
				t.Helper()
				if got != want {
					t.Errorf("%s: %#08x, want %#08x", what, got, want)
				}
			}
			check("Toeplitz, addresses", Toeplitz(MicrosoftKey(), input(src, dst, false)), v.addrs)
			check("Toeplitz, ports", Toeplitz(MicrosoftKey(), input(src, dst, true)), v.ports)
			check("Hash, addresses", h.Hash(input(src, dst, false)), v.addrs)
			check("Hash, ports", h.Hash(input(src, dst, true)), v.ports)
			got, ok := h.HashAddrs(src.Addr(), dst.Addr())
			check("HashAddrs", got, v.addrs)
			if !ok {
				t.Error("HashAddrs is not ok")
			}
			got, ok = h.HashAddrPorts(src, dst)
			check("HashAddrPorts", got, v.ports)
			if !ok {
				t.Error("HashAddrPorts is not ok")
			}
			got, class := h.HashFrame(packet(src, dst, wire.ProtoTCP))
			check("HashFrame, TCP", got, v.ports)
			if class != Ports {
				t.Errorf("TCP frame classified as %v", class)
			}
			got, class = h.HashFrame(packet(src, dst, 1))
			check("HashFrame, ICMP", got, v.addrs)
			if class != Addresses {
				t.Errorf("ICMP frame classified as %v", class)
			}
		})
	}
}

func TestHasherEqualsReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		key := make([]byte, KeySize)
		for i := range key {
			key[i] = byte(rng.Uint32())
		}
		h := hasher(t, key)
		for n := range maxInput + 1 {
			in := make([]byte, n)
			for i := range in {
				in[i] = byte(rng.Uint32())
			}
			if got, want := h.Hash(in), Toeplitz(key, in); got != want {
				t.Fatalf("key %x input %x: %#x, want %#x", key, in, got, want)
			}
		}
	}
}

func TestMappedAddressesCountAsIPv4(t *testing.T) {
	h := hasher(t, MicrosoftKey())
	src, dst := netip.MustParseAddrPort("198.18.0.1:7"), netip.MustParseAddrPort("198.18.0.2:9")
	mapped := netip.AddrPortFrom(netip.AddrFrom16(src.Addr().As16()), src.Port())
	want, _ := h.HashAddrPorts(src, dst)
	if got, ok := h.HashAddrPorts(mapped, dst); !ok || got != want {
		t.Errorf("hash of %v is %#x (ok %v), want that of %v, %#x", mapped, got, ok, src, want)
	}
	if _, ok := h.HashAddrs(src.Addr(), netip.IPv6Loopback()); ok {
		t.Error("addresses of two families have a hash")
	}
	if _, ok := h.HashAddrPorts(netip.AddrPort{}, dst); ok {
		t.Error("an invalid address has a hash")
	}
}

func TestSymmetricKey(t *testing.T) {
	h := hasher(t, SymmetricKey())
	seen := make(map[uint32]bool)
	for i := range 256 {
		for _, pair := range [][2]string{{"198.18.0.1", "198.18.3.7"}, {"2001:db8::1", "2001:db8:5::77"}} {
			a := netip.AddrPortFrom(netip.MustParseAddr(pair[0]), uint16(1000+i))
			b := netip.AddrPortFrom(netip.MustParseAddr(pair[1]), 443)
			there, _ := h.HashAddrPorts(a, b)
			back, _ := h.HashAddrPorts(b, a)
			if there != back {
				t.Fatalf("%v to %v hashes to %#x, back to %#x", a, b, there, back)
			}
			seen[there] = true
		}
	}
	if len(seen) < 256 {
		t.Errorf("512 flows have only %d hashes", len(seen))
	}
	// The Microsoft key must not be symmetric, or this test shows nothing.
	h = hasher(t, MicrosoftKey())
	a, b := netip.MustParseAddrPort("198.18.0.1:1"), netip.MustParseAddrPort("198.18.0.2:2")
	there, _ := h.HashAddrPorts(a, b)
	if back, _ := h.HashAddrPorts(b, a); there == back {
		t.Error("Microsoft's key is symmetric")
	}
}

func TestNewHasherRejectsKeySize(t *testing.T) {
	for _, n := range []int{0, 39, 41, 52} {
		if _, err := NewHasher(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is accepted", n)
		}
		if _, err := New(make([]byte, n), []uint16{0}); err == nil {
			t.Errorf("New accepts a key of %d bytes", n)
		}
	}
}

func TestTable(t *testing.T) {
	for _, c := range []struct {
		size, queues int
		ok           bool
	}{
		{128, 1, true}, {128, 4, true}, {128, 3, true}, {1, 1, true},
		{0, 1, false}, {-1, 1, false}, {100, 4, false}, {128, 0, false}, {128, 1<<16 + 1, false},
	} {
		table, err := NewTable(c.size, c.queues)
		if (err == nil) != c.ok {
			t.Errorf("NewTable(%d, %d): %v, want ok %v", c.size, c.queues, err, c.ok)
		}
		if err != nil {
			continue
		}
		counts := make([]int, c.queues)
		for hash := range uint32(c.size) {
			q := table.QueueOf(hash)
			if again := table.QueueOf(hash + uint32(c.size)); again != q {
				t.Errorf("size %d: hash %d and %d lead to %d and %d", c.size, hash, hash+uint32(c.size), q, again)
			}
			counts[q]++
		}
		for q, n := range counts {
			if n < c.size/c.queues {
				t.Errorf("queue %d of %d has %d of %d entries", q, c.queues, n, c.size)
			}
		}
	}
	if err := (Table{0, 4}).Validate(4); err == nil {
		t.Error("a table that names queue 4 of 4 is valid")
	}
	if q := (Table)(nil).QueueOf(77); q != 0 {
		t.Errorf("a nil table leads to queue %d", q)
	}
}

func TestSteering(t *testing.T) {
	table, err := NewTable(DefaultTableSize, 4)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(MicrosoftKey(), table)
	if err != nil {
		t.Fatal(err)
	}
	want := append(Table(nil), table...)
	clear(table) // New has copied it
	for _, v := range microsoftSuite {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		q := int(want[v.ports%DefaultTableSize])
		if got := s.QueueOfFlow(src, dst); got != q {
			t.Errorf("flow %v to %v comes in on queue %d, want %d", src, dst, got, q)
		}
		if got := s.QueueOfFrame(packet(src, dst, wire.ProtoUDP)); got != q {
			t.Errorf("frame %v to %v comes in on queue %d, want %d", src, dst, got, q)
		}
	}
	if q := s.QueueOfFrame(nil); q != 0 {
		t.Errorf("an empty frame comes in on queue %d", q)
	}
	if _, err := New(MicrosoftKey(), make([]uint16, 3)); err == nil {
		t.Error("a table of 3 entries is accepted")
	}
}

func TestNoAllocations(t *testing.T) {
	s, err := New(MicrosoftKey(), make([]uint16, 128))
	if err != nil {
		t.Fatal(err)
	}
	v := microsoftSuite[6]
	src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
	frame := packet(src, dst, wire.ProtoTCP)
	if n := testing.AllocsPerRun(100, func() {
		s.QueueOfFlow(src, dst)
		s.QueueOfFrame(frame)
		s.Hasher().HashAddrs(src.Addr(), dst.Addr())
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sink uint32

func BenchmarkHash(b *testing.B) {
	h := hasher(b, MicrosoftKey())
	for _, v := range []struct{ name, src, dst string }{
		{"family=4", "198.18.0.1:1024", "198.18.0.2:11211"},
		{"family=6", "[2001:db8::1]:1024", "[2001:db8::2]:11211"},
	} {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		frame := packet(src, dst, wire.ProtoTCP)
		in := input(src, dst, true)
		b.Run("input=addrports/"+v.name, func(b *testing.B) {
			for b.Loop() {
				sink, _ = h.HashAddrPorts(src, dst)
			}
		})
		b.Run("input=frame/"+v.name, func(b *testing.B) {
			for b.Loop() {
				sink, _ = h.HashFrame(frame)
			}
		})
		b.Run("input=reference/"+v.name, func(b *testing.B) {
			for b.Loop() {
				sink = Toeplitz(MicrosoftKey(), in)
			}
		})
	}
}

func ExampleSteering_QueueOfFlow() {
	table, _ := NewTable(DefaultTableSize, 4)
	s, _ := New(MicrosoftKey(), table)
	remote := netip.MustParseAddrPort("66.9.149.187:2794")
	local := netip.MustParseAddrPort("161.142.100.80:1766")
	fmt.Println(s.QueueOfFlow(remote, local))
	// Output: 0
}
