package drivertest_test

import (
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
)

// guarded returns a guarded memnic, its peer and where violations go.
func guarded(t *testing.T) (g *drivertest.GuardedDevice, peer driver.Device, seen *[]*drivertest.Violation) {
	t.Helper()
	a, b, err := memnic.NewPair(&memnic.Config{
		A: memnic.End{Queues: 2, RxRing: 8, TxRing: 8, Frames: 32},
		B: memnic.End{RxRing: 64},
	})
	if err != nil {
		t.Fatal(err)
	}
	seen = new([]*drivertest.Violation)
	var mu sync.Mutex
	g = drivertest.GuardFunc(a, func(v *drivertest.Violation) {
		mu.Lock()
		defer mu.Unlock()
		*seen = append(*seen, v)
	})
	t.Cleanup(func() {
		_ = g.Close()
		_ = b.Close()
	})
	return g, b, seen
}

// alloc lends n frames with something in them.
func alloc(t *testing.T, q driver.Queue, n int) []driver.Frame {
	t.Helper()
	fs := make([]driver.Frame, n)
	if got := q.Alloc(fs); got != n {
		t.Fatalf("Alloc lent %d of %d", got, n)
	}
	for i := range fs {
		fs[i].Data = append(fs[i].Data, "to....from..\x88\xb5payload"...)
	}
	return fs
}

func TestGuardCatchesItsUser(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  drivertest.Kind
		op    string
		first string // the method of the stack that came first
		abuse func(t *testing.T, g *drivertest.GuardedDevice)
	}{
		{"released twice", drivertest.DoubleRelease, "Release", "Release", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			giveBackFirst(g.Queue(0), fs)
			g.Queue(0).Release(fs)
		}},
		{"released twice in one call", drivertest.DoubleRelease, "Release", "Release", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			giveBackFirst(g.Queue(0), []driver.Frame{fs[0], fs[0]})
		}},
		{"released after transmit", drivertest.DoubleRelease, "Release", "Transmit", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			transmitFirst(t, g.Queue(0), fs)
			g.Queue(0).Release(fs)
		}},
		{"transmitted after release", drivertest.UseAfterGive, "Transmit", "Release", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			giveBackFirst(g.Queue(0), fs)
			transmit(t, g.Queue(0), fs)
		}},
		{"transmitted twice", drivertest.UseAfterGive, "Transmit", "Transmit", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			transmitFirst(t, g.Queue(0), fs)
			transmit(t, g.Queue(0), fs)
		}},
		{"transmitted twice in one call", drivertest.UseAfterGive, "Transmit", "Transmit", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 2)
			transmitFirst(t, g.Queue(0), []driver.Frame{fs[0], fs[0], fs[1]})
		}},
		{"another queue's frame released", drivertest.ForeignFrame, "Release", "", func(t *testing.T, g *drivertest.GuardedDevice) {
			g.Queue(1).Release(alloc(t, g.Queue(0), 1))
		}},
		{"another queue's frame transmitted", drivertest.ForeignFrame, "Transmit", "", func(t *testing.T, g *drivertest.GuardedDevice) {
			transmit(t, g.Queue(1), alloc(t, g.Queue(0), 1))
		}},
		{"memory of one's own transmitted", drivertest.OutsideFrame, "Transmit", "Alloc", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 1)
			fs[0].Data = append([]byte(nil), fs[0].Data...)
			transmit(t, g.Queue(0), fs)
		}},
		{"another frame's memory transmitted", drivertest.OutsideFrame, "Transmit", "Alloc", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 2)
			fs[0].Data = fs[1].Data
			transmit(t, g.Queue(0), fs)
		}},
		{"handles mixed up on release", drivertest.OutsideFrame, "Release", "Alloc", func(t *testing.T, g *drivertest.GuardedDevice) {
			fs := alloc(t, g.Queue(0), 2)
			fs[0].Data = fs[1].Data
			g.Queue(0).Release(fs[:1])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, _, seen := guarded(t)
			c.abuse(t, g)
			if len(*seen) != 1 {
				t.Fatalf("%d violations, want 1: %v", len(*seen), *seen)
			}
			v := (*seen)[0]
			if v.Kind != c.kind || v.Op != c.op {
				t.Errorf("%v in %s, want %v in %s", v.Kind, v.Op, c.kind, c.op)
			}
			if v.FirstOp != c.first {
				t.Errorf("first was %q, want %q", v.FirstOp, c.first)
			}
			text := v.Error()
			if !strings.Contains(text, "guard_test.go") || !strings.Contains(text, c.kind.String()) {
				t.Errorf("no stack of the call, or no reason: %s", text)
			}
			// The first give-back is told by name.
			if gave := c.kind == drivertest.DoubleRelease || c.kind == drivertest.UseAfterGive; gave &&
				!strings.Contains(text[strings.Index(text, "first"):], "First") {
				t.Errorf("no stack of the first give-back: %s", text)
			}
		})
	}
}

