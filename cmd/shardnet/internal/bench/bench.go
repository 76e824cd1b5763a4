package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/cmd/shardnet/internal/report"
)

// Config says what to measure, and how.
type Config struct {
	// Run picks workloads by name, as path.Match has patterns; empty is all.
	Run []string
	// Servers picks kinds of server likewise; empty is all.
	Servers []string
	// Peers are other people's servers, beside the kinds there are.
	Peers []Peer

	Repeat           int           // repetitions; servers take turns within each
	Warmup, Duration time.Duration // of each repetition
	Hold             time.Duration // of idle connections, at the least

	Connections []int // of the workloads that sweep them; empty is the default
	Sizes       []int // of requests, likewise
	Idle        []int // connections held idle, likewise
	MTUs        []int // of bulk transfer, likewise
	IPv6        bool

	// Memory serves on a cable in memory, in this process: no privilege needed,
	// and nothing of the kernel to compare with.
	Memory bool

	Spin     time.Duration // of our stacks, as stack.Config has it
	BusyPoll bool          // of our stacks, as afxdp.Config has it; the lab holds interrupts back for it

	// ServerCPU and GeneratorCPU are where each runs alone.
	ServerCPU, GeneratorCPU int

	// Profiles is a folder for CPU profiles of the servers that are Go programs, one
	// for each workload and server; "" is none.
	Profiles string

	Program string    // the path of this program, to start servers with
	Command []string  // how this program was started, for the report
	Log     io.Writer // progress, for people
	Logger  *slog.Logger
}

// Peer is somebody else's server.
type Peer struct {
	Name string
	App  string // what it speaks: "echo", "memcached", "source", "sink"
	// Command is the program with its arguments, in which {addr} and {port} stand
	// for where to serve.
	Command []string
}

// ErrWrong is wrapped by what Run returns when a server gave a wrong answer.
var ErrWrong = errors.New("wrong answer")

// List returns the names of the workloads that cfg asks for.
func List(cfg *Config) []string {
	var names []string
	for _, w := range selected(cfg) {
		names = append(names, w.id()+": "+strings.Join(w.kinds(cfg), " "))
	}
	return names
}

func selected(cfg *Config) []*workload {
	all := workloads(cfg)
	if len(cfg.Run) == 0 {
		return all
	}
	return slices.DeleteFunc(all, func(w *workload) bool { return !w.matches(cfg.Run) })
}

// Run measures what cfg asks for. The report is nil only when nothing could be
// measured at all; the error says what was wrong with the answers, if anything
// was, and what kept the benchmark from going on.
func Run(ctx context.Context, cfg *Config) (*report.Report, error) {
	ws := selected(cfg)
	if len(ws) == 0 {
		return nil, fmt.Errorf("no workload is named %s: see --list", strings.Join(cfg.Run, " or "))
	}
	if cfg.Profiles != "" {
		if err := os.MkdirAll(cfg.Profiles, 0o755); err != nil {
			return nil, fmt.Errorf("make a folder for profiles: %w", err)
		}
	}
	b := &bench{cfg: cfg, left: make(map[string][]string)}
	b.report.Format = report.Format
	b.report.Environment = environment(cfg)
	err := b.all(ctx, ws)
	if cerr := b.closePlace(); err == nil && cerr != nil {
		err = fmt.Errorf("clean up: %w", cerr)
	}
	b.report.Notes = append(b.notes(), b.disturbed()...)
	if len(b.report.Cells) == 0 && err != nil {
		return nil, err
	}
	return &b.report, errors.Join(err, b.wrong)
}

// bench is one run of the benchmark.
type bench struct {
	cfg    *Config
	report report.Report
	left   map[string][]string // what is left out: the workloads, by the server and the reason
	wrong  error               // the first wrong answer

	place     place // at present, nil at first
	placeName string
}

// place is where servers are started and asked.
type place interface {
	// generators are what the generators work on, one for each shard of the
	// server. Their target is for the caller to fill in.
	generators() []generator
	// serve starts a server. Its answers come from cfg's address.
	serve(ctx context.Context, cfg *ServerConfig) (server, error)
	// stream has kernel sockets transfer in bulk in place of the generators, when a
	// KernelOffload serves.
	stream(ctx context.Context, target netip.AddrPort, work rawload.Work) (*rawload.Result, error)
	// inProcess reports whether servers share this process and its CPUs.
	inProcess() bool
	close() error
}

// generator is what a generator is made of, and the CPU it is bound to, unless
// that is -1.
type generator struct {
	rawload.Config
	cpu int
}

// server is a server that serves, in whichever process.
type server interface {
	describe() ready
	stats() (stats, error)
	settle() (stats, error)
	profile(file string) error
	stop() error
	kill() error
}

// leaveOut remembers that the kind of server does without the workload, and why.
func (b *bench) leaveOut(w *workload, kind string, err error) {
	why := kind + ": " + strings.ReplaceAll(err.Error(), "\n", "; ")
	b.left[why] = append(b.left[why], w.id())
	b.logf("  %-17s left out: %v\n", kind, err)
}

