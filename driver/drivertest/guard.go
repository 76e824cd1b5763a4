package drivertest

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
)

// Poison is what a guard fills a released frame with, so that whoever still
// reads it notices.
const Poison = 0xdb

// Names of the owner's methods, as violations call them.
const (
	opReceive  = "Receive"
	opAlloc    = "Alloc"
	opTransmit = "Transmit"
	opFlush    = "Flush"
	opRelease  = "Release"
	opWait     = "Wait"
	opBlock    = "BlockThread"
)

var ops = [...]string{opReceive, opAlloc, opTransmit, opFlush, opRelease, opWait, opBlock}

// Guard returns dev with a watch on each queue that fails tb at every breach of
// the contract. The guarded device must be closed before the test ends.
func Guard(tb testing.TB, dev driver.Device) *GuardedDevice {
	return GuardFunc(dev, func(v *Violation) {
		tb.Helper()
		tb.Errorf("driver contract: %v", v)
	})
}

// GuardFunc returns dev with a watch on each queue that calls report at every
// breach of the contract, on the goroutine that made the call. report must not
// call the queue.
//
// A frame given back in breach of the contract is not passed on: Transmit counts
// it as taken. A call that overlaps another of the owner's does nothing and
// returns zero.
func GuardFunc(dev driver.Device, report func(*Violation)) *GuardedDevice {
	g := &GuardedDevice{Device: dev}
	info := dev.Info()
	for i := range info.Queues {
		q := GuardQueue(dev.Queue(i), report)
		q.frameSize = info.FrameSize
		g.queues = append(g.queues, q)
	}
	return g
}

// GuardedDevice is a device with a watch on its queues.
type GuardedDevice struct {
	driver.Device
	queues []*GuardedQueue
}

// Queue implements driver.Device.
func (g *GuardedDevice) Queue(i int) driver.Queue { return g.queues[i] }

// Close implements driver.Device.
func (g *GuardedDevice) Close() error {
	for _, q := range g.queues {
		q.closed.Store(true)
	}
	return g.Device.Close()
}

// GuardedQueue is a queue with a watch on it. It allocates only when it sees a
// frame for the first time, and at a breach.
type GuardedQueue struct {
	driver.Queue
	report    func(*Violation)
	frameSize int
	closed    atomic.Bool

	// inside is the owner's method in progress, 1 + its index in ops, or 0. Who
	// sets it from 0 may touch what is below.
	inside atomic.Int32
	loans  loans
	found  []*loan        // scratch of Transmit
	good   []driver.Frame // scratch of Release
}

// GuardQueue returns q with a watch on it that calls report as GuardFunc says.
func GuardQueue(q driver.Queue, report func(*Violation)) *GuardedQueue {
	return &GuardedQueue{
		Queue:  q,
		report: report,
		loans:  loans{byHandle: make(map[uint64]*loan)},
	}
}

// enter begins a method of the owner, ops[op]. It is not ok while another is in
// progress.
func (g *GuardedQueue) enter(op int) (ok bool) {
	for !g.inside.CompareAndSwap(0, int32(op)+1) {
		other := g.inside.Load()
		if other == 0 {
			continue
		}
		g.breach(ConcurrentUse, ops[op], 0, nil, "during "+ops[other-1])
		return false
	}
	return true
}

func (g *GuardedQueue) leave() { g.inside.Store(0) }

// breach reports a violation, two calls below the offending one.
func (g *GuardedQueue) breach(kind Kind, op string, handle uint64, ln *loan, detail string) {
	v := &Violation{Kind: kind, Op: op, Handle: handle, Detail: detail}
	v.Stack = make([]uintptr, stackDepth)
	v.Stack = v.Stack[:runtime.Callers(3, v.Stack)]
	if ln != nil {
		first := &ln.loaned
		if kind == DoubleRelease || kind == UseAfterGive {
			first = &ln.given
		}
		v.First, v.FirstOp = first.stack(), first.op
	}
	g.report(v)
}

// Receive implements driver.Queue.
func (g *GuardedQueue) Receive(fs []driver.Frame) (int, error) {
	if !g.enter(0) {
		return 0, nil
	}
	defer g.leave()
	n, err := g.Queue.Receive(fs)
	return g.lent(fs, n, opReceive), err
}

// Alloc implements driver.Queue.
func (g *GuardedQueue) Alloc(fs []driver.Frame) int {
	if !g.enter(1) {
		return 0
	}
	defer g.leave()
	return g.lent(fs, g.Queue.Alloc(fs), opAlloc)
}

