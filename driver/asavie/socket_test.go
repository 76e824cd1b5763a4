//go:build linux && amd64

package asavie

import (
	"errors"
	"testing"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"shardnet/driver/netlab"
)

var testSocketOptions = xdp.SocketOptions{
	NumFrames:              256,
	FrameSize:              2048,
	FillRingNumDescs:       64,
	CompletionRingNumDescs: 256,
	RxRingNumDescs:         64,
	TxRingNumDescs:         64,
}

// TestSocketRebind holds the remedy for the library's forgotten mappings: a
// queue can be bound again in the same process, and a bind that failed leaves
// nothing mapped.
func TestSocketRebind(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	err := a.Host.Do(func() error {
		rings, err := newRingMaps(testSocketOptions)
		if err != nil {
			return err
		}
		for round := range 20 {
			s, err := openSocket(a.Index, 0, unix.XDP_COPY, testSocketOptions, rings, time.Now().Add(5*time.Second))
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if n := countMaps(t, rings); n != 4 {
				t.Fatalf("round %d: %d rings mapped, want 4", round, n)
			}
			if _, err := tryOpenSocket(a.Index, 0, unix.XDP_COPY, testSocketOptions, rings); !errors.Is(err, unix.EBUSY) {
				t.Fatalf("round %d: second bind gives %v, want EBUSY", round, err)
			}
			if n := countMaps(t, rings); n != 4 {
				t.Fatalf("round %d: %d rings mapped after a failed bind, want 4", round, n)
			}
			keep := round%2 == 0
			if err := s.close(keep); err != nil {
				t.Fatalf("round %d: close: %v", round, err)
			}
			if keep {
				s.umem[0]++ // lent frames stay readable
			}
			if n := countMaps(t, rings); n != 0 {
				t.Fatalf("round %d: %d rings mapped after Close, want 0", round, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func countMaps(t *testing.T, rings ringMaps) int {
	t.Helper()
	maps, err := rings.find()
	if err != nil {
		t.Fatal(err)
	}
	return len(maps)
}
