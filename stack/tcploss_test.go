package stack_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// Many connections over two shards, over a cable that loses, repeats and reorders,
// get every byte through, in order, both ways.
func TestStreamsSurviveLoss(t *testing.T) { onTransports(t, testStreamsSurviveLoss) }

func testStreamsSurviveLoss(t *testing.T, tr flow.Transport) {
	a, b := newCable(t, 2, 2)
	lossy, err := fault.Wrap(a, fault.Config{Seed: 7, Drop: 0.005, Duplicate: 0.005, Reorder: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	server := startStack(t, lossy, serverConfigOn(tr))
	client := startStack(t, b, clientConfigOn(tr))
	startEcho(t, server, 7)
	conns, size := 24, 512<<10
	if testutil.RaceEnabled {
		size = 128 << 10
	}
	var wg sync.WaitGroup
	for i := range conns {
		addr := []netip.Addr{serverAddr4, serverAddr6}[i%2]
		wg.Go(func() {
			if err := hashedEcho(client.Shard(i/2%2), netip.AddrPortFrom(addr, 7), size, byte(i)); err != nil {
				t.Errorf("connection %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	var lost uint64
	for i := range 2 {
		rx, tx := lossy.Counts(i)
		lost += rx.Dropped + tx.Dropped
	}
	s, c := server.Stats(), client.Stats()
	if lost == 0 || s.Retransmits+c.Retransmits == 0 || tr == flow.TransportNetstack && s.Merged == 0 {
		t.Errorf("%d frames were lost, %d and %d segments sent again, %d merged: nothing was put to the test", lost, s.Retransmits, c.Retransmits, s.Merged)
	}
}

// hashedEcho sends size random bytes and compares the hash of what comes back.
func hashedEcho(sh *stack.Shard, to netip.AddrPort, size int, seed byte) error {
	c, err := dial(sh, to)
	if err != nil {
		return err
	}
	defer c.Close()
	sent := make(chan [sha256.Size]byte, 1)
	failed := make(chan error, 1)
	go func() {
		rng, sum := rand.NewChaCha8([32]byte{seed}), sha256.New()
		for left := size; left > 0; {
			b := make([]byte, min(left, 1+int(rng.Uint64()%30000)))
			rng.Read(b)
			sum.Write(b)
			if err := writeAll(c, b); err != nil {
				failed <- err
				return
			}
			left -= len(b)
		}
		sent <- [sha256.Size]byte(sum.Sum(nil))
	}()
	sum := sha256.New()
	if n, err := io.CopyN(sum, c, int64(size)); err != nil {
		return fmt.Errorf("read %d of %d bytes: %w", n, size, err)
	}
	select {
	case want := <-sent:
		if want != [sha256.Size]byte(sum.Sum(nil)) {
			return fmt.Errorf("what came back differs from what was sent")
		}
		return nil
	case err := <-failed:
		return err
	}
}

// writeAll writes b. The reader has c's notices, so this one yields while there is
// no room.
func writeAll(c *conn, b []byte) error {
	deadline := time.Now().Add(testTimeout)
	for len(b) > 0 {
		n, err := c.Flow.Write(b)
		if b = b[n:]; err != nil && err != flow.ErrWouldBlock {
			return fmt.Errorf("write: %w", err)
		}
		if n == 0 {
			if time.Now().After(deadline) {
				return fmt.Errorf("no room for %d bytes", len(b))
			}
			runtime.Gosched()
		} else {
			deadline = time.Now().Add(testTimeout)
		}
	}
	return nil
}
