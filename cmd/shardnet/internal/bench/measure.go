package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/cmd/shardnet/internal/report"
)

// port is where all servers listen.
const port = 7777

// serverConfig says how to serve w by the kind of server.
func (b *bench) serverConfig(w *workload, kind string) (*ServerConfig, error) {
	cfg := &ServerConfig{
		Server: kind, App: w.app, Port: port, Spin: b.cfg.Spin, BusyPoll: b.cfg.BusyPoll, Logger: b.cfg.Logger,
		Address: serverAddr(ours(kind), b.cfg.IPv6),
	}
	if w.work.Kind == rawload.Idle && w.work.Conns > manyIdle {
		cfg.TCPMemory = int64(w.work.Conns) * idlePromise
	}
	if !ours(kind) {
		if most, err := openFiles(); err != nil || w.work.Conns > most-spareFiles {
			return nil, errors.Join(err, fmt.Errorf("the limit of open files is %d", most))
		}
	}
	if kind == MemcachedC {
		if _, err := exec.LookPath("memcached"); err != nil {
			return nil, errors.New("memcached is not installed")
		}
		cfg.Command = memcachedCommand
	}
	for _, p := range b.cfg.Peers {
		if p.Name == kind {
			cfg.Command = p.Command
		}
	}
	if len(cfg.Command) > 0 {
		cfg.Command = substitute(cfg.Command, cfg)
	}
	return cfg, nil
}

// The fast TCP counts what a connection's peer was promised, 16 KiB at first, against
// the memory it may take, and so has room for a few hundred thousand by default. An
// idle connection takes next to nothing of that.
const (
	manyIdle    = 250_000
	idlePromise = 12 << 10 // bytes a connection: a million have half of 24 GiB
)

// spareFiles is how many files a server has open beside its connections.
const spareFiles = 100

// memcachedCommand is memcached with one thread, as one core is all it has.
var memcachedCommand = []string{"memcached", "-u", "root", "-l", "{addr}", "-p", "{port}", "-U", "{port}", "-t", "1",
	"-m", strconv.Itoa(memcachedMemory >> 20), "-c", "16384", "-b", "4096", "-R", "200"}

// substitute puts where to serve in the place of {addr}, {port}.
func substitute(command []string, cfg *ServerConfig) []string {
	r := strings.NewReplacer("{addr}", cfg.Address.Addr().String(), "{port}", strconv.Itoa(int(cfg.Port)))
	out := make([]string, len(command))
	for i, word := range command {
		out[i] = r.Replace(word)
	}
	return out
}

// ours reports whether the kind of server is on a stack in its own process, and
// not on the kernel's sockets.
func ours(kind string) bool {
	_, onStack := stackServers[kind]
	return onStack || kind == Reflector || kind == Netstack
}

// runsInMemory reports whether the kind of server needs nothing but a device.
func runsInMemory(kind string) bool { return ours(kind) }

// measure runs one repetition of w on a fresh server. The first is profiled, if
// that is asked for.
func (b *bench) measure(ctx context.Context, w *workload, kind string, rep int) (*report.Run, error) {
	cfg, err := b.serverConfig(w, kind)
	if err != nil {
		return nil, err
	}
	srv, err := b.place.serve(ctx, cfg)
	if err != nil {
		return nil, err
	}
	profiled := b.cfg.Profiles != "" && !isPeer(cfg) && rep == 0
	if profiled {
		if err := srv.profile(b.profileFile(w, kind)); err != nil {
			return nil, errors.Join(err, srv.kill())
		}
	}
	if b.report.Environment.Mode == "" && ours(kind) {
		b.report.Environment.Driver, b.report.Environment.Mode, _ = strings.Cut(srv.describe().Mode, " ")
		b.report.Environment.MTU = max(w.mtu, defaultMTU)
	}
	run, err := b.ask(ctx, w, kind, srv, netip.AddrPortFrom(cfg.Address.Addr(), port))
	if err != nil {
		return nil, errors.Join(err, srv.kill())
	}
	if err := srv.stop(); err != nil {
		return nil, err
	}
	if profiled {
		b.addProfile(ctx, w, kind)
	}
	return run, nil
}

// isPeer reports whether the server is somebody else's program.
func isPeer(cfg *ServerConfig) bool { return len(cfg.Command) > 0 }

// ask has the generators do w's work, watches the server meanwhile, and puts
// together what came of it.
func (b *bench) ask(ctx context.Context, w *workload, kind string, srv server, target netip.AddrPort) (*report.Run, error) {
	work := w.work
	work.Warmup, work.Duration, work.Hold = b.cfg.Warmup, b.cfg.Duration, b.cfg.Duration
	if work.Kind == rawload.Idle {
		work.Hold = max(work.Hold, b.cfg.Hold, min(time.Duration(work.Conns)*settlePerConn, settleMost))
	}
	watch := b.watch(srv, kind, &work)
	results, err := b.load(ctx, kind, target, work)
	if werr := watch.end(); err == nil {
		err = werr
	}
	if err != nil {
		return nil, err
	}
	run := newRun(w, results)
	watch.fill(run, results[0].Connected)
	b.judge(w, kind, results)
	if run.Rate == 0 {
		return nil, fmt.Errorf("%w: %d wrong, %d lost, %d failed%s", errNoAnswer, run.Wrong, run.Lost, run.Failed, firstWrong(results))
	}
	return run, nil
}

