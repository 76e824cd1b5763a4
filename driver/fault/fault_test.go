package fault

import (
	"bytes"
	"math"
	"math/bits"
	"slices"
	"testing"
	"time"

	"shardnet/driver/memnic"
)

// within says whether a count of n trials of probability p is within five standard
// deviations of what to expect: with a fixed seed it always or never is.
func within(count, n uint64, p float64) bool {
	mean := float64(n) * p
	return math.Abs(float64(count)-mean) <= 5*math.Sqrt(mean*(1-p))
}

func TestNoFaults(t *testing.T) {
	r := newRig(t, Config{Seed: 5}, nil)
	for _, dir := range []Direction{RX, TX} {
		r.dir = dir
		out := r.run(1000, 64)
		if len(out) != 1000 {
			t.Fatalf("%v: %d of 1000 frames came out", dir, len(out))
		}
		for i, f := range out {
			if !bytes.Equal(f, frameBytes(uint64(i), 64)) {
				t.Fatalf("%v: frame %d changed or moved: %x", dir, i, f)
			}
		}
	}
	if rx, tx := r.dev.Counts(0); rx != (Counts{}) || tx != (Counts{}) {
		t.Errorf("counts are %+v and %+v, want none", rx, tx)
	}
}

func TestDrop(t *testing.T) {
	const n = 20_000
	bothWays(t, Config{Drop: 0.1, Seed: 1}, nil, func(t *testing.T, r *rig) {
		out := r.run(n, 64)
		c := r.counts(len(out))
		if c.Frames != n || !within(c.Dropped, n, 0.1) {
			t.Errorf("%d of %d frames dropped, want 10%%", c.Dropped, c.Frames)
		}
		got := seqs(out)
		if !slices.IsSorted(got) || len(slices.Compact(got)) != len(out) {
			t.Error("frames that were not dropped are out of order")
		}
		// Losses are independent: as many pairs in a row as chance gives.
		var pairs uint64
		for i := 1; i < len(got); i++ {
			if got[i]-got[i-1] >= 3 {
				pairs += got[i] - got[i-1] - 2
			}
		}
		if !within(pairs, n, 0.01) {
			t.Errorf("%d times two drops in a row in %d frames, want 1%%", pairs, n)
		}
	})
}

func TestDropAllAndNothing(t *testing.T) {
	bothWays(t, Config{Drop: 1}, nil, func(t *testing.T, r *rig) {
		if out := r.run(500, 64); len(out) != 0 {
			t.Errorf("%d frames came out at drop=100%%", len(out))
		}
		r.counts(0)
	})
}

func TestCorrupt(t *testing.T) {
	const n, size = 20_000, 100
	bothWays(t, Config{Corrupt: 0.2, Seed: 2}, nil, func(t *testing.T, r *rig) {
		out := r.run(n, size)
		var corrupted uint64
		var at [4]uint64 // by quarter of the frame
		for i, f := range out {
			want := frameBytes(uint64(i), size)
			flipped := 0
			for k := range f {
				if d := f[k] ^ want[k]; d != 0 {
					flipped += bits.OnesCount8(d)
					at[k*4/size]++
				}
			}
			switch flipped {
			case 0:
			case 1:
				corrupted++
			default:
				t.Fatalf("frame %d has %d bits flipped", i, flipped)
			}
		}
		c := r.counts(len(out))
		if len(out) != n || c.Corrupted != corrupted || !within(corrupted, n, 0.2) {
			t.Errorf("%d of %d frames corrupted, counted %d, want 20%%", corrupted, len(out), c.Corrupted)
		}
		for i, k := range at {
			if !within(k, corrupted, 0.25) {
				t.Errorf("quarter %d of the frames has %d of %d flipped bits", i, k, corrupted)
			}
		}
	})
}

