package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/report"
	"shardnet/driver"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
)

// Kinds of server. A peer has a name of its own.
const (
	Reflector   = report.Reflector   // raw frames turned into their answers: the limit
	Handler     = report.Handler     // our stack, events, netstack's TCP
	HandlerFast = report.HandlerFast // the same, our own TCP
	Conn        = report.Conn        // our stack, a goroutine a connection, netstack's TCP
	ConnFast    = report.ConnFast    // the same, our own TCP
	Netstack    = report.Netstack    // gVisor's netstack as it comes
	Kernel      = report.Kernel      // the kernel's sockets, receive work on the server's core
	KernelNoRPS = report.KernelNoRPS // the same, receive work on the sender's core
	MemcachedC  = report.MemcachedC  // memcached, the original

	// KernelOffload is Kernel with its segmentation offloads on, and kernel sockets
	// at the other end, too: pieces of 64 KB cross the link whole. All others have
	// these offloads off.
	KernelOffload = report.KernelOffload
)

// kinds are all kinds of server, except peers.
var kinds = []string{Reflector, Handler, HandlerFast, Conn, ConnFast, Netstack, Kernel, KernelNoRPS, KernelOffload, MemcachedC}

// kernelSockets reports whether the kind of server is ours on the kernel's sockets.
func kernelSockets(kind string) bool {
	return kind == Kernel || kind == KernelNoRPS || kind == KernelOffload
}

// stackServer is how a kind of server uses our stack.
type stackServer struct {
	events    bool // callbacks, not goroutines
	transport flow.Transport
}

var stackServers = map[string]stackServer{
	Handler:     {true, flow.TransportNetstack},
	HandlerFast: {true, flow.TransportFast},
	Conn:        {false, flow.TransportNetstack},
	ConnFast:    {false, flow.TransportFast},
}

// ServerConfig says what one server process serves, and on what.
type ServerConfig struct {
	Server  string // a kind of server; "" with Command
	App     string // "echo", "memcached", "source", "sink"
	Address netip.Prefix
	Port    uint16

	// Interface is what our own servers open; they are not asked for it when they
	// are given a device.
	Interface string
	Spin      time.Duration // as stack.Config has it
	BusyPoll  bool          // as afxdp.Config has it
	CPUs      []int         // pins shard i to the i-th; empty pins nothing
	TCPMemory int64         // as stack.Config has it

	// Command is somebody else's program to run in place of a server of our own.
	Command []string

	Logger *slog.Logger
}

// RunServer serves until in ends or says so, or ctx ends.
func RunServer(ctx context.Context, cfg *ServerConfig, in io.Reader, out io.Writer) error {
	srv, err := startServer(ctx, cfg, nil)
	if err != nil {
		return err
	}
	err = control(ctx, srv, in, out)
	return errors.Join(err, srv.close())
}

// running is a server that serves.
type running struct {
	mode     string
	pid      int
	counters func() map[string]uint64 // nil for none
	// failed gets why the server ended by itself.
	failed <-chan error
	// close ends it, and is called once.
	close func() error
}

// startServer starts what cfg asks for, on dev unless that is nil. It owns dev.
func startServer(ctx context.Context, cfg *ServerConfig, dev driver.Device) (*running, error) {
	if len(cfg.Command) > 0 {
		return startPeer(ctx, cfg)
	}
	if kernelSockets(cfg.Server) {
		return startKernel(cfg)
	}
	if dev == nil {
		var err error
		if dev, err = openInterface(cfg); err != nil {
			return nil, err
		}
	}
	var (
		srv *running
		err error
	)
	how, onStack := stackServers[cfg.Server]
	switch {
	case cfg.Server == Reflector:
		srv, err = startReflector(cfg, dev)
	case cfg.Server == Netstack:
		srv, err = startNetstack(cfg, dev)
	case onStack:
		srv, err = startStack(cfg, how, dev) // which owns dev, whatever becomes of it
		if err != nil {
			return nil, err
		}
	default:
		err = fmt.Errorf("there is no server %q", cfg.Server)
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	info := dev.Info()
	srv.mode, srv.pid = fmt.Sprintf("%s %s", info.Driver, info.Mode), os.Getpid()
	return srv, nil
}

// control does what in says.
func control(ctx context.Context, srv *running, in io.Reader, out io.Writer) (err error) {
	say := func(v any) error {
		b, err := line(v)
		if err == nil {
			_, err = out.Write(b)
		}
		return err
	}
	if err := say(ready{Mode: srv.mode, PID: srv.pid}); err != nil {
		return err
	}
	told := make(chan string)
	go func() {
		defer close(told)
		sc := bufio.NewScanner(in)
		for sc.Scan() {
			select {
			case told <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	var profile *os.File
	endProfile := func() error {
		if profile == nil {
			return nil
		}
		pprof.StopCPUProfile()
		err := profile.Close()
		profile = nil
		return err
	}
	defer func() { err = errors.Join(err, endProfile()) }()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-srv.failed:
			return err
		case what, ok := <-told:
			if !ok {
				return nil
			}
			word, rest, _ := strings.Cut(what, " ")
			var s stats
			var err error
			switch word {
			case tellStats:
			case tellSettle:
				runtime.GC()
				debug.FreeOSMemory()
			case tellProfile:
				if profile, err = os.Create(rest); err == nil {
					err = pprof.StartCPUProfile(profile)
				}
			case tellQuit:
				err = endProfile()
			default:
				err = fmt.Errorf("told %q, which means nothing", what)
			}
			if err != nil {
				s.Err = err.Error()
			}
			s.read(srv)
			if err := say(s); err != nil || word == tellQuit {
				return err
			}
		}
	}
}

// read fills in the counters. It does not stop the world, as runtime.ReadMemStats
// would.
func (s *stats) read(srv *running) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/tiny/allocs:objects"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/memory/classes/heap/objects:bytes"},
	}
	var err error
	if s.CPU, err = processCPU(srv.pid); err != nil && s.Err == "" {
		s.Err = err.Error()
	}
	if srv.pid == os.Getpid() {
		metrics.Read(samples)
		s.Mallocs = samples[0].Value.Uint64() + samples[1].Value.Uint64()
		s.GCs, s.Heap = samples[2].Value.Uint64(), samples[3].Value.Uint64()
	}
	if srv.counters != nil {
		s.Counters = srv.counters()
	}
}

// stackCounters are those that explain a figure.
func stackCounters(st *stack.Stack) map[string]uint64 {
	s := st.Stats()
	return map[string]uint64{
		"rx_packets":      s.RxPackets,
		"tx_packets":      s.Queue.TxPackets,
		"doorbells":       s.Queue.Doorbells,
		"tcp_bypassed":    s.ToEngine,
		"turns":           s.Turns,
		"sleeps":          s.Sleeps,
		"acks_saved":      s.ACKsSaved,
		"retransmits":     s.Retransmits,
		"rx_bad_checksum": s.Drops[drop.BadChecksum],
		"rx_dropped":      s.Queue.RxDropped + s.Drops[drop.HandoverFull] + s.UDPDropped,
		"tx_dropped":      s.Drops.Sent() + s.Queue.TxErrors,
		"wrong_shard":     s.WrongShard,
	}
}
