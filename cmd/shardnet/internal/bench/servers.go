package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"

	"shardnet/cmd/shardnet/internal/bench/netstack"
	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/driver"
	"shardnet/socketapi"
	"shardnet/stack"
)

// serving runs an app on listeners.
type serving struct {
	app    app
	failed chan error
	wg     sync.WaitGroup
}

func newServing(name string) (*serving, error) {
	a, err := newApp(name)
	if err != nil {
		return nil, err
	}
	return &serving{app: a, failed: make(chan error, 1)}, nil
}

// start runs serve, which blocks until the app is closed.
func (s *serving) start(serve func() error) {
	s.wg.Go(func() {
		err := serve()
		select {
		case s.failed <- fmt.Errorf("serve: %w", err):
		default: // closed, or another one has told
		}
	})
}

// close ends the app and what it serves.
func (s *serving) close() error {
	err := s.app.Close()
	s.wg.Wait()
	return err
}

// hasUDP reports whether the app is asked over UDP too.
func hasUDP(app string) bool { return app == "echo" || app == "memcached" }

// startReflector turns frames into their answers and sends them back, with no
// stack and no app at all.
func startReflector(cfg *ServerConfig, dev driver.Device) (*running, error) {
	failed := make(chan error, 1)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		failed <- rawload.Reflect(ctx, dev.Queue(0), dev.Info(), []netip.Addr{cfg.Address.Addr()})
	}()
	return &running{
		failed: failed,
		close: func() error {
			cancel()
			err := dev.Close()
			<-done
			return err
		},
	}, nil
}

// startNetstack serves the app on gVisor's netstack.
func startNetstack(cfg *ServerConfig, dev driver.Device) (*running, error) {
	s, err := newServing(cfg.App)
	if err != nil {
		return nil, err
	}
	n, err := netstack.New(dev.Queue(0), dev.Info(), cfg.Address)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	end := func() error { return errors.Join(s.close(), n.Close(), dev.Close()) }
	l, err := n.Listen(cfg.Port)
	if err == nil {
		s.start(func() error { return s.app.ServeTCP(l) })
	}
	if err == nil && hasUDP(cfg.App) {
		var pc net.PacketConn
		if pc, err = n.ListenPacket(cfg.Port); err == nil {
			s.start(func() error { return s.app.ServeUDP(pc) })
		}
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &running{
		failed: s.failed, close: end,
		counters: func() map[string]uint64 {
			q := dev.Queue(0).Stats()
			return map[string]uint64{
				"rx_packets": q.RxPackets, "tx_packets": q.TxPackets, "doorbells": q.Doorbells, "sleeps": q.Waits,
				"retransmits": n.Retransmits(), "rx_dropped": q.RxDropped, "tx_dropped": n.Dropped() + q.TxErrors,
			}
		},
	}, nil
}

// startStack serves the app on our stack. It owns dev.
func startStack(cfg *ServerConfig, how stackServer, dev driver.Device) (*running, error) {
	st, err := stack.New(dev, &stack.Config{
		Addresses: []netip.Prefix{cfg.Address},
		Spin:      cfg.Spin,
		CPUs:      cfg.CPUs,
		Transport: how.transport,
		TCPMemory: cfg.TCPMemory,
		Logger:    cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	start := serveConns
	if how.events {
		start = serveEvents
	}
	srv, err := start(cfg, st)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	end := srv.close
	srv.close = func() error {
		return errors.Join(end(), st.Close(), st.Err())
	}
	srv.counters = func() map[string]uint64 { return stackCounters(st) }
	return srv, nil
}

// serveConns serves the app a goroutine a connection, on every shard's own
// sockets.
func serveConns(cfg *ServerConfig, st *stack.Stack) (*running, error) {
	s, err := newServing(cfg.App)
	if err != nil {
		return nil, err
	}
	address := ":" + strconv.Itoa(int(cfg.Port))
	g, err := socketapi.Listen(st, "tcp", address)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	for i := range g.Len() {
		s.start(func() error { return s.app.ServeTCP(g.Listener(i)) })
	}
	if hasUDP(cfg.App) {
		g, err := socketapi.ListenPacket(st, "udp", address)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		for i := range g.Len() {
			s.start(func() error { return s.app.ServeUDP(g.PacketConn(i)) })
		}
	}
	return &running{failed: s.failed, close: s.close}, nil
}

// startKernel serves the app on the kernel's sockets, as a Go server has them.
func startKernel(cfg *ServerConfig) (*running, error) {
	s, err := newServing(cfg.App)
	if err != nil {
		return nil, err
	}
	address := netip.AddrPortFrom(cfg.Address.Addr(), cfg.Port).String()
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	s.start(func() error { return s.app.ServeTCP(l) })
	if hasUDP(cfg.App) {
		pc, err := net.ListenPacket("udp", address)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.start(func() error { return s.app.ServeUDP(pc) })
	}
	return &running{mode: "sockets", pid: os.Getpid(), failed: s.failed, close: s.close}, nil
}
