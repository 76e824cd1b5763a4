package bench

import (
	"errors"
	"strings"
	"sync"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/cmd/shardnet/internal/report"
)

// sample is what a server and its core have used up to a moment.
type sample struct {
	at     time.Time
	stats  stats
	core   coreTime // of the server's core
	rss    uint64   // bytes of the process in RAM
	kernel uint64   // bytes of the kernel's objects
}

// Keys of a run's Extra, in percent of the time.
const (
	extraCoreBusy  = "core-busy-percent"  // the server's core, whoever used it
	extraCoreSteal = "core-steal-percent" // of it, what the hypervisor took
	extraProcess   = "process-percent"    // the server's process
)

// coreTime is what became of a core's time since boot.
type coreTime struct {
	busy   time.Duration // anything was done
	stolen time.Duration // the hypervisor gave it to others
}

// watch takes samples of a server under load: at the beginning and the end of the
// part that is measured, and of one that holds idle connections, before it had
// any. A sample costs both cores some microseconds, so there are no others.
type watch struct {
	b    *bench
	srv  server
	idle bool
	ours bool // the server has its sockets in its own memory

	plan chan [2]time.Time // when the measured part begins and ends
	quit chan struct{}
	done chan struct{}
	once sync.Once

	before, first, last sample
	complete            bool // all were taken, and when they should be
	err                 error
}

// watch begins to watch srv while it does work, and has work tell when.
func (b *bench) watch(srv server, kind string, work *rawload.Work) *watch {
	w := &watch{
		b: b, srv: srv, idle: work.Kind == rawload.Idle, ours: ours(kind),
		plan: make(chan [2]time.Time, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	// Of several generators the first to say stands for all.
	work.Planned = func(from, to time.Time) {
		w.once.Do(func() { w.plan <- [2]time.Time{from, to} })
	}
	if w.idle {
		w.before = w.take(srv.settle)
	}
	go w.run()
	return w
}

func (w *watch) run() {
	defer close(w.done)
	var plan [2]time.Time
	select {
	case plan = <-w.plan:
	case <-w.quit:
		return
	}
	from, to := plan[0], plan[1]
	// The last sample is taken while the load is still there.
	to = to.Add(-5 * time.Millisecond)
	if !w.sleep(from) {
		return
	}
	ask := w.srv.stats
	if w.idle {
		// What connecting left to be done, garbage above all, is no work of idle
		// connections.
		ask = w.srv.settle
	}
	w.first = w.take(ask)
	// A server that took all the time to settle was never seen idle.
	if w.first.at.After(to) || !w.sleep(to) {
		return
	}
	w.last = w.take(w.srv.stats)
	w.complete = w.err == nil
}

// sleep sleeps until t. It returns false when the watch is over before.
func (w *watch) sleep(t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.quit:
		return false
	}
}

// end ends the watch.
func (w *watch) end() error {
	close(w.quit)
	<-w.done
	return w.err
}

// take takes a sample, with stats from ask.
func (w *watch) take(ask func() (stats, error)) sample {
	s, err := w.b.sample(w.srv, ask)
	w.err = errors.Join(w.err, err)
	return s
}

func (b *bench) sample(srv server, ask func() (stats, error)) (s sample, err error) {
	var errs [4]error
	s.stats, errs[0] = ask()
	if !b.place.inProcess() { // else they would be the generator's, too
		pid := srv.describe().PID
		s.core, errs[1] = coreUse(b.cfg.ServerCPU)
		s.rss, errs[2] = residentBytes(pid)
		s.kernel, errs[3] = kernelBytes()
	}
	s.at = time.Now()
	return s, errors.Join(errs[:]...)
}

// fill adds to run, whose rate is known, what the server used for it.
func (w *watch) fill(run *report.Run, connected int) {
	if w.idle {
		w.fillIdle(run, float64(connected))
	}
	if !w.complete {
		return
	}
	first, last := w.first, w.last
	seconds := last.at.Sub(first.at).Seconds()
	run.Extra[extraCoreBusy] = 100 * (last.core.busy - first.core.busy).Seconds() / seconds
	run.Extra[extraCoreSteal] = 100 * (last.core.stolen - first.core.stolen).Seconds() / seconds
	if w.b.place.inProcess() {
		first.stats.CPU, last.stats.CPU = 0, 0 // the generator's, too
	}
	percent := 100 * (last.stats.CPU - first.stats.CPU).Seconds() / seconds
	run.Extra[extraProcess] = percent
	run.GCs = float64(last.stats.GCs - first.stats.GCs)
	if w.idle {
		run.Extra[report.ExtraCPUPercent] = percent
		for _, k := range []string{"turns", "sleeps"} {
			if n, ok := last.stats.Counters[k]; ok {
				run.Extra[k+"-per-second"] = float64(n-first.stats.Counters[k]) / seconds
			}
		}
		return
	}
	per := func(used float64) float64 { return used / (run.Rate * seconds) }
	run.ServerCPU = per(float64(last.core.busy - first.core.busy))
	run.ProcessCPU = per(float64(last.stats.CPU - first.stats.CPU))
	run.AllocsUnknown = last.stats.Mallocs == 0
	run.Allocs = per(float64(last.stats.Mallocs - first.stats.Mallocs))
	for k, v := range last.stats.Counters {
		switch k {
		case "retransmits", "rx_bad_checksum", "rx_dropped", "tx_dropped", "wrong_shard":
			if v > 0 {
				run.Extra["server-"+strings.ReplaceAll(k, "_", "-")] = float64(v) // all there were
			}
		default:
			run.Extra[strings.ReplaceAll(k, "_", "-")+"-per-request"] = per(float64(v - first.stats.Counters[k]))
		}
	}
}

// fillIdle adds what connections cost that nobody uses: memory, after garbage was
// collected and given back.
func (w *watch) fillIdle(run *report.Run, connected float64) {
	if connected == 0 || w.first.at.IsZero() {
		return
	}
	grown := func(before, after uint64) float64 { return (float64(after) - float64(before)) / connected }
	run.HeapMemory = grown(w.before.stats.Heap, w.first.stats.Heap)
	if w.b.place.inProcess() {
		return
	}
	run.Memory = grown(w.before.rss, w.first.rss)
	// The kernel's sockets are in no process's memory. Ours are not in the kernel's.
	kernel := max(0, grown(w.before.kernel, w.first.kernel))
	run.Extra["kernel-memory"] = kernel
	if !w.ours {
		run.Memory += kernel
	}
}
