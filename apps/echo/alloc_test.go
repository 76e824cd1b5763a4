//go:build !race

// The race detector allocates on its own account.

package echo

import (
	"fmt"
	"io"
	"testing"

	"shardnet/test/apptest"
)

// TestAllocations counts those of the whole process: the app, its client, and on the
// shards' own TCP both stacks as well. What netstack allocates is not counted.
func TestAllocations(t *testing.T) {
	for _, c := range []struct {
		api      apptest.API
		networks []string
	}{
		{apptest.Kernel, []string{"tcp", "udp"}},
		{apptest.FastConn, []string{"tcp"}},
		{apptest.FastHandler, []string{"tcp"}},
	} {
		rig := c.api.Serve(t, NewServer(), ErrServerClosed)
		for _, network := range c.networks {
			for _, size := range []int{64, 4000} {
				t.Run(fmt.Sprintf("%s/%s/size=%d", c.api, network, size), func(t *testing.T) {
					conn := rig.Dial(t, network)
					msg, got := make([]byte, size), make([]byte, size)
					ask := func() {
						if _, err := conn.Write(msg); err != nil {
							t.Fatal(err)
						}
						if _, err := io.ReadFull(conn, got); err != nil {
							t.Fatal(err)
						}
					}
					for range 200 { // until pools, buffers and windows are there
						ask()
					}
					if n := testing.AllocsPerRun(500, ask); n != 0 {
						t.Errorf("%v allocations a request", n)
					}
				})
			}
		}
	}
}
