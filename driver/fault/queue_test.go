package fault

import (
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/memnic"
)

// TestWaitReturnsWhenDue runs on the real clock: an owner that only sleeps in
// Wait gets a delayed frame, and one that it sent leaves, when they are due.
func TestWaitReturnsWhenDue(t *testing.T) {
	const delay = 30 * time.Millisecond
	bothWays(t, Config{Delay: delay, Now: time.Now}, nil, func(t *testing.T, r *rig) {
		from, to := r.far[0], r.near[0]
		if r.dir == TX {
			from, to = to, from
		}
		start := time.Now()
		if n := r.send(from, 7, 1, 64); n != 1 {
			t.Fatal("frame not taken")
		}
		owner := r.near[0]
		watchdog := time.AfterFunc(10*time.Second, owner.Wake)
		defer watchdog.Stop()
		waits := 0
		for {
			if err := owner.Wait(-1); err != nil {
				t.Fatal(err)
			}
			waits++
			if got := r.receive(to); len(got) == 1 && seqOf(got[0]) == 7 {
				break
			}
			if time.Since(start) > 5*time.Second {
				t.Fatalf("nothing came out after %v and %d waits", time.Since(start), waits)
			}
		}
		if took := time.Since(start); took < delay {
			t.Errorf("frame came out after %v, delay is %v", took, delay)
		}
		if waits > 20 {
			t.Errorf("Wait returned %d times for one frame", waits)
		}
	})
}

