package drivertest_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
)

// breakEnv names the defect that a child process of the test runs the suite on.
const breakEnv = "SHARDNET_DRIVERTEST_DEFECT"

// defect is a way for a driver to be wrong: overrides of a queue's methods that
// the suite must notice in the named subtest.
type defect struct {
	caught string // subtest
	wrap   func(q *broken)
	info   func(i *driver.Info)
	close  func(d *brokenDevice) error
}

// broken is a good queue with some methods overridden.
type broken struct {
	driver.Queue
	calls   atomic.Int64
	closed  atomic.Bool
	kept    []driver.Frame
	receive func(fs []driver.Frame) (int, error)
	alloc   func(fs []driver.Frame) int
	send    func(fs []driver.Frame) (int, error)
	flush   func() error
	release func(fs []driver.Frame)
	wait    func(d time.Duration) error
	wake    func()
	block   func(on bool)
	stats   func() driver.Stats
}

func (b *broken) Receive(fs []driver.Frame) (int, error)  { return b.receive(fs) }
func (b *broken) Alloc(fs []driver.Frame) int             { return b.alloc(fs) }
func (b *broken) Transmit(fs []driver.Frame) (int, error) { return b.send(fs) }
func (b *broken) Flush() error                            { return b.flush() }
func (b *broken) Release(fs []driver.Frame)               { b.release(fs) }
func (b *broken) Wait(d time.Duration) error              { return b.wait(d) }
func (b *broken) BlockThread(on bool)                     { b.block(on) }
func (b *broken) Wake()                                   { b.wake() }
func (b *broken) Stats() driver.Stats                     { return b.stats() }
func (b *broken) Close() error                            { b.closed.Store(true); return b.Queue.Close() }

// every reports each n-th call.
func (b *broken) every(n int64) bool { return b.calls.Add(1)%n == 0 }

type brokenDevice struct {
	driver.Device
	queues []driver.Queue
	d      defect
	closed atomic.Int64
}

func newBroken(dev driver.Device, d defect) *brokenDevice {
	b := &brokenDevice{Device: dev, d: d}
	for i := range dev.Info().Queues {
		in := dev.Queue(i)
		q := &broken{
			Queue: in, receive: in.Receive, alloc: in.Alloc, send: in.Transmit, flush: in.Flush,
			release: in.Release, wait: in.Wait, wake: in.Wake, block: in.BlockThread, stats: in.Stats,
		}
		if d.wrap != nil {
			d.wrap(q)
		}
		b.queues = append(b.queues, q)
	}
	return b
}

func (b *brokenDevice) Queue(i int) driver.Queue { return b.queues[i] }

func (b *brokenDevice) Info() driver.Info {
	i := b.Device.Info()
	if b.d.info != nil {
		b.d.info(&i)
	}
	return i
}

func (b *brokenDevice) Close() error {
	for _, q := range b.queues {
		q.(*broken).closed.Store(true)
	}
	if b.d.close != nil {
		return b.d.close(b)
	}
	return b.Device.Close()
}

// sink keeps allocations from being optimised away.
var sink []byte

