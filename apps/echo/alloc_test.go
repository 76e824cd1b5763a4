//go:build !race

// The race detector allocates on its own account.

package echo

import (
	"io"
	"testing"
)

func TestAllocations(t *testing.T) {
	_, tcp, udp := start(t, "127.0.0.1")
	for network, addr := range map[string]string{"tcp": tcp, "udp": udp} {
		t.Run(network, func(t *testing.T) {
			c := dial(t, network, addr)
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