func TestDuplicate(t *testing.T) {
	const n = 20_000
	bothWays(t, Config{Duplicate: 0.1, Seed: 3}, nil, func(t *testing.T, r *rig) {
		out := r.run(n, 80)
		c := r.counts(len(out))
		if !within(c.Duplicated, n, 0.1) || uint64(len(out)) != n+c.Duplicated || c.DuplicateShort != 0 {
			t.Errorf("%d frames came out of %d, %+v, want 10%% more", len(out), n, c)
		}
		for i, f := range out {
			if !bytes.Equal(f, frameBytes(seqOf(f), 80)) {
				t.Fatalf("frame %d changed: %x", i, f)
			}
		}
		got := seqs(out)
		if !slices.IsSorted(got) {
			t.Error("a duplicate does not follow its original")
		}
		if len(slices.Compact(got)) != n {
			t.Error("an original is missing")
		}
	})
}

func TestReorder(t *testing.T) {
	const n, distance = 20_000, 4
	bothWays(t, Config{Reorder: 0.05, Distance: distance, Seed: 4}, nil, func(t *testing.T, r *rig) {
		out := r.run(n, 64)
		r.clock.advance(defaultHold) // what nobody will overtake any more
		out = append(out, r.run(0, 64)...)
		if r.dir == TX {
			r.near[0].Flush()
			out = append(out, r.receive(r.far[0])...)
		} else {
			out = append(out, r.receive(r.near[0])...)
		}
		c := r.counts(len(out))
		if !within(c.Reordered, n, 0.05) || len(out) != n {
			t.Errorf("%d frames came out of %d, %d reordered, want all and 5%%", len(out), n, c.Reordered)
		}
		// A reordered frame comes right after the fourth later frame that was
		// on time, or at the end.
		got := seqs(out)
		var late uint64
		highest := int64(-1)
		for i, s := range got {
			if int64(s) > highest {
				highest = int64(s)
				continue
			}
			late++
			overtaken, top := 0, int64(-1)
			for _, before := range got[:i] {
				if before > s && int64(before) > top {
					overtaken++
					top = int64(before)
				}
			}
			if overtaken != distance && i < n-distance {
				t.Fatalf("frame %d was overtaken by %d frames, want %d", s, overtaken, distance)
			}
			if late > 200 { // enough of a quadratic look
				break
			}
		}
		if late == 0 {
			t.Error("nothing is out of order")
		}
	})
}

func TestReorderedFrameDoesNotWaitForever(t *testing.T) {
	bothWays(t, Config{Reorder: 1, Hold: 5 * time.Millisecond}, nil, func(t *testing.T, r *rig) {
		if out := r.run(3, 64); len(out) != 0 {
			t.Fatalf("%d frames came out at once", len(out))
		}
		if c := r.counts(0); c.Held != 3 {
			t.Errorf("%d frames held, want 3", c.Held)
		}
		r.clock.at(5*time.Millisecond - 1)
		if out := r.outNow(); len(out) != 0 {
			t.Fatalf("%d frames came out before the hold time", len(out))
		}
		r.clock.at(5 * time.Millisecond)
		out := r.outNow()
		if got := seqs(out); !slices.Equal(got, []uint64{0, 1, 2}) {
			t.Errorf("after the hold time frames %v came out, want 0 1 2", got)
		}
		r.counts(len(out))
	})
}

// outNow is what comes out at the time of the clock with no new frames, when the
// faulty side does no more than to look for received ones.
func (r *rig) outNow() [][]byte {
	r.t.Helper()
	got := r.receive(r.near[0])
	if r.dir == TX {
		got = r.receive(r.far[0])
	}
	return got
}

func TestDelay(t *testing.T) {
	const delay = 5 * time.Millisecond
	bothWays(t, Config{Delay: delay}, nil, func(t *testing.T, r *rig) {
		out := r.run(10, 64)
		r.clock.at(time.Millisecond)
		out = append(out, r.run(5, 64)...)
		r.clock.at(delay - 1)
		if out = append(out, r.outNow()...); len(out) != 0 {
			t.Fatalf("%d frames came out before their time", len(out))
		}
		r.clock.at(delay)
		if out = r.outNow(); len(out) != 10 {
			t.Fatalf("%d frames came out after the delay, want 10", len(out))
		}
		r.clock.at(delay + time.Millisecond)
		out = append(out, r.outNow()...)
		if want := []uint64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4}; !slices.Equal(seqs(out), want) {
			t.Errorf("frames %v came out, want %v", seqs(out), want)
		}
		if c := r.counts(len(out)); c.Delayed != 15 {
			t.Errorf("%d frames delayed, want 15", c.Delayed)
		}
	})
}