var defects = map[string]defect{
	"group MAC":        {caught: "Info", info: func(i *driver.Info) { i.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 9} }},
	"small frames":     {caught: "Info", info: func(i *driver.Info) { i.FrameSize = i.MTU }},
	"table names none": {caught: "Info", info: func(i *driver.Info) { i.RSS = &driver.RSS{Key: i.RSS.Key, Table: []uint16{0, 9}} }},
	"other address":    {caught: "Info", info: func(i *driver.Info) { i.Addresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.9/24")} }},
	"other subnet":     {caught: "Info", info: func(i *driver.Info) { i.Addresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.1/16")} }},
	"wrong key":        {caught: "RSS", info: func(i *driver.Info) { i.RSS = &driver.RSS{Key: make([]byte, 40), Table: i.RSS.Table} }},
	"packet lost": {caught: "Batches", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			if len(fs) > 1 && q.every(10) {
				q.Queue.Release(fs[:1])
				n, err := q.Queue.Transmit(fs[1:])
				return n + 1, err
			}
			return q.Queue.Transmit(fs)
		}
	}},
	"packet damaged": {caught: "Batches", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			if len(fs) > 0 && q.every(10) {
				fs[0].Data[len(fs[0].Data)-1] ^= 1
			}
			return q.Queue.Transmit(fs)
		}
	}},
	"packets swapped": {caught: "Batches", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			if len(fs) > 1 {
				fs[0], fs[1] = fs[1], fs[0]
			}
			return q.Queue.Transmit(fs)
		}
	}},
	"frame lent twice": {caught: "Batches", wrap: func(q *broken) {
		q.receive = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Receive(fs)
			if n > 0 && n < len(fs) {
				fs[n] = fs[0]
				n++
			}
			return n, err
		}
	}},
	"blocked thread is not woken": {caught: "BlockThread", wrap: func(q *broken) {
		var blocks atomic.Bool
		q.block = blocks.Store
		q.wake = func() {
			if !blocks.Load() {
				q.Queue.Wake()
			}
		}
	}},
	"empty Receive is an error": {caught: "NothingToDo", wrap: func(q *broken) {
		q.receive = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Receive(fs)
			if n == 0 && err == nil {
				err = errors.New("nothing there")
			}
			return n, err
		}
	}},
	"sends a copy of the old length": {caught: "TransmitInPlace", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			for i := range fs {
				fs[i].Data = fs[i].Data[:min(len(fs[i].Data), 100)]
			}
			return q.Queue.Transmit(fs)
		}
	}},
	"trimmed frame stays trimmed": {caught: "TrimFront", wrap: func(q *broken) {
		q.alloc = func(fs []driver.Frame) int {
			n := q.Queue.Alloc(fs)
			for i := range fs[:n] {
				if q.every(100) {
					fs[i].Data = fs[i].Data[64:64]
				}
			}
			return n
		}
	}},
	"held frame written to": {caught: "HeldFrames", wrap: func(q *broken) {
		q.receive = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Receive(fs)
			if n > 0 && q.kept == nil {
				q.kept = append(q.kept, fs[0])
			} else if n > 0 && q.every(50) {
				q.kept[0].Data[0]++
			}
			return n, err
		}
	}},
	"long frame sent": {caught: "Unsendable", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			for i := range fs {
				if len(fs[i].Data) > 1518 {
					fs[i].Data = fs[i].Data[:1514]
				}
			}
			return q.Queue.Transmit(fs)
		}
	}},
	"full ring swallows": {caught: "TransmitPartial", wrap: func(q *broken) {
		q.send = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Transmit(fs)
			q.Queue.Release(fs[n:])
			return len(fs), err
		}
	}},
	"full ring not counted": {caught: "TransmitPartial", wrap: func(q *broken) {
		q.stats = func() driver.Stats { s := q.Queue.Stats(); s.TxFull = 0; return s }
	}},
	"drops not counted": {caught: "ReceiveRingFull", wrap: func(q *broken) {
		q.stats = func() driver.Stats { s := q.Queue.Stats(); s.RxDropped = 0; return s }
	}},
	"full receiver is the sender's error": {caught: "ReceiveRingFull", wrap: func(q *broken) {
		q.flush = func() error {
			if err := q.Queue.Flush(); err != nil {
				return err
			}
			if s := q.Queue.Stats(); s.TxPackets > 1000 && s.RxPackets < 100 {
				return errors.New("no room")
			}
			return nil
		}
	}},
	"short Alloc not counted": {caught: "FramesExhausted", wrap: func(q *broken) {
		q.stats = func() driver.Stats { s := q.Queue.Stats(); s.AllocShort = 0; return s }
	}},
	"bytes counted wrong": {caught: "Statistics", wrap: func(q *broken) {
		q.stats = func() driver.Stats { s := q.Queue.Stats(); s.RxBytes += 4 * s.RxPackets; return s }
	}},
	"doorbell for each packet": {caught: "Statistics", wrap: func(q *broken) {
		q.stats = func() driver.Stats {
			s := q.Queue.Stats()
			s.Doorbells += s.TxPackets + s.RxPackets + 1
			return s
		}
	}},
	"Wait does not block": {caught: "WaitTimeout", wrap: func(q *broken) {
		q.wait = func(time.Duration) error { return q.Queue.Wait(0) }
	}},
	"Wait fails on timeout": {caught: "WaitTimeout", wrap: func(q *broken) {
		q.wait = func(d time.Duration) error { _ = q.Queue.Wait(d); return os.ErrDeadlineExceeded }
	}},
	"Wait forgets an early Wake": {caught: "WakeBeforeWait", wrap: func(q *broken) {
		q.wait = func(d time.Duration) error { _ = q.Queue.Wait(0); return q.Queue.Wait(d) }
	}},
	"Wake lost now and then": {caught: "ConcurrentWakes", wrap: func(q *broken) {
		q.wake = func() {
			if !q.every(100) || q.closed.Load() {
				q.Queue.Wake()
			}
		}
	}},
	"packet does not end Wait": {caught: "WaitReceives", wrap: func(q *broken) {
		var woken atomic.Bool
		q.wake = func() { woken.Store(true); q.Queue.Wake() }
		q.wait = func(d time.Duration) error {
			for {
				if err := q.Queue.Wait(d); err != nil || d >= 0 || woken.Swap(false) {
					return err
				}
				time.Sleep(time.Millisecond) // asleep through whatever it was
			}
		}
	}},
	"second Close fails": {caught: "CloseLaterCalls", close: func(d *brokenDevice) error {
		if d.closed.Add(1) > 1 {
			return net.ErrClosed
		}
		return d.Device.Close()
	}},
	"Receive goes on after Close": {caught: "CloseLaterCalls", wrap: func(q *broken) {
		q.receive = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Receive(fs)
			if errors.Is(err, net.ErrClosed) {
				err = nil
			}
			return n, err
		}
	}},
	"Close does not close": {caught: "CloseWakesWait", close: func(d *brokenDevice) error { return nil }},
	"Close takes frames back": {caught: "CloseKeepsLentFrames", wrap: func(q *broken) {
		q.receive = func(fs []driver.Frame) (int, error) {
			n, err := q.Queue.Receive(fs)
			q.kept = append(q.kept, fs[:n]...)
			return n, err
		}
	}, close: func(d *brokenDevice) error {
		for _, q := range d.queues {
			for _, f := range q.(*broken).kept {
				clear(f.Data)
			}
		}
		return d.Device.Close()
	}},
	"Flush works after Close": {caught: "CloseUnderTraffic", wrap: func(q *broken) {
		hide := func(n int, err error) (int, error) {
			if errors.Is(err, net.ErrClosed) && q.calls.Add(1) < 1_000_000 {
				err = nil
			}
			return n, err
		}
		q.receive = func(fs []driver.Frame) (int, error) { return hide(q.Queue.Receive(fs)) }
		q.send = func(fs []driver.Frame) (int, error) { return hide(q.Queue.Transmit(fs)) }
		q.flush = func() error { _, err := hide(0, q.Queue.Flush()); return err }
		q.wait = func(d time.Duration) error { _, err := hide(0, q.Queue.Wait(d)); return err }
	}},
	"link error without a name": {caught: "LinkDown", wrap: func(q *broken) {
		q.flush = func() error {
			err := q.Queue.Flush()
			if errors.Is(err, driver.ErrLinkDown) {
				err = errors.New("network is down")
			}
			return err
		}
	}},
	"allocates for each batch": {caught: "NoAllocations", wrap: func(q *broken) {
		q.flush = func() error { sink = make([]byte, 64); return q.Queue.Flush() }
	}},
	"frames leak": {caught: "NoLeak", wrap: func(q *broken) {
		q.release = func(fs []driver.Frame) {
			if len(fs) > 0 && q.every(10) {
				fs = fs[1:]
			}
			q.Queue.Release(fs)
		}
	}},
	"goroutine left behind": {caught: "Reopen", close: func(d *brokenDevice) error {
		if d.closed.Add(1) == 1 {
			go func() { select {} }()
		}
		return d.Device.Close()
	}},
}

