package tcp

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestFlowTable compares the table with a map, through growth, deletion and
// replacement.
func TestFlowTable(t *testing.T) {
	for _, mask := range []uint32{0xffffffff, 0xff, 0x3, 0xfffffff0} { // some hashes collide a lot
		rng := rand.New(rand.NewPCG(uint64(mask), 3))
		n := 5000
		if mask < 0x100 {
			n = 300
		}
		tuples := make([]Tuple, n+1)
		hash := make([]uint32, n+1)
		for i := 1; i <= n; i++ {
			a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
			tuples[i] = MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(a, uint16(i)))
			hash[i] = tuples[i].hash(&sipKey{1, 2}) & mask
		}
		const moved = 1 << 20
		tab := newFlowTable(func(ref uint32) *Tuple { return &tuples[ref&(moved-1)] })
		in := make(map[int]uint32)
		for range 20 * n {
			i := 1 + rng.IntN(n)
			ref, ok := in[i]
			switch op := rng.IntN(8); {
			case !ok && op < 5:
				tab.insert(hash[i], uint32(i))
				in[i] = uint32(i)
			case ok && op < 3:
				tab.remove(hash[i], ref)
				delete(in, i)
			case ok && op == 3:
				tab.replace(hash[i], ref, ref^moved)
				in[i] = ref ^ moved
			case op == 4:
				tab.migrate(1)
			}
			if got := tab.find(hash[i], &tuples[i]); got != in[i] {
				t.Fatalf("hashes masked by %x: found %d, want %d", mask, got, in[i])
			}
			if tab.n+tab.oldN != len(in) {
				t.Fatalf("%d and %d entries, want %d", tab.n, tab.oldN, len(in))
			}
		}
		for i := 1; i <= n; i++ {
			if got := tab.find(hash[i], &tuples[i]); got != in[i] {
				t.Fatalf("hashes masked by %x: found %d in the end, want %d", mask, got, in[i])
			}
		}
	}
}

// TestFlowTableGrowsInSteps: no insertion moves more than a few entries.
func TestFlowTableGrowsInSteps(t *testing.T) {
	var tuple Tuple
	tab := newFlowTable(func(uint32) *Tuple { return &tuple })
	for i := range uint32(100000) {
		before := tab.oldN
		tab.insert(i*2654435761, i+1)
		if grew := tab.oldN > before; !grew && before-tab.oldN > migrateStep {
			t.Fatalf("insertion %d moved %d entries", i, before-tab.oldN)
		} else if grew && before > migrateStep {
			t.Fatalf("insertion %d finished a growth of %d entries at once", i, before)
		}
	}
}

func TestHashKeepsTuplesApart(t *testing.T) {
	v6 := netip.MustParseAddr("2001:db8::1")
	base := MakeTuple(netip.AddrPortFrom(simAddr[0], 1), netip.AddrPortFrom(simAddr[1], 2))
	seen := map[uint32]Tuple{}
	for _, k := range []Tuple{
		base,
		MakeTuple(netip.AddrPortFrom(simAddr[0], 2), netip.AddrPortFrom(simAddr[1], 1)),
		MakeTuple(netip.AddrPortFrom(simAddr[1], 1), netip.AddrPortFrom(simAddr[0], 2)),
		MakeTuple(netip.AddrPortFrom(v6, 1), netip.AddrPortFrom(v6, 2)),
		MakeTuple(netip.AddrPortFrom(v6, 2), netip.AddrPortFrom(v6, 1)),
	} {
		h := k.hash(&sipKey{3, 4})
		if other, ok := seen[h]; ok {
			t.Errorf("%v and %v have the same hash", k, other)
		}
		if h == k.hash(&sipKey{3, 5}) {
			t.Errorf("%v: the hash does not depend on the key", k)
		}
		seen[h] = k
	}
	if got := base.LocalAddr(); got != netip.AddrPortFrom(simAddr[0], 1) || !base.Is4() {
		t.Errorf("the local address is %v", got)
	}
}

// TestSipHash compares with the reference implementation's vectors for SipHash-2-4. The
// words here carry no length byte, so the vector of 15 bytes is given its last word
// with the length in it, as the general function would.
func TestSipHash(t *testing.T) {
	k := sipKey{0x0706050403020100, 0x0f0e0d0c0b0a0908}
	for _, tc := range []struct {
		words []uint64
		want  uint64
	}{
		{[]uint64{0}, 0x726fdb47dd0e0e31},
		{[]uint64{0x0706050403020100, 15<<56 | 0x0e0d0c0b0a0908}, 0xa129ca6149be45e5},
	} {
		s := k.start()
		for _, w := range tc.words {
			s.round2(w)
		}
		if got := s.finish4(); got != tc.want {
			t.Errorf("%x hashes to %x, want %x", tc.words, got, tc.want)
		}
	}
}
