package demo

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"shardnet/apps/memcached"
	"shardnet/cmd/shardnet/internal/load"
	"shardnet/cmd/shardnet/internal/runner"
)

// memory is the place that needs no privilege: all in this process, our servers on
// a cable in memory, the kernel's on loopback.
type memory struct {
	cfg *Config
}

func (m *memory) banner() string {
	s := "shardnet demo on a cable in memory, both ends in this process; the kernel's sockets on loopback"
	if m.cfg.Why != "" {
		s = m.cfg.Why + ": " + s
	}
	return s
}

func (m *memory) network() string { return "a cable in memory for shardnet, loopback for the kernel" }

func (m *memory) close() error { return nil }

func (m *memory) dial(kind string) load.Dial {
	if kind == "shardnet" {
		return nil
	}
	return (&net.Dialer{}).DialContext
}

func (m *memory) serve(ctx context.Context, name string, _ []string, kind string) (*server, error) {
	r, w := io.Pipe()
	cfg := &runner.Config{
		Driver: "mem", Shards: shards, Port: port, JSON: true, Output: w,
		Logger:        slog.New(slog.NewTextHandler(m.cfg.Log, &slog.HandlerOptions{Level: slog.LevelWarn})),
		CheckTime:     m.cfg.Duration,
		CheckTCPConns: m.cfg.TCPConns, CheckUDPConns: m.cfg.UDPConns,
	}
	if kind == "kernel" {
		cfg.Driver = "kernel"
		cfg.Addresses = loopback()
		free, err := freePort()
		if err != nil {
			return nil, err
		}
		cfg.Port = free
	}
	app := runner.Echo()
	closeStore := func() {}
	if name == "memcached" {
		store, err := memcached.NewStore(nil)
		if err != nil {
			return nil, err
		}
		closeStore = store.Close
		app = runner.Memcached(store, true)
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		defer closeStore()
		err := runner.Run(ctx, cfg, app)
		done <- err
		w.Close()
	}()
	finish := cancel
	if kind == "shardnet" {
		finish = func() {} // it ends by itself, after its checks
	}
	var once sync.Once
	var result error
	wait := func() error {
		once.Do(func() { result = <-done })
		return result
	}
	return &server{
		events:  listen(r),
		finish:  finish,
		wait:    wait,
		force:   func() { cancel(); _ = wait() },
		timeout: m.cfg.Duration + 15*time.Second,
	}, nil
}

// loopback are the loopback addresses this host has.
func loopback() []netip.Prefix {
	addrs := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}
	if l, err := net.Listen("tcp", "[::1]:0"); err == nil {
		l.Close()
		addrs = append(addrs, netip.MustParsePrefix("::1/128"))
	}
	return addrs
}

// freePort is a port that nobody on the host listens on at the moment.
func freePort() (int, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