func TestRate(t *testing.T) {
	// 1 Mbit/s and 1250 bytes: 10 ms a frame.
	const each = 10 * time.Millisecond
	bothWays(t, Config{Rate: 1_000_000, Queue: 3, Delay: time.Millisecond}, nil, func(t *testing.T, r *rig) {
		out := r.run(10, 1250)
		if c := r.counts(len(out)); c.QueueDropped != 7 || c.Held != 3 {
			t.Errorf("counts are %+v, want a queue of 3 and the rest dropped", c)
		}
		for i := range 3 {
			due := time.Duration(i+1)*each + time.Millisecond
			r.clock.at(due - 1)
			if got := r.outNow(); len(got) != 0 {
				t.Fatalf("frame %v came out before %v", seqs(got), due)
			}
			r.clock.at(due)
			got := r.outNow()
			if len(got) != 1 || seqOf(got[0]) != uint64(i) {
				t.Fatalf("at %v frames %v came out, want %d", due, seqs(got), i)
			}
			out = append(out, got...)
		}
		// An idle bottleneck has not saved up anything.
		r.clock.at(time.Second)
		out = append(out, r.run(1, 1250)...)
		r.clock.at(time.Second + each + time.Millisecond - 1)
		if got := r.outNow(); len(got) != 0 {
			t.Errorf("an idle bottleneck let a frame through early")
		}
		r.clock.at(time.Second + each + time.Millisecond)
		out = append(out, r.outNow()...)
		if len(out) != 4 {
			t.Errorf("%d frames came out, want 4", len(out))
		}
		r.counts(len(out))
	})
}

// TestRateIsReached holds the throughput of a saturated bottleneck.
func TestRateIsReached(t *testing.T) {
	bothWays(t, Config{Rate: 8_000_000, Queue: 16}, nil, func(t *testing.T, r *rig) {
		got := 0
		for range 2000 { // 2 s in steps of 1 ms, 2 frames of 1000 bytes offered in each
			r.clock.advance(time.Millisecond)
			got += len(r.run(2, 1000))
		}
		// 1 MB/s is one frame a step; what waits at the end is not out yet.
		if got < 2000-17 || got > 2000 {
			t.Errorf("%d frames of 1000 bytes in 2 s through 8 Mbit/s, want 2000", got)
		}
		r.counts(got)
	})
}

func TestLimit(t *testing.T) {
	bothWays(t, Config{Delay: time.Second, Limit: 20}, nil, func(t *testing.T, r *rig) {
		r.run(50, 64)
		c := r.counts(0)
		if c.Held != 20 || c.Overflowed != 30 {
			t.Errorf("counts are %+v, want 20 held and 30 lost", c)
		}
		r.clock.advance(time.Second)
		if got := seqs(r.outNow()); len(got) != 20 || got[19] != 19 {
			t.Errorf("frames %v came out, want the first 20", got)
		}
	})
}

func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"probability", Config{Drop: 1.5}, "set up faults: drop=1.5: not a probability from 0 to 1 (or 0% to 100%)"},
		{"direction", Config{Dir: 8}, "set up faults: dir=Direction(8): not rx, tx or both"},
		{"limit", Config{Delay: 1, Limit: 1 << 20}, "set up faults: limit=1048576: the queue has only 3072 frames"},
		{"queue", Config{Rate: 1, Queue: 50, Limit: 20}, "set up faults: queue=50: no more than limit=20 frames may be held back"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, err := memnic.NewPair(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			defer b.Close()
			if _, err := Wrap(a, tt.cfg); err == nil || err.Error() != tt.want {
				t.Errorf("Wrap gives %v, want %s", err, tt.want)
			}
		})
	}
}