// openBroken returns an opener of memnic pairs that suffer from d at both ends.
func openBroken(d defect, timeout time.Duration) drivertest.OpenFunc {
	return func(t *testing.T, cfg drivertest.Config) drivertest.Pair {
		a, b, err := memnic.NewPair(&memnic.Config{
			A: memnic.End{Queues: cfg.Queues, RxRing: cfg.RxRing, TxRing: cfg.TxRing, Frames: cfg.Frames},
			B: memnic.End{Queues: cfg.Queues},
		})
		if err != nil {
			t.Fatal(err)
		}
		return drivertest.Pair{
			A: newBroken(a, d), B: newBroken(b, d), Packets: 50_000, Timeout: timeout,
			SetLink: func(up bool) error { a.SetLinkUp(up); return nil },
		}
	}
}

// TestBroken runs the suite on the defect that the environment names. It does
// nothing by itself: TestSuiteCatches runs it in processes of their own.
func TestBroken(t *testing.T) {
	d, ok := defects[os.Getenv(breakEnv)]
	if !ok {
		return
	}
	// What hangs need not do so for long.
	drivertest.Run(t, openBroken(d, 300*time.Millisecond))
}

// TestSuiteCatches holds the suite to its purpose: each defect of a driver fails
// the subtest that is about it.
func TestSuiteCatches(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range defects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(self, "-test.run=^TestBroken$/^"+d.caught+"$", "-test.v", "-test.timeout=30s")
			cmd.Env = append(os.Environ(), breakEnv+"="+name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the suite passed (%v):\n%s", err, out)
			}
			if !strings.Contains(string(out), "--- FAIL: TestBroken/"+d.caught+" ") {
				t.Errorf("failed, but not in an orderly way in %s:\n%s", d.caught, out)
			}
		})
	}
}

// TestSuitePassesTheUnbroken shows that the wrapper is not what is caught.
func TestSuitePassesTheUnbroken(t *testing.T) {
	drivertest.Run(t, openBroken(defect{}, 0))
}