// errNoAnswer says that a repetition has no figure.
var errNoAnswer = errors.New("no right answer")

// judge remembers the first wrong answer.
func (b *bench) judge(w *workload, kind string, results []*rawload.Result) {
	for _, r := range results {
		if r.Wrong > 0 && b.wrong == nil {
			b.wrong = fmt.Errorf("%w: %s on %s: %s", ErrWrong, w.id(), kind, r.FirstWrong)
		}
	}
}

func firstWrong(results []*rawload.Result) string {
	for _, r := range results {
		if r.FirstWrong != "" {
			return ": " + r.FirstWrong
		}
	}
	return ""
}

// What setting up, and ending, may take.
const (
	setupTime   = 20 * time.Second
	timePerConn = 300 * time.Microsecond
	// settlePerConn is what a server may need to collect garbage while connections
	// are held, and some time for it to be idle then.
	settlePerConn = 30 * time.Microsecond
	settleMost    = 15 * time.Second
)

// load runs all generators at once, or what stands in for them.
func (b *bench) load(ctx context.Context, kind string, target netip.AddrPort, work rawload.Work) ([]*rawload.Result, error) {
	// A server that takes no more connections would hold the generator up without
	// end: it sends its SYN again for as long as it may.
	limit := setupTime + work.Warmup + work.Duration + work.Hold + time.Duration(work.Conns)*timePerConn
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it takes more than %v", limit))
	defer cancel()
	if kind == KernelOffload {
		r, err := b.place.stream(ctx, target, work)
		return []*rawload.Result{r}, err
	}
	generators := b.place.generators()
	results := make([]*rawload.Result, len(generators))
	errs := make([]error, len(generators))
	var wg sync.WaitGroup
	for i, g := range generators {
		g.Target = target
		wg.Go(func() { results[i], errs[i] = g.run(ctx, work) })
	}
	wg.Wait()
	for i, err := range errs {
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %d connections, %d right answers", context.Cause(ctx), results[i].Connected, results[i].Requests)
		}
		if err != nil {
			return nil, err // the others have it too, or because of it
		}
	}
	return results, nil
}

// run makes a generator and has it do work.
func (g *generator) run(ctx context.Context, work rawload.Work) (*rawload.Result, error) {
	if g.cpu >= 0 {
		// Not unlocked: the thread ends with the goroutine, bound as it is.
		runtime.LockOSThread()
		if err := pinThread(g.cpu); err != nil {
			return nil, err
		}
	}
	load, err := rawload.New(g.Config)
	if err != nil {
		return nil, err
	}
	r, err := load.Run(ctx, work)
	if cerr := load.Close(); err == nil {
		err = cerr
	}
	return r, err
}

// percentiles are the points of the latency plot.
var percentiles = []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.999}

// newRun puts together what the generators saw.
func newRun(w *workload, results []*rawload.Result) *report.Run {
	run := &report.Run{Extra: make(map[string]float64)}
	merged := *results[0]
	var elapsed time.Duration
	var requests, bytes uint64
	for i, r := range results {
		elapsed = max(elapsed, r.Elapsed)
		requests += r.Requests
		bytes += r.Bytes
		run.Lost += r.Lost
		run.Wrong += r.Wrong
		run.Retransmits += r.Retransmits
		run.Failed += r.Failed + r.Resets
		if w.work.Kind == rawload.Idle {
			run.Extra[report.ExtraHeld] += float64(r.Connected)
			run.Extra[report.ExtraAnswered] += float64(r.Requests)
		}
		if i > 0 && r.Latency != nil {
			merged.Latency.Merge(r.Latency)
		}
	}
	done := requests
	if w.unit == bytesPerSecond {
		done = bytes
	}
	if elapsed > 0 {
		run.Rate = float64(done) / elapsed.Seconds()
	}
	if l := merged.Latency; l != nil && l.TotalCount() > 0 {
		micros := func(q float64) float64 { return float64(l.ValueAtQuantile(q)) / 1e3 }
		run.P50, run.P90, run.P99, run.P999, run.Max = micros(50), micros(90), micros(99), micros(99.9), float64(l.Max())/1e3
		for _, q := range percentiles {
			run.Percentiles = append(run.Percentiles, report.Point{Percentile: q, Microseconds: micros(q)})
		}
	}
	return run
}

// summary is a line of progress.
func summary(w *workload, r *report.Run) string {
	s := fmt.Sprintf("%12.0f %s", r.Rate, w.unit)
	if w.unit == bytesPerSecond {
		s = fmt.Sprintf("%12.1f MB/s", r.Rate/1e6)
	}
	if r.P50 > 0 {
		s += fmt.Sprintf("  p50 %.1f µs  p99 %.1f µs", r.P50, r.P99)
	}
	if r.ServerCPU > 0 {
		s += fmt.Sprintf("  core %.3g ns", r.ServerCPU)
	}
	if !r.AllocsUnknown {
		s += fmt.Sprintf("  allocs %.2f", r.Allocs)
	}
	for _, c := range []struct {
		name string
		n    uint64
	}{{"lost", r.Lost}, {"wrong", r.Wrong}, {"retransmits", r.Retransmits}, {"failed", r.Failed}} {
		if c.n > 0 {
			s += fmt.Sprintf("  %s %d", c.name, c.n)
		}
	}
	return s
}
