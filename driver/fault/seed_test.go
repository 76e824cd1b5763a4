package fault

import (
	"bytes"
	"slices"
	"testing"

	"shardnet/driver/memnic"
)

// everything is a configuration with all faults that need no clock.
var everything = Config{Drop: 0.05, Corrupt: 0.05, Duplicate: 0.05, Reorder: 0.05, Seed: 42}

func TestSameSeedSameFaults(t *testing.T) {
	bothWays(t, everything, nil, func(t *testing.T, r *rig) {
		cfg := everything
		cfg.Dir = r.dir
		again := newRig(t, cfg, nil)
		again.dir = r.dir
		a, b := r.run(5000, 64), again.run(5000, 64)
		if !slices.EqualFunc(a, b, bytes.Equal) {
			t.Error("two runs with one seed differ")
		}
		cfg.Seed++
		other := newRig(t, cfg, nil)
		other.dir = r.dir
		if slices.EqualFunc(a, other.run(5000, 64), bytes.Equal) {
			t.Error("two runs with different seeds are the same")
		}
	})
}

// dropped is which of n frames are lost.
func dropped(out [][]byte, n int) []bool {
	lost := slices.Repeat([]bool{true}, n)
	for _, s := range seqs(out) {
		lost[s] = false
	}
	return lost
}

// TestFaultsAreIndependent holds that turning one fault on does not change which
// frames another hits.
func TestFaultsAreIndependent(t *testing.T) {
	const n = 5000
	only := newRig(t, Config{Drop: 0.05, Seed: 9, Dir: RX}, nil)
	want := dropped(only.run(n, 64), n)
	with := newRig(t, Config{Drop: 0.05, Duplicate: 0.5, Reorder: 0.1, Seed: 9, Dir: RX}, nil)
	out := with.run(n, 64)
	with.clock.advance(defaultHold)
	out = append(out, with.receive(with.near[0])...)
	if !slices.Equal(dropped(out, n), want) {
		t.Error("other frames are dropped once some are duplicated and reordered")
	}
}

// TestStreamsDiffer holds that queues and directions do not suffer in step.
func TestStreamsDiffer(t *testing.T) {
	const n = 4000
	cable := &memnic.Config{A: memnic.End{Queues: 2}, B: memnic.End{Queues: 2}}
	r := newRig(t, Config{Drop: 0.5, Seed: 0}, cable)
	var losses [][]bool
	for i := range r.near {
		lost := slices.Repeat([]bool{true}, n)
		for seq := range n {
			r.send(r.near[i], uint64(seq), 1, 64)
			for k := range r.far {
				for range r.receive(r.far[k]) {
					lost[seq] = false
				}
			}
		}
		losses = append(losses, lost)
	}
	same := uint64(0)
	for i := range n {
		if losses[0][i] == losses[1][i] {
			same++
		}
	}
	if !within(same, n, 0.5) {
		t.Errorf("two queues agree on %d of %d frames, want half", same, n)
	}
}