// notes are what is left out, in words.
func (b *bench) notes() []string {
	var notes []string
	for _, why := range slices.Sorted(maps.Keys(b.left)) {
		notes = append(notes, fmt.Sprintf("%s (%s)", why, strings.Join(b.left[why], "; ")))
	}
	return notes
}

// disturbance is the part of the server's core, in percent, that others may have
// without a note.
const disturbance = 5

// disturbed says whether others used the server's core. On ours, all the work there
// is the process's own.
func (b *bench) disturbed() []string {
	runs, disturbed := 0, 0
	for _, c := range b.report.Cells {
		for _, r := range c.Runs {
			if !ours(c.Server) || r.Extra[extraCoreBusy] == 0 {
				continue
			}
			runs++
			if r.Extra[extraCoreBusy]+r.Extra[extraCoreSteal]-r.Extra[extraProcess] > disturbance {
				disturbed++
			}
		}
	}
	if disturbed == 0 {
		return nil
	}
	return []string{fmt.Sprintf("in %d of %d runs of our servers, others had more than %d %% of the server's core: "+
		"the figures are lower, and spread wider, than on a quiet machine", disturbed, runs, disturbance)}
}

func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(b.cfg.Log, format, args...)
}

func (b *bench) all(ctx context.Context, ws []*workload) error {
	for i, w := range ws {
		kinds := w.kinds(b.cfg)
		if len(kinds) == 0 {
			continue
		}
		b.logf("[%d/%d] %s\n", i+1, len(ws), w.id())
		if err := b.workload(ctx, w, kinds); err != nil {
			return err
		}
	}
	return nil
}

// kinds are the servers that the workload is to be asked of.
func (w *workload) kinds(cfg *Config) []string {
	kinds := slices.Clone(w.servers.asked)
	for _, k := range w.servers.also {
		if !slices.Contains(kinds, k) && matchesAny(cfg.Servers, k) {
			kinds = append(kinds, k)
		}
	}
	for _, p := range cfg.Peers {
		if p.App == w.app && w.shards == 0 {
			kinds = append(kinds, p.Name)
		}
	}
	return slices.DeleteFunc(kinds, func(k string) bool {
		return cfg.Memory && !runsInMemory(k) || len(cfg.Servers) > 0 && !matchesAny(cfg.Servers, k)
	})
}

// workload runs all repetitions of w, with the servers taking turns. The error is
// what keeps the benchmark from going on.
func (b *bench) workload(ctx context.Context, w *workload, kinds []string) error {
	if err := b.openPlace(w); err != nil {
		return err
	}
	cells := make([]report.Cell, len(kinds))
	for i, k := range kinds {
		cells[i] = report.Cell{Workload: w.name, Params: w.params, Server: k, Unit: w.unit}
	}
	left := len(kinds)
	gone := make([]bool, len(kinds))
	repeat := b.cfg.Repeat
	if w.most > 0 {
		repeat = min(repeat, w.most)
	}
	for rep := range repeat {
		for i, kind := range kinds {
			if gone[i] {
				continue
			}
			run, err := b.measure(ctx, w, kind, rep)
			if errors.Is(err, errNoAnswer) && ctx.Err() == nil {
				// On a busy machine a server may be kept from its CPU for as long as a
				// short repetition takes.
				run, err = b.measure(ctx, w, kind, rep)
			}
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			if err != nil {
				b.leaveOut(w, kind, err)
				gone[i] = true
				if left--; left == 0 {
					break
				}
				continue
			}
			cells[i].Runs = append(cells[i].Runs, *run)
			b.logf("  %-17s %s\n", kind, summary(w, run))
		}
	}
	for _, c := range cells {
		if len(c.Runs) > 0 {
			b.report.Cells = append(b.report.Cells, c)
		}
	}
	return nil
}

// openPlace makes the place that w needs the present one.
func (b *bench) openPlace(w *workload) error {
	name := fmt.Sprintf("mtu %d", max(w.mtu, defaultMTU))
	if b.cfg.Memory || w.shards > 0 {
		name = fmt.Sprintf("memory %s shards %d", name, w.shards)
	}
	if name == b.placeName {
		return nil
	}
	if err := b.closePlace(); err != nil {
		return err
	}
	p, err := newPlace(b.cfg, w)
	if err != nil {
		return err
	}
	b.place, b.placeName = p, name
	return nil
}

func newPlace(cfg *Config, w *workload) (place, error) {
	mtu := max(w.mtu, defaultMTU)
	switch {
	case w.shards > 0:
		return newCores(cfg, mtu, w.shards)
	case cfg.Memory:
		return newMemory(cfg, mtu), nil
	}
	p, err := newLab(cfg, mtu)
	if err != nil {
		return nil, fmt.Errorf("%w (shardnet bench --mem needs no privilege)", err)
	}
	return p, nil
}

func (b *bench) closePlace() error {
	if b.place == nil {
		return nil
	}
	err := b.place.close()
	b.place, b.placeName = nil, ""
	return err
}