// lent notes the frames that the device lent, and returns n made sane.
func (g *GuardedQueue) lent(fs []driver.Frame, n int, op string) int {
	if n < 0 || n > len(fs) {
		g.breach(BadLoan, op, 0, nil, fmt.Sprintf("count %d for %d frames", n, len(fs)))
		return 0
	}
	for i := range fs[:n] {
		f := &fs[i]
		switch {
		case op == opReceive && len(f.Data) == 0:
			g.breach(BadLoan, op, f.Handle, nil, "a received frame is empty")
		case op == opAlloc && len(f.Data) != 0:
			g.breach(BadLoan, op, f.Handle, nil, fmt.Sprintf("length %d, want 0", len(f.Data)))
		case op == opAlloc && cap(f.Data) < max(g.frameSize, 1):
			g.breach(BadLoan, op, f.Handle, nil, fmt.Sprintf("capacity %d, want %d", cap(f.Data), g.frameSize))
		}
		if kind, ln := g.loans.lend(f, op); kind != 0 {
			g.breach(kind, op, f.Handle, ln, "")
		}
	}
	return n
}

// Transmit implements driver.Queue.
func (g *GuardedQueue) Transmit(fs []driver.Frame) (n int, err error) {
	if !g.enter(2) {
		return 0, nil
	}
	defer g.leave()
	for {
		// Frames come in runs of good ones, each followed by a bad one. A frame
		// that comes twice in a run is bad the second time.
		run := fs[n:]
		g.found = g.found[:0]
		var bad Kind
		var badLoan *loan
		for i := range run {
			kind, ln := g.loans.check(&run[i], opTransmit)
			if kind != 0 {
				run, bad, badLoan = run[:i], kind, ln
				break
			}
			ln.lent = false
			g.found = append(g.found, ln)
		}
		taken := 0
		taken, err = g.Queue.Transmit(run)
		if taken < 0 || taken > len(run) {
			g.breach(BadLoan, opTransmit, 0, nil, fmt.Sprintf("count %d for %d frames", taken, len(run)))
			taken = max(0, min(taken, len(run)))
		}
		for i, ln := range g.found {
			if i < taken {
				g.noteGiven(ln, opTransmit)
			} else {
				ln.lent = true
			}
		}
		n += taken
		if taken < len(run) || bad == 0 || err != nil {
			return n, err
		}
		g.breach(bad, opTransmit, fs[n].Handle, badLoan, "")
		n++
	}
}

// noteGiven notes a give-back, at the same depth of calls for all methods.
func (g *GuardedQueue) noteGiven(ln *loan, op string) { g.loans.give(ln, op) }

// Release implements driver.Queue. It poisons what it passes on.
func (g *GuardedQueue) Release(fs []driver.Frame) {
	if !g.enter(4) {
		return
	}
	defer g.leave()
	g.good = g.good[:0]
	for i := range fs {
		kind, ln := g.loans.check(&fs[i], opRelease)
		if kind != 0 {
			g.breach(kind, opRelease, fs[i].Handle, ln, "")
			continue
		}
		g.noteGiven(ln, opRelease)
		if !g.closed.Load() {
			poison(ln.mem)
		}
		g.good = append(g.good, fs[i])
	}
	g.Queue.Release(g.good)
}

func poison(mem []byte) {
	for i := range mem {
		mem[i] = Poison
	}
}

// Flush implements driver.Queue.
func (g *GuardedQueue) Flush() error {
	if !g.enter(3) {
		return nil
	}
	defer g.leave()
	return g.Queue.Flush()
}

// Wait implements driver.Queue.
func (g *GuardedQueue) Wait(d time.Duration) error {
	if !g.enter(5) {
		return nil
	}
	defer g.leave()
	return g.Queue.Wait(d)
}

// BlockThread implements driver.Queue.
func (g *GuardedQueue) BlockThread(on bool) {
	if g.enter(6) {
		defer g.leave()
		g.Queue.BlockThread(on)
	}
}

// Close implements driver.Queue.
func (g *GuardedQueue) Close() error {
	g.closed.Store(true)
	return g.Queue.Close()
}

// Held is how many frames are on loan by the guard's own count. The owner calls
// it, or anybody once the owner is done.
func (g *GuardedQueue) Held() int { return g.loans.held }
