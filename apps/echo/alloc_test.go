//go:build !race

// The race detector allocates on its own account.

package echo

import (
	"io"
	"testing"

	"shardnet/test/apptest"
)

func TestAllocations(t *testing.T) {
	// What the stack itself allocates is not the app's: see package socketapi.
	rig := apptest.Kernel.Serve(t, NewServer(), ErrServerClosed)
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			c := rig.Dial(t, network)
			msg, got := make([]byte, 64), make([]byte, 64)
			// AllocsPerRun counts the whole process: the client allocates nothing.
			if n := testing.AllocsPerRun(500, func() {
				if _, err := c.Write(msg); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(c, got); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations a request", n)
			}
		})
	}
}
