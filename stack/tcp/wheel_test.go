package tcp

import (
	"math/rand/v2"
	"testing"
	"time"
)

// TestWheel holds that nodes fire at the first tick that is not too early, and
// that next tells of it, against a plain list of times.
func TestWheel(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 4))
		now := rng.Int64N(1 << 50)
		nodes := make([]wheelNode, 200)
		due := make([]int64, len(nodes))
		w := newWheel(now, func(ref uint32) *wheelNode { return &nodes[ref] })
		fire := func(ref uint32) {
			if due[ref] == 0 || due[ref] > now {
				t.Fatalf("node %d fires at %d, due at %d", ref, now, due[ref])
			}
			due[ref] = 0
			if rng.IntN(4) == 0 { // timers that arm themselves again
				due[ref] = now + rng.Int64N(1<<rng.IntN(40)+1)
				w.arm(ref, due[ref])
			}
		}
		for range 3000 {
			switch ref := uint32(1 + rng.IntN(len(nodes)-1)); rng.IntN(3) {
			case 0:
				at := now + rng.Int64N(1<<(10+rng.IntN(34)))
				if due[ref] == 0 || at < due[ref] {
					due[ref] = at
				}
				w.arm(ref, at)
			case 1:
				w.cancel(ref)
				due[ref] = 0
			case 2:
				now += rng.Int64N(1 << (10 + rng.IntN(32)))
				// Stops on the way, as a loop that sleeps until next would.
				for end := now; ; {
					tick, ok := w.next()
					if now = int64(tick) << tickLog2; !ok || now > end {
						now = end
						break
					}
					w.advance(now, fire)
				}
				w.advance(now, fire)
			}
			for ref, at := range due {
				if at != 0 && at+2*tickDuration < now && now-at < 1<<43 {
					t.Fatalf("node %d was due at %d, it is %d", ref, at, now)
				}
				if (at != 0) != (nodes[ref].slot != 0) {
					t.Fatalf("node %d: due at %d, in slot %d", ref, at, nodes[ref].slot)
				}
			}
		}
	}
}

// TestWheelLeavesEarlierNode: arming for later is left to the firing.
func TestWheelLeavesEarlierNode(t *testing.T) {
	nodes := make([]wheelNode, 2)
	w := newWheel(0, func(ref uint32) *wheelNode { return &nodes[ref] })
	w.arm(1, int64(time.Second))
	was := nodes[1]
	w.arm(1, int64(2*time.Second))
	if nodes[1] != was {
		t.Error("a node armed for later was moved")
	}
	w.arm(1, int64(time.Millisecond))
	if nodes[1] == was {
		t.Error("a node armed for earlier was not moved")
	}
	if _, ok := w.next(); !ok {
		t.Error("the wheel is empty")
	}
	w.cancel(1)
	if tick, ok := w.next(); ok {
		t.Errorf("the empty wheel has something at %d", tick)
	}
}