// giveBackFirst and transmitFirst are to be found in stacks.
func giveBackFirst(q driver.Queue, fs []driver.Frame) { q.Release(fs) }

func transmitFirst(t *testing.T, q driver.Queue, fs []driver.Frame) { transmit(t, q, fs) }

// transmit has q take all of fs: a guard counts bad frames as taken.
func transmit(t *testing.T, q driver.Queue, fs []driver.Frame) {
	t.Helper()
	if n, err := q.Transmit(fs); n != len(fs) || err != nil {
		t.Errorf("Transmit took %d of %d: %v", n, len(fs), err)
	}
	if err := q.Flush(); err != nil {
		t.Errorf("Flush: %v", err)
	}
}

func TestGuardCatchesConcurrentUse(t *testing.T) {
	g, _, seen := guarded(t)
	q := g.Queue(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := q.Wait(-1); err != nil {
			t.Errorf("Wait: %v", err)
		}
	})
	// The owner is in Wait for certain once it is counted as blocked.
	for end := time.Now().Add(10 * time.Second); q.Stats().Waits == 0; {
		if time.Now().After(end) {
			t.Fatal("the owner does not wait")
		}
		time.Sleep(time.Microsecond)
	}
	if n := q.Alloc(make([]driver.Frame, 1)); n != 0 {
		t.Errorf("Alloc during Wait lent %d", n)
	}
	if n, err := q.Receive(make([]driver.Frame, 1)); n != 0 || err != nil {
		t.Errorf("Receive during Wait: %d, %v", n, err)
	}
	if n, err := q.Transmit(make([]driver.Frame, 1)); n != 0 || err != nil {
		t.Errorf("Transmit during Wait: %d, %v", n, err)
	}
	q.Release(make([]driver.Frame, 1))
	if err := q.Flush(); err != nil {
		t.Errorf("Flush during Wait: %v", err)
	}
	q.Wake() // Wake and Stats are for everybody
	wg.Wait()
	if len(*seen) != 5 {
		t.Fatalf("%d violations, want 5: %v", len(*seen), *seen)
	}
	for i, op := range []string{"Alloc", "Receive", "Transmit", "Release", "Flush"} {
		if v := (*seen)[i]; v.Kind != drivertest.ConcurrentUse || v.Op != op || v.Detail != "during Wait" {
			t.Errorf("violation %d is %v in %s %s, want %v in %s", i, v.Kind, v.Op, v.Detail, drivertest.ConcurrentUse, op)
		}
	}
	// One after the other is right, from whatever goroutine.
	wg.Go(func() { q.Release(alloc(t, q, 1)) })
	wg.Wait()
	if len(*seen) != 5 {
		t.Errorf("a violation where there is none: %v", (*seen)[5:])
	}
}

func TestGuardPoisonsWhatIsReleased(t *testing.T) {
	g, _, seen := guarded(t)
	fs := alloc(t, g.Queue(0), 1)
	data := fs[0].Data
	g.Queue(0).Release(fs)
	for i, b := range data[:cap(data)] {
		if b != drivertest.Poison {
			t.Fatalf("byte %d of a released frame is %#x", i, b)
		}
	}
	// What is transmitted is the NIC's to read still.
	fs = alloc(t, g.Queue(0), 1)
	data = fs[0].Data
	if n, err := g.Queue(0).Transmit(fs); n != 1 || err != nil {
		t.Fatalf("Transmit: %d, %v", n, err)
	}
	if data[0] == drivertest.Poison {
		t.Error("a transmitted frame is poisoned")
	}
	if len(*seen) != 0 {
		t.Errorf("violations: %v", *seen)
	}
}

func TestGuardLetsRightUsePass(t *testing.T) {
	g, peer, seen := guarded(t)
	q, p := g.Queue(0), peer.Queue(0)
	for round := range 100 {
		// More than the TX ring takes: what is left over is still the caller's.
		fs := alloc(t, q, 12)
		n, err := q.Transmit(fs)
		if n != 8 || err != nil {
			t.Fatalf("round %d: Transmit took %d: %v", round, n, err)
		}
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		fs[8].Data = fs[8].Data[4:] // trimmed
		transmit(t, q, fs[8:10])
		q.Release(fs[10:])

		in := make([]driver.Frame, 32)
		n, err = p.Receive(in)
		if n != 10 || err != nil {
			t.Fatalf("round %d: %d arrived: %v", round, n, err)
		}
		transmit(t, p, in[:8])
		p.Release(in[8:n])
		n, err = q.Receive(in)
		if n != 8 || err != nil {
			t.Fatalf("round %d: %d came back: %v", round, n, err)
		}
		in[0].Data = in[0].Data[6:] // in place, trimmed
		transmit(t, q, in[:1])
		q.Release(in[1:n])
		n, _ = p.Receive(in)
		p.Release(in[:n])
	}
	if held := q.(*drivertest.GuardedQueue).Held(); held != 0 {
		t.Errorf("%d frames held", held)
	}
	late := alloc(t, q, 2)
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if n, err := q.Transmit(late[:1]); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Transmit after Close: %d, %v", n, err)
	}
	q.Release(late)
	if len(*seen) != 0 {
		t.Errorf("violations: %v", *seen)
	}
}

