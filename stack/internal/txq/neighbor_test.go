package txq

import (
	"net/netip"
	"testing"
)

// Neighbors have addresses in a row: they must not share slots more than by
// chance, whatever the seed.
func TestNeighborCacheSpreadsAddressesInARow(t *testing.T) {
	for _, first := range []string{"198.18.0.1", "2001:db8::1"} {
		lost := 0
		for range 100 {
			c := new(neighborCache)
			c.init()
			a := netip.MustParseAddr(first)
			var all []netip.Addr
			for range 64 {
				*c.slot(a) = Neighbor{dst: a, known: true, Expires: 2}
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
