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
		lost := 0
		for range 100 {
			c := &hopCache{seed: maphash.MakeSeed()}
			a := netip.MustParseAddr(first)
			var all []netip.Addr
			for range 64 {
				*c.slot(a) = hop{dst: a, known: true, expires: 2}
				all, a = append(all, a), a.Next()
			}
			for _, a := range all { // five in a set: once in 10^6 tables
				if c.get(a, 1) == nil {
					lost++
				}
			}
		}
		if lost > 1 {
			t.Errorf("of 100 times 64 addresses from %v, %d were forgotten", first, lost)
		}
	}
}
