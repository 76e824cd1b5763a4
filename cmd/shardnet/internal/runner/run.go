package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/socketapi"
)

// shutdownTimeout bounds the app's part of the end: answering what was asked.
const shutdownTimeout = 3 * time.Second

// Run serves app until ctx ends, which is the usual end and no error, or the
// network fails. It reports to cfg.Output: a Start, perhaps Checks, a Summary.
func Run(ctx context.Context, cfg *Config, app *App) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	n, err := openNetwork(cfg)
	if err != nil {
		return err
	}
	began := time.Now()
	svc, err := start(cfg, n, app)
	if err != nil {
		return errors.Join(err, n.close())
	}
	err = cfg.say(describe(cfg, n, app))
	if err == nil {
		err = attend(ctx, cfg, n, app, svc.failed)
	}
	sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	svc.shutdown(sctx) // connections that do not end in time are the stack's to end
	if cerr := n.close(); err == nil {
		err = cerr
	}
	if serr := cfg.say(summarize(cfg, began, n, app)); err == nil {
		err = serr
	}
	return err
}

// service is an app being served.
type service struct {
	failed   <-chan error // gets what ends a part of it too early
	shutdown func(context.Context)
}

// start opens the sockets and serves them in the background.
func start(cfg *Config, n network, app *App) (*service, error) {
	if s, ok := n.(*stackNetwork); ok && cfg.API == apiHandler {
		return startEvents(s, app)
	}
	ls, err := n.listen()
	if err != nil {
		return nil, err
	}
	var pcs []net.PacketConn
	if app.UDP {
		if pcs, err = n.listenPacket(); err != nil {
			return nil, err
		}
	}
	failed := make(chan error, len(ls)+len(pcs))
	report := func(err error) {
		if err != nil && !errors.Is(err, app.Closed) {
			failed <- err
		}
	}
	for _, l := range ls {
		go func() { report(app.Server.ServeTCP(l)) }()
	}
	for _, pc := range pcs {
		go func() { report(app.Server.ServeUDP(pc)) }()
	}
	return &service{failed, func(ctx context.Context) { _ = app.Server.Shutdown(ctx) }}, nil
}

// startEvents serves app by its handlers, which end with the stack only.
func startEvents(n *stackNetwork, app *App) (*service, error) {
	tcp, err := socketapi.Handle(n.st, "tcp", n.addr, app.Server.Handler())
	if err != nil {
		return nil, err
	}
	servers := []*socketapi.Server{tcp}
	if app.UDP {
		udp, err := socketapi.HandlePacket(n.st, "udp", n.addr, app.Server.PacketHandler())
		if err != nil {
			return nil, err // closing the stack closes the other
		}
		servers = append(servers, udp)
	}
	return &service{shutdown: func(ctx context.Context) {
		for _, s := range servers {
			_ = s.Close()
		}
		for _, s := range servers {
			select {
			case <-s.Done():
			case <-ctx.Done():
			}
		}
	}}, nil
}

// attend waits for the end. On a cable it asks the app all it can be asked, and
// that is the end.
func attend(ctx context.Context, cfg *Config, n network, app *App, failed <-chan error) error {
	if s, ok := n.(*stackNetwork); ok && s.peer != nil {
		return check(ctx, cfg, s, app)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.done():
		return nil // why, close says
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", app.Name, err)
	}
}

// check runs the app's workloads from the cable's other end.
func check(ctx context.Context, cfg *Config, n *stackNetwork, app *App) error {
	var errs []error
	for _, w := range app.Workloads {
		if w.Network == "udp" && !app.UDP {
			continue
		}
		conns := cfg.CheckTCPConns
		if w.Network == "udp" {
			conns = cfg.CheckUDPConns
		}
		res := load.Run(ctx, load.Config{
			Workload: w, Dial: n.dialPeer(), Addresses: cfg.sockets(), Conns: conns, Duration: cfg.CheckTime,
		})
		if ctx.Err() != nil {
			return nil
		}
		errs = append(errs, res.Err(), cfg.say(newCheck(w, res)))
	}
	return errors.Join(errs...)
}

// sockets are the addresses served, with the port.
func (c *Config) sockets() []string {
	var all []string
	for _, a := range c.Addresses {
		all = append(all, netip.AddrPortFrom(a.Addr(), uint16(c.Port)).String())
	}
	return all
}

func describe(cfg *Config, n network, app *App) *Start {
	s := &Start{Event: "serving", App: app.Name, PID: os.Getpid(), API: cfg.API, Addresses: cfg.sockets(), Protocols: []string{"tcp"}}
	if app.UDP {
		s.Protocols = append(s.Protocols, "udp")
	}
	n.describe(s)
	s.Faults = cfg.describeFaults()
	return s
}

func summarize(cfg *Config, began time.Time, n network, app *App) *Summary {
	s := &Summary{
		Event: "stopped", App: app.Name, Seconds: time.Since(began).Seconds(),
		Counts: make(map[string]uint64), counters: app.Counters(), kernel: cfg.Driver == "kernel", Shards: n.shards(),
	}
	for _, c := range s.counters {
		s.Counts[c.Name] = c.Value
	}
	return s
}
