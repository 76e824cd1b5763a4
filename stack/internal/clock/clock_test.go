package clock

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWheelFiresInOrderAndOnTime(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := newWheel()
	w.now = 1<<18 - 3 // just before several levels carry
	var timers []*Timer
	want := map[*Timer]uint64{}
	for range 5000 {
		tm := &Timer{expiry: w.now + rng.Uint64N(1<<(1+rng.UintN(30)))}
		w.insert(tm)
		want[tm] = tm.expiry
		timers = append(timers, tm)
	}
	for i, tm := range timers {
		if i%3 == 0 {
			if !w.remove(tm) {
				t.Fatal("remove says that an armed timer is not armed")
			}
			if w.remove(tm) {
				t.Fatal("remove says that a removed timer is armed")
			}
			delete(want, tm)
		}
	}
	last := uint64(0)
	for w.count > 0 {
		tick := w.now + 1 + rng.Uint64N(1<<20)
		prev := w.now
		for _, tm := range w.advance(tick, nil) {
			if tm.expiry <= prev || tm.expiry > tick {
				t.Fatalf("timer for tick %d fired in (%d, %d]", tm.expiry, prev, tick)
			}
			if tm.expiry < last {
				t.Fatalf("timer for tick %d fired after one for %d", tm.expiry, last)
			}
			last = tm.expiry
			if want[tm] != tm.expiry {
				t.Fatalf("timer for tick %d fired though removed, or moved", want[tm])
			}
		}
	}
	for l, bits := range w.occupied {
		if bits != 0 {
			t.Errorf("empty wheel has level %d occupied: %#x", l, bits)
		}
	}
}

func TestWheelFiresEveryTimerOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	w := newWheel()
	fired := map[*Timer]int{}
	armed := 0
	for range 20000 {
		if rng.UintN(2) == 0 {
			tm := &Timer{expiry: w.now + rng.Uint64N(1<<(1+rng.UintN(22)))}
			w.insert(tm)
			armed++
			continue
		}
		tick := w.now + rng.Uint64N(1<<(1+rng.UintN(14)))
		next, _, _, ok := w.next()
		due := w.advance(tick, nil)
		if ok && len(due) > 0 && due[0].expiry < next {
			t.Fatalf("next said %d, a timer fired at %d", next, due[0].expiry)
		}
		for _, tm := range due {
			fired[tm]++
		}
	}
	for _, tm := range w.advance(1<<40, nil) {
		fired[tm]++
	}
	if len(fired) != armed || w.count != 0 {
		t.Fatalf("%d of %d timers fired, %d are left", len(fired), armed, w.count)
	}
	for tm, n := range fired {
		if n != 1 {
			t.Fatalf("timer for tick %d fired %d times", tm.expiry, n)
		}
	}
}

func TestClockTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		early := 0
		c := New(func() { early++ })
		var got []string
		c.AfterFunc(30*time.Millisecond, func() { got = append(got, "30ms") })
		stopped := c.AfterFunc(10*time.Millisecond, func() { got = append(got, "stopped") })
		moved := c.AfterFunc(time.Hour, func() { got = append(got, "moved") })
		moved.Reset(20 * time.Millisecond)
		if !stopped.Stop() || stopped.Stop() {
			t.Error("Stop does not tell an armed timer from a stopped one")
		}
		start := time.Now()
		for len(got) < 2 {
			d := c.Park()
			if d < 0 || d > 40*time.Millisecond {
				t.Fatalf("park allows %v of sleep with a timer due before", d)
			}
			time.Sleep(d)
			c.RunTimers(c.Refresh())
			if time.Since(start) > time.Second {
				t.Fatalf("timers never fired: %v", got)
			}
		}
		if !slices.Equal(got, []string{"moved", "30ms"}) {
			t.Errorf("timers fired in order %v", got)
		}
		if took := time.Since(start); took < 30*time.Millisecond || took > 33*time.Millisecond {
			t.Errorf("a timer for 30ms fired after %v", took)
		}
		if d := c.Park(); d >= 0 {
			t.Errorf("park with no timer allows %v, not for ever", d)
		}
		if early != 0 {
			t.Errorf("loop woken %d times while it was awake", early)
		}
		c.AfterFunc(time.Millisecond, func() {})
		if early != 1 {
			t.Errorf("loop woken %d times for a timer armed while it sleeps, want once", early)
		}
	})
}

func TestClockTimeNeverStale(t *testing.T) {
	c := New(func() {})
	c.Refresh()
	a := c.Nanos()
	time.Sleep(2 * time.Millisecond)
	if b := c.Nanos(); a != b {
		t.Errorf("time moved by %d ns within a turn", b-a)
	}
	c.Park()
	if b := c.Nanos(); b-a < int64(2*time.Millisecond) {
		t.Errorf("the sleeping loop's clock stands still: %d ns in 2 ms", b-a)
	}
}

// Netstack's RACK needs stamps that differ.
func TestClockReadingsDiffer(t *testing.T) {
	c := New(func() {})
	last := int64(-1)
	for range 3 {
		c.Refresh()
		for range 100 {
			now := c.Unique()
			if now <= last {
				t.Fatalf("%d follows %d", now, last)
			}
			last = now
		}
	}
}

func BenchmarkWheelArmStop(b *testing.B) {
	c := New(func() {})
	c.Refresh()
	t := c.AfterFunc(time.Second, func() {})
	for b.Loop() {
		t.Reset(200 * time.Millisecond)
		t.Stop()
	}
}
