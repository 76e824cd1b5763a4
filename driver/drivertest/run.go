package drivertest

import (
	"net/netip"
	"runtime"
	"testing"
)

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
