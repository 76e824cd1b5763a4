package drivertest

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"shardnet/driver"
)

// Config is what the suite asks an opener for.
type Config struct {
	Queues int // of both ends

	// RxRing, TxRing and Frames are of A's queues, B has the driver's defaults.
	// Zero is the default. A driver that can't have just these takes the nearest
	// it can; the suite goes by Info and Stats.
	RxRing, TxRing, Frames int

	// AddrA and AddrB belong to the two ends: a device must receive all UDP
	// packets to its own.
	AddrA, AddrB netip.Prefix
}

// Pair is two opened devices at the ends of one cable.
type Pair struct {
	// A is the device under test. B hears it and answers, and is put through
	// much of the suite too; it may be of another driver.
	A, B driver.Device

	// Packets is how many packets the leak test moves; 0 is a million. A device
	// that pays a system call for each may ask for fewer. It is a tenth with
	// -short and under the race detector.
	Packets int

	// Uncounted says that the cable loses packets when overloaded and that
	// neither device can count them (a veth pair's own queue). Packets that are
	// not lost must still add up.
	Uncounted bool

	// Timeout bounds each thing that must happen soon; 0 is 20 seconds.
	Timeout time.Duration

	// SetLink, if the cable has such a thing, takes the link down and up.
	SetLink func(up bool) error
}

// OpenFunc opens a pair for one test. It fails the test when it can't. Each call
// opens the same two interfaces again, after those of the call before were
// closed; the suite closes what it was given.
type OpenFunc func(t *testing.T, cfg Config) Pair

// defaultTimeout is Pair.Timeout's default.
const defaultTimeout = 20 * time.Second

// Run runs the conformance suite as subtests of t. It checks for goroutines and
// file descriptors left behind, so nothing else may start or end any meanwhile:
// neither the test nor the opener may run in parallel with others.
func Run(t *testing.T, open OpenFunc) {
	for _, c := range []struct {
		name  string
		cfg   Config
		run   func(r *rig)
		large bool // run again with packets of the largest size
	}{
		{"Info", Config{Queues: 2}, testInfo, false},
		{"NothingToDo", Config{Queues: 2}, testNothingToDo, false},
		{"Batches", Config{Queues: 2}, testBatches, false},
		{"MixedSizes", Config{Queues: 2}, testMixedSizes, false},
		{"RSS", Config{Queues: 2}, testRSS, false},
		{"TransmitInPlace", Config{Queues: 2}, testTransmitInPlace, false},
		{"TrimFront", Config{Queues: 1, RxRing: 64, TxRing: 64, Frames: 256}, testTrimFront, true},
		{"HeldFrames", Config{Queues: 1}, testHeldFrames, true},
		{"Unsendable", Config{Queues: 1}, testUnsendable, false},
		{"TransmitPartial", Config{Queues: 1, RxRing: 64, TxRing: 64, Frames: 512}, testTransmitPartial, true},
		{"ReceiveRingFull", Config{Queues: 1, RxRing: 64, TxRing: 64, Frames: 256}, testReceiveRingFull, true},
		{"FramesExhausted", Config{Queues: 1, RxRing: 64, TxRing: 64, Frames: 256}, testFramesExhausted, true},
		{"Statistics", Config{Queues: 2}, testStatistics, false},
		{"WaitTimeout", Config{Queues: 1}, testWaitTimeout, false},
		{"WakeBeforeWait", Config{Queues: 1}, testWakeBeforeWait, false},
		{"ConcurrentWakes", Config{Queues: 1}, testConcurrentWakes, false},
		{"WaitReceives", Config{Queues: 1}, testWaitReceives, false},
		{"BlockThread", Config{Queues: 1}, testBlockThread, false},
		{"BlockThreadReceives", Config{Queues: 1}, testBlockThreadReceives, false},
		{"CloseLaterCalls", Config{Queues: 2}, testCloseLaterCalls, false},
		{"CloseOneQueue", Config{Queues: 2}, testCloseOneQueue, false},
		{"CloseWakesWait", Config{Queues: 2}, testCloseWakesWait, false},
		{"CloseKeepsLentFrames", Config{Queues: 1}, testCloseKeepsLentFrames, true},
		{"CloseUnderTraffic", Config{Queues: 2}, testCloseUnderTraffic, true},
		{"Reopen", Config{Queues: 2}, testReopen, false},
		{"LinkDown", Config{Queues: 1}, testLinkDown, false},
		{"NoAllocations", Config{Queues: 2}, testNoAllocations, true},
		{"NoLeak", Config{Queues: 2}, testNoLeak, true},
	} {
		t.Run(c.name, func(t *testing.T) { runOne(t, open, c.cfg, c.run, false) })
		if c.large {
			t.Run(c.name+"Large", func(t *testing.T) { runOne(t, open, c.cfg, c.run, true) })
		}
	}
}

// runOne runs one test of the suite, and looks for what it left behind.
func runOne(t *testing.T, open OpenFunc, cfg Config, run func(r *rig), large bool) {
	goroutines, files := runtime.NumGoroutine(), openFiles()
	cfg.AddrA = netip.MustParsePrefix("198.18.0.1/24")
	cfg.AddrB = netip.MustParsePrefix("198.18.0.2/24")
	r := &rig{open: open, cfg: cfg, limit: defaultTimeout, large: large}
	ok := t.Run("pair", func(t *testing.T) {
		r.T = t
		t.Cleanup(r.close)
		r.openPair()
		run(r)
	})
	if !ok {
		return // whatever hangs has been told of
	}
	leakCheck(t, r.limit, "goroutines", goroutines, runtime.NumGoroutine)
	leakCheck(t, r.limit, "file descriptors", files, openFiles)
}

// leakCheck fails t unless count comes down to what it was within the limit.
func leakCheck(t *testing.T, limit time.Duration, what string, before int, count func() int) {
	t.Helper()
	for end := time.Now().Add(limit); count() > before; {
		if time.Now().After(end) {
			t.Errorf("%d %s before, %d after\n%s", before, what, count(), stacks())
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// openFiles is how many file descriptors the process has, or 0 where that can't
// be known.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// stacks returns the stacks of all goroutines.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
