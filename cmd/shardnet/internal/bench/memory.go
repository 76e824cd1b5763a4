package bench

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"sync"

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

	far []driver.Device // the generators' ends, while a server serves
}

func newMemory(cfg *Config, mtu, shards int) *memory {
	return &memory{cfg: cfg, mtu: mtu, shards: shards}
}

func (m *memory) inProcess() bool { return true }

func (m *memory) close() error { return nil }

// generators share out the source addresses: no two have one in common.
func (m *memory) generators() []rawload.Config {
	var all []rawload.Config
	src := slices.Collect(slices.Chunk(sources(m.cfg.IPv6), numSources/m.shards))
	for i, d := range m.far {
		all = append(all, rawload.Config{Queue: d.Queue(0), Info: d.Info(), Sources: src[i], Seed: uint64(i)})
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
	if m.shards > 1 {
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

// joined is one device made of several with one queue each: a NIC that keeps each
// link partner on a queue, and does not say how.
type joined struct {
	parts []driver.Device
	close func() error
}

func newJoined(parts []driver.Device) *joined {
	return &joined{parts: parts, close: sync.OnceValue(func() error {
		var errs []error
		for _, p := range parts {
			errs = append(errs, p.Close())
		}
		return errors.Join(errs...)
	})}
}

func (j *joined) Info() driver.Info {
	info := j.parts[0].Info()
	info.Queues, info.RSS = len(j.parts), nil
	return info
}

func (j *joined) Queue(i int) driver.Queue { return j.parts[i].Queue(0) }
func (j *joined) Close() error             { return j.close() }
