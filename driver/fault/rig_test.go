package fault

import (
	"encoding/binary"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
	"shardnet/test/testutil"
)

// TestMain fails when a test leaves a goroutine behind. The fuzzing engine does,
// one for signals.
func TestMain(m *testing.M) { testutil.Main(m) }

// fakeClock is moved by the test.
type fakeClock struct{ ns atomic.Int64 }

func (c *fakeClock) Now() time.Time          { return time.Unix(1000, c.ns.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.ns.Add(int64(d)) }
func (c *fakeClock) at(d time.Duration)      { c.ns.Store(int64(d)) }

// rig is a faulty device, with a watch on what it does to the device below and
// on what the test does to it, and a sound one at the other end of the cable.
type rig struct {
	t     testing.TB
	dir   Direction // which way fault-ridden frames go in run
	mem   *memnic.Device
	dev   *Device
	near  []driver.Queue // faulty
	far   []driver.Queue
	clock *fakeClock
	kept  atomic.Int64 // frames of the faulty device that the test never gave back
}

// newRig makes a rig. A zero cfg.Now is replaced by a clock that stands still.
func newRig(t testing.TB, cfg Config, cable *memnic.Config) *rig {
	t.Helper()
	r := &rig{t: t, clock: new(fakeClock)}
	if cfg.Now == nil {
		cfg.Now = r.clock.Now
	}
	a, b, err := memnic.NewPair(cable)
	if err != nil {
		t.Fatal(err)
	}
	r.mem = a
	dev, err := Wrap(drivertest.Guard(t, a), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.dev = dev
	guarded := drivertest.Guard(t, dev)
	t.Cleanup(func() {
		if err := guarded.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		b.Close()
		lent := 0
		for i := range a.Info().Queues {
			lent += a.Queue(i).Stats().Lent
		}
		if kept := int(r.kept.Load()); lent != kept {
			t.Errorf("%d frames not given back to the device below, want %d", lent, kept)
		}
	})
	for i := range a.Info().Queues {
		r.near = append(r.near, guarded.Queue(i))
		r.far = append(r.far, b.Queue(i))
	}
	return r
}

const seqAt = 14 // a frame's number lies behind the Ethernet header

// frameBytes is frame number seq of n bytes.
func frameBytes(seq uint64, n int) []byte {
	f := make([]byte, n)
	for i := range f {
		f[i] = byte(i)
	}
	binary.BigEndian.PutUint64(f[seqAt:], seq)
	return f
}

func seqOf(f []byte) uint64 { return binary.BigEndian.Uint64(f[seqAt:]) }

// send transmits frames numbered from first, of n bytes each, in batches, and
// reports how many were taken.
func (r *rig) send(q driver.Queue, first uint64, count, n int) (taken int) {
	r.t.Helper()
	fs := make([]driver.Frame, 32)
	for taken < count {
		k := q.Alloc(fs[:min(len(fs), count-taken)])
		for i := range fs[:k] {
			fs[i].Data = append(fs[i].Data, frameBytes(first+uint64(taken+i), n)...)
		}
		sent, err := q.Transmit(fs[:k])
		if err != nil {
			r.t.Fatal(err)
		}
		q.Release(fs[sent:k])
		taken += sent
		if err := q.Flush(); err != nil {
			r.t.Fatal(err)
		}
		if sent < k || k == 0 {
			break
		}
	}
	return taken
}

// receive returns copies of what q has to give now.
func (r *rig) receive(q driver.Queue) (frames [][]byte) {
	r.t.Helper()
	fs := make([]driver.Frame, 16)
	for {
		n, err := q.Receive(fs)
		if err != nil {
			r.t.Fatal(err)
		}
		if n == 0 {
			return frames
		}
		for _, f := range fs[:n] {
			frames = append(frames, slices.Clone(f.Data))
		}
		q.Release(fs[:n])
	}
}

// run sends count frames through the faults, in direction r.dir, and returns
// what came out at the other end.
func (r *rig) run(count, n int) (out [][]byte) {
	r.t.Helper()
	from, to := r.far[0], r.near[0]
	if r.dir == TX {
		from, to = to, from
	}
	for seq := 0; seq < count; {
		k := min(64, count-seq)
		if got := r.send(from, uint64(seq), k, n); got != k {
			r.t.Fatalf("%d of %d frames taken", got, k)
		}
		seq += k
		out = append(out, r.receive(to)...)
	}
	return out
}

// counts returns those of queue 0 in direction r.dir, and fails when they do not
// add up with the frames that came out.
func (r *rig) counts(out int) Counts {
	r.t.Helper()
	rx, tx := r.dev.Counts(0)
	c, other := rx, tx
	if r.dir == TX {
		c, other = tx, rx
	}
	if other != (Counts{}) {
		r.t.Errorf("direction without faults has counts %+v", other)
	}
	in := c.Frames + c.Duplicated
	if gone := c.Dropped + c.QueueDropped + c.Overflowed + uint64(c.Held) + uint64(out); in != gone {
		r.t.Errorf("%d frames in, %d accounted for (%d came out): %+v", in, gone, out, c)
	}
	return c
}

func seqs(frames [][]byte) []uint64 {
	s := make([]uint64, len(frames))
	for i, f := range frames {
		s[i] = seqOf(f)
	}
	return s
}

// bothWays runs a test with the faults on receive and on transmit.
func bothWays(t *testing.T, cfg Config, cable *memnic.Config, test func(t *testing.T, r *rig)) {
	for _, dir := range []Direction{RX, TX} {
		t.Run("dir="+dir.String(), func(t *testing.T) {
			cfg := cfg
			cfg.Dir = dir
			r := newRig(t, cfg, cable)
			r.dir = dir
			test(t, r)
		})
	}
}