// TestTransmitBackpressure holds that a full ring below is the caller's to see,
// and loses nothing.
func TestTransmitBackpressure(t *testing.T) {
	r := newRig(t, Config{Reorder: 1e-12, Dir: TX}, &memnic.Config{A: memnic.End{TxRing: 4}})
	q := r.near[0]
	fs := make([]driver.Frame, 200)
	if n := q.Alloc(fs); n != len(fs) {
		t.Fatalf("Alloc gives %d frames", n)
	}
	for i := range fs {
		fs[i].Data = append(fs[i].Data, frameBytes(uint64(i), 64)...)
	}
	n, err := q.Transmit(fs)
	if err != nil || n < 4 || n > 4+batch {
		t.Fatalf("Transmit takes %d: %v, want no more than the ring of 4 and one batch", n, err)
	}
	if again, err := q.Transmit(fs[n:]); again != 0 || err != nil {
		t.Fatalf("Transmit takes %d more: %v, want none", again, err)
	}
	if s := q.Stats(); s.TxPackets != uint64(n) || s.TxFull != uint64(2*(len(fs)-n)) || s.Lent != len(fs)-n {
		t.Errorf("stats are %+v, want %d packets taken, %d left twice", s, n, len(fs)-n)
	}
	var out [][]byte
	for rest := fs[n:]; len(out) < len(fs); {
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		got := r.receive(r.far[0])
		if len(got) == 0 {
			t.Fatalf("only %d of %d frames came out", len(out), len(fs))
		}
		out = append(out, got...)
		k, err := q.Transmit(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[k:]
	}
	for i, s := range seqs(out) {
		if s != uint64(i) {
			t.Fatalf("frame %d is at place %d", s, i)
		}
	}
	if s := q.Stats(); s.Lent != 0 || s.TxPackets != uint64(len(fs)) {
		t.Errorf("stats are %+v, want nothing lent, %d sent", s, len(fs))
	}
}

// TestNoFrameLost runs all faults both ways for a long time, in answer mode: what
// is received is sent back in place.
func TestNoFrameLost(t *testing.T) {
	cfg := everything
	cfg.Delay, cfg.Rate, cfg.Queue = 200*time.Microsecond, 2_000_000_000, 40
	r := newRig(t, cfg, &memnic.Config{A: memnic.End{RxRing: 128, TxRing: 128}})
	near, far := r.near[0], r.far[0]
	fs := make([]driver.Frame, 64)
	var answered uint64
	for seq := uint64(0); seq < 40_000; seq += 50 {
		r.send(far, seq, 50, 64)
		r.clock.advance(20 * time.Microsecond)
		n, err := near.Receive(fs)
		if err != nil {
			t.Fatal(err)
		}
		sent, err := near.Transmit(fs[:n])
		if err != nil {
			t.Fatal(err)
		}
		near.Release(fs[sent:n])
		if err := near.Flush(); err != nil {
			t.Fatal(err)
		}
		answered += uint64(len(r.receive(far)))
		s := near.Stats()
		if s.Lent != 0 {
			t.Fatalf("after frame %d: %d frames lent to an owner that has none", seq, s.Lent)
		}
	}
	rx, tx := r.dev.Counts(0)
	s := near.Stats()
	inner := r.mem.Queue(0).Stats()
	for _, d := range []struct {
		name    string
		c       Counts
		in, out uint64
	}{
		{"rx", rx, inner.RxPackets, s.RxPackets},
		{"tx", tx, s.TxPackets, inner.TxPackets},
	} {
		if d.c.Frames != d.in {
			t.Errorf("%s: %d frames seen, %d came", d.name, d.c.Frames, d.in)
		}
		if in, gone := d.c.Frames+d.c.Duplicated, d.c.Dropped+d.c.QueueDropped+d.c.Overflowed+uint64(d.c.Held)+d.out; in != gone {
			t.Errorf("%s: %d frames in, %d accounted for: %+v", d.name, in, gone, d.c)
		}
		if d.c.Dropped == 0 || d.c.Corrupted == 0 || d.c.Duplicated == 0 || d.c.Reordered == 0 || d.c.Delayed == 0 {
			t.Errorf("%s: a fault never happened: %+v", d.name, d.c)
		}
	}
	if answered != inner.TxPackets {
		t.Errorf("%d answers came, %d were sent", answered, inner.TxPackets)
	}
	if held := rx.Held + tx.Held; inner.Lent != held {
		t.Errorf("device below lends %d frames, %d are held", inner.Lent, held)
	}
}

// TestUnsendableFrames holds what the contract says of them with faults between.
func TestUnsendableFrames(t *testing.T) {
	r := newRig(t, Config{Drop: 1e-12, Dir: TX}, nil)
	q := r.near[0]
	var fs [3]driver.Frame
	if q.Alloc(fs[:]) != 3 {
		t.Fatal("no frames")
	}
	fs[1].Data = append(fs[1].Data, frameBytes(1, 64)...)
	fs[2].Data = fs[2].Data[:cap(fs[2].Data)]
	if n, err := q.Transmit(fs[:]); n != 3 || err != nil {
		t.Fatalf("Transmit takes %d: %v, want all", n, err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := r.receive(r.far[0]); len(got) != 1 || seqOf(got[0]) != 1 {
		t.Errorf("frames %v came out, want the one that can be sent", seqs(got))
	}
	if s := q.Stats(); s.TxErrors != 2 || s.TxPackets != 1 || s.Lent != 0 {
		t.Errorf("stats are %+v, want 1 sent, 2 errors, none lent", s)
	}
}

func TestCloseGivesHeldFramesBack(t *testing.T) {
	bothWays(t, Config{Delay: time.Hour, Reorder: 0.5}, nil, func(t *testing.T, r *rig) {
		r.run(100, 64)
		if c := r.counts(0); c.Held != 100 {
			t.Fatalf("%d frames held, want 100", c.Held)
		}
		for range 2 {
			if err := r.near[0].Close(); err != nil {
				t.Fatal(err)
			}
		}
		if s := r.mem.Queue(0).Stats(); s.Lent != 0 {
			t.Errorf("%d frames not given back", s.Lent)
		}
		if _, err := r.near[0].Receive(make([]driver.Frame, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Receive after Close gives %v", err)
		}
		if err := r.near[0].Wait(0); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Wait after Close gives %v", err)
		}
		if err := r.near[0].Flush(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Flush after Close gives %v", err)
		}
	})
}

// TestCloseUnderTraffic closes the device while owners send, receive and sleep.
// The rig's cleanup sees that nothing leaked.
func TestCloseUnderTraffic(t *testing.T) {
	cfg := everything
	cfg.Delay, cfg.Now = 100*time.Microsecond, time.Now
	const queues = 2
	r := newRig(t, cfg, &memnic.Config{A: memnic.End{Queues: queues}, B: memnic.End{Queues: queues}})
	var owners sync.WaitGroup
	running := make(chan struct{}, queues)
	for i, q := range r.near {
		owners.Go(func() {
			fs := make([]driver.Frame, 32)
			for round := 0; ; round++ {
				n := q.Alloc(fs)
				for k := range fs[:n] {
					fs[k].Data = append(fs[k].Data, frameBytes(uint64(i), 64)...)
				}
				sent, err := q.Transmit(fs[:n])
				if err != nil {
					// Too late to give them back. Nor is it known of a Release
					// that Close comes before or after: so this test has none.
					r.kept.Add(int64(n - sent))
				}
				for err == nil && sent < n {
					k := 0
					if err = q.Flush(); err == nil {
						k, err = q.Transmit(fs[sent:n])
					}
					if sent += k; err != nil {
						r.kept.Add(int64(n - sent))
					}
				}
				if err == nil {
					err = q.Flush()
				}
				if err == nil {
					// Answer in place.
					n, err = q.Receive(fs)
					for done := 0; done < n; {
						k, terr := q.Transmit(fs[done:n])
						if done += k; terr != nil {
							r.kept.Add(int64(n - done))
							err = terr
							break
						}
						if ferr := q.Flush(); ferr != nil && done < n {
							r.kept.Add(int64(n - done))
							err = ferr
							break
						}
					}
				}
				if err == nil && round%8 == 0 {
					err = q.Wait(50 * time.Microsecond)
				}
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("owner of queue %d: %v", i, err)
					}
					return
				}
				if round == 500 {
					running <- struct{}{}
				}
			}
		})
	}
	stop := make(chan struct{})
	var far sync.WaitGroup
	for _, q := range r.far {
		far.Go(func() { // sends everything back
			fs := make([]driver.Frame, 32)
			for {
				select {
				case <-stop:
					return
				default:
				}
				n, _ := q.Receive(fs)
				sent, _ := q.Transmit(fs[:n])
				q.Release(fs[sent:n])
				q.Flush()
				q.Wait(100 * time.Microsecond)
			}
		})
	}
	for range queues {
		<-running
	}
	if err := r.dev.Close(); err != nil {
		t.Error(err)
	}
	owners.Wait()
	close(stop)
	far.Wait()
}

func TestNoAllocation(t *testing.T) {
	cfg := everything
	cfg.Rate, cfg.Delay = 1_000_000_000, time.Microsecond
	for _, tt := range []struct {
		name string
		cfg  Config
	}{{"no faults", Config{}}, {"all faults", cfg}} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, err := memnic.NewPair(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			dev, err := Wrap(a, tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			frame := frameBytes(1, 64)
			fs := make([]driver.Frame, 32)
			half := func(q driver.Queue) {
				n := q.Alloc(fs)
				for i := range fs[:n] {
					fs[i].Data = append(fs[i].Data, frame...)
				}
				sent, _ := q.Transmit(fs[:n])
				q.Release(fs[sent:n])
				q.Flush()
				n, _ = q.Receive(fs)
				q.Release(fs[:n])
			}
			turn := func() {
				half(dev.Queue(0))
				half(b.Queue(0))
			}
			for range 100 {
				turn()
			}
			if n := testing.AllocsPerRun(500, turn); n >= 1 {
				t.Errorf("%v allocations for 64 frames, want none", n)
			}
		})
	}
}

