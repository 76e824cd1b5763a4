//go:build linux && amd64

package asavie

import (
	"fmt"
	"testing"

	"shardnet/driver/internal/wiretest"
	"shardnet/driver/netlab"
)

// BenchmarkPingPong is that of driver/afxdp on the library's rings: see
// wiretest.PingPong.
func BenchmarkPingPong(b *testing.B) {
	ia, ib := netlab.Pair(b, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	for _, wait := range []string{"sleep", "spin"} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("queues=1/batch=%d/size=64/wait=%s", batch, wait), func(b *testing.B) {
				da, err := openIn(ia, Config{Addresses: addresses("198.18.0.1")})
				if err != nil {
					b.Fatal(err)
				}
				defer da.Close()
				db, err := openIn(ib, Config{Addresses: addresses("198.18.0.2")})
				if err != nil {
					b.Fatal(err)
				}
				wiretest.PingPong(b, da, db, batch, wait == "spin")
			})
		}
	}
}