// rogue is a queue that breaks the contract on its own side.
type rogue struct {
	driver.Queue
	lend []driver.Frame
	n    int
}

func (r *rogue) Receive(fs []driver.Frame) (int, error) { copy(fs, r.lend); return r.n, nil }
func (r *rogue) Alloc(fs []driver.Frame) int            { copy(fs, r.lend); return r.n }
func (r *rogue) Transmit(fs []driver.Frame) (int, error) {
	return r.n, nil
}

func TestGuardCatchesItsDevice(t *testing.T) {
	mem := make([]byte, 4096)
	fs := make([]driver.Frame, 4)
	for _, c := range []struct {
		name string
		kind drivertest.Kind
		lend []driver.Frame
		n    int
		call func(q driver.Queue)
	}{
		{"one frame twice", drivertest.LentTwice, []driver.Frame{{Data: mem[:60:100], Handle: 1}, {Data: mem[:60:100], Handle: 1}}, 2,
			func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"two frames in one place", drivertest.SharedMemory, []driver.Frame{{Data: mem[:60:100], Handle: 1}, {Data: mem[:60:100], Handle: 2}}, 2,
			func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"overlap", drivertest.SharedMemory, []driver.Frame{{Data: mem[100:160:200], Handle: 1}, {Data: mem[40:90:101], Handle: 2}}, 2,
			func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"overlap behind", drivertest.SharedMemory, []driver.Frame{{Data: mem[0:60:101], Handle: 1}, {Data: mem[100:160:200], Handle: 2}}, 2,
			func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"empty frame received", drivertest.BadLoan, []driver.Frame{{Data: mem[:0:100], Handle: 1}}, 1,
			func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"no memory to send in", drivertest.BadLoan, []driver.Frame{{Handle: 1}}, 1,
			func(q driver.Queue) { q.Alloc(fs) }},
		{"filled frame to send in", drivertest.BadLoan, []driver.Frame{{Data: mem[:9:100], Handle: 1}}, 1,
			func(q driver.Queue) { q.Alloc(fs) }},
		{"more than asked for", drivertest.BadLoan, nil, 5, func(q driver.Queue) { _, _ = q.Receive(fs) }},
		{"less than nothing", drivertest.BadLoan, nil, -1, func(q driver.Queue) { q.Alloc(fs) }},
		{"more taken than given", drivertest.BadLoan, nil, 1, func(q driver.Queue) { _, _ = q.Transmit(nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen []*drivertest.Violation
			q := drivertest.GuardQueue(&rogue{lend: c.lend, n: c.n}, func(v *drivertest.Violation) { seen = append(seen, v) })
			c.call(q)
			if len(seen) != 1 || seen[0].Kind != c.kind {
				t.Errorf("violations %v, want one: %v", seen, c.kind)
			}
		})
	}
}

func TestGuardDoesNotAllocate(t *testing.T) {
	g, peer, _ := guarded(t)
	q, p := g.Queue(0), peer.Queue(0)
	fs := make([]driver.Frame, 8)
	payload := []byte("to....from..\x88\xb5payload")
	turn := func() {
		for i := range fs[:q.Alloc(fs)] {
			fs[i].Data = append(fs[i].Data, payload...)
		}
		n, _ := q.Transmit(fs)
		q.Release(fs[n:])
		_ = q.Flush()
		n, _ = p.Receive(fs)
		p.Release(fs[:n])
	}
	for range 100 { // all frames have been seen
		turn()
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("%v allocations for a batch", n)
	}
}

// recorder is a testing.TB that notes what fails it.
type recorder struct {
	testing.TB
	failed []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.failed = append(r.failed, format)
}

func TestGuardFailsTheTest(t *testing.T) {
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	r := &recorder{TB: t}
	g := drivertest.Guard(r, a)
	defer g.Close()
	fs := alloc(t, g.Queue(0), 1)
	g.Queue(0).Release(fs)
	if len(r.failed) != 0 {
		t.Errorf("failed by right use: %q", r.failed)
	}
	g.Queue(0).Release(fs)
	if len(r.failed) != 1 {
		t.Errorf("failed %d times by a double release, want once", len(r.failed))
	}
}