// TestSameQueue holds that Queue(i) is one and the same.
func TestSameQueue(t *testing.T) {
	r := newRig(t, Config{}, &memnic.Config{A: memnic.End{Queues: 3}, B: memnic.End{Queues: 3}})
	var qs []driver.Queue
	for i := range 3 {
		if q := r.dev.Queue(i); q != r.dev.Queue(i) || slices.Contains(qs, q) {
			t.Errorf("queue %d is not the same each time, or not its own", i)
		}
		qs = append(qs, r.dev.Queue(i))
	}
}

// blockNoter is a device of one queue that notes what BlockThread was told.
type blockNoter struct {
	driver.Device
	queue *notingQueue
}

type notingQueue struct {
	driver.Queue
	told []bool
}

func (d *blockNoter) Queue(int) driver.Queue { return d.queue }
func (q *notingQueue) BlockThread(on bool)   { q.told = append(q.told, on) }

// TestBlockThread holds that the inner queue is told how to sleep.
func TestBlockThread(t *testing.T) {
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	inner := &blockNoter{a, &notingQueue{Queue: a.Queue(0)}}
	dev, err := Wrap(inner, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	dev.Queue(0).BlockThread(true)
	dev.Queue(0).BlockThread(false)
	if got := inner.queue.told; !slices.Equal(got, []bool{true, false}) {
		t.Errorf("the inner queue was told %v, want true, false", got)
	}
}
