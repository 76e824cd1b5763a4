package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/driver"
	"shardnet/driver/memnic"
)

// memory is the place that needs no privilege: servers and generators in this
// process, on cables in memory.
//
// Each shard has a cable of its own, with a generator of its own at the other
// end, so that shards share nothing that a NIC's queues would not share either,
// and a generator needs no RSS to find its shard.
type memory struct {
	cfg    *Config
	mtu    int
	shards int
	cpus   []int // pins each shard, and its generator, to one; nil pins nothing
	undo   func()

	far []driver.Device // the generators' ends, while a server serves
}

func newMemory(cfg *Config, mtu int) *memory {
	return &memory{cfg: cfg, mtu: mtu, shards: 1, undo: func() {}}
}

// newCores is the memory that has so many shards, each on a CPU of its own with
// its generator: they take turns on it, by yielding it when they have nothing to
// do. So what a shard does in a second can be compared between one and several.
func newCores(cfg *Config, mtu, shards int) (*memory, error) {
	cpus, err := allowedCPUs()
	if err != nil {
		return nil, err
	}
	if len(cpus) < shards {
		return nil, fmt.Errorf("%d shards need a CPU each, and there are %d", shards, len(cpus))
	}
	m := newMemory(cfg, mtu)
	m.shards, m.cpus = shards, cpus[:shards]
	// A thread that only yields still has one of the scheduler's processors.
	before := runtime.GOMAXPROCS(2*shards + 1)
	m.undo = func() { runtime.GOMAXPROCS(before) }
	return m, nil
}

func (m *memory) inProcess() bool { return true }

func (m *memory) stream(context.Context, netip.AddrPort, rawload.Work) (*rawload.Result, error) {
	return nil, errors.New("there is no kernel on a cable in memory")
}

func (m *memory) close() error {
	m.undo()
	return nil
}

// generators share out the source addresses: no two have one in common.
func (m *memory) generators() []generator {
	var all []generator
	src := slices.Collect(slices.Chunk(sources(m.cfg.IPv6), numSources/m.shards))
	for i, d := range m.far {
		g := generator{cpu: -1, Config: rawload.Config{Queue: d.Queue(0), Info: d.Info(), Sources: src[i], Seed: uint64(i)}}
		if m.cpus != nil {
			g.cpu, g.Spin = m.cpus[i], time.Nanosecond
		}
		all = append(all, g)
	}
	return all
}

func (m *memory) serve(ctx context.Context, cfg *ServerConfig) (server, error) {
	m.far = nil
	var near []driver.Device
	for i := range m.shards {
		a, b, err := memnic.NewPair(&memnic.Config{
			MTU: m.mtu,
			A:   memnic.End{MAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}},
			B:   memnic.End{MAC: net.HardwareAddr{2, 0, 0, 0, 1, byte(i)}},
		})
		if err != nil {
			return nil, err
		}
		near, m.far = append(near, a), append(m.far, b)
	}
	dev := near[0]
	if m.cpus != nil {
		for i := range near {
			near[i], m.far[i] = yielding{near[i]}, yielding{m.far[i]}
		}
		cfg.CPUs, cfg.Spin = m.cpus, -1
		dev = newJoined(near)
	}
	srv, err := startServer(ctx, cfg, dev)
	if err != nil {
		return nil, err
	}
	return &local{running: srv, far: m.far}, nil
}

// local is a server in this process.
type local struct {
	*running
	far      []driver.Device
	profiled *os.File
}

func (l *local) describe() ready { return ready{Mode: l.mode, PID: l.pid} }

func (l *local) stats() (stats, error) {
	select {
	case err := <-l.failed:
		return stats{}, err
	default:
	}
	var s stats
	s.read(l.running)
	return s, nil
}

func (l *local) settle() (stats, error) {
	runtime.GC()
	debug.FreeOSMemory()
	return l.stats()
}

func (l *local) profile(file string) (err error) {
	if l.profiled, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(l.profiled)
}

func (l *local) stop() error {
	var errs []error
	if l.profiled != nil {
		pprof.StopCPUProfile()
		errs = append(errs, l.profiled.Close())
	}
	errs = append(errs, l.close())
	for _, d := range l.far {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

func (l *local) kill() error { return l.stop() }
