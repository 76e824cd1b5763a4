package stack

import (
	"hash/maphash"
	"net/netip"
	"testing"
)

// Neighbours have addresses in a row: they must not share slots more than by
// chance, whatever the seed.
func TestHopCacheSpreadsAddressesInARow(t *testing.T) {
	for _, first := range []string{"198.18.0.1", "2001:db8::1"} {
		for range 100 {
			c := &hopCache{seed: maphash.MakeSeed()}
			used := make(map[*hop]bool)
			a := netip.MustParseAddr(first)
			for range 64 {
				used[c.slot(a)] = true
				a = a.Next()
			}
			if len(used) < 50 { // 62 on average; fewer than 50 once in 10^9
				t.Fatalf("64 addresses from %v share %d slots", first, len(used))
			}
		}
	}
}
