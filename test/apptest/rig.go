package apptest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"shardnet/driver/memnic"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// port is served on shardnet's addresses.
const port = 7

// App is a server as the apps have it.
type App interface {
	ServeTCP(net.Listener) error
	ServeUDP(net.PacketConn) error
	Handler() socketapi.Handler
	PacketHandler() socketapi.PacketHandler
	Shutdown(context.Context) error
	Close() error
}

// API is a way to serve an app.
type API string

const (
	Kernel  API = "kernel"  // the kernel's sockets, on loopback
	Conn    API = "conn"    // shardnet's, behind net.Listener and net.PacketConn
	Handler API = "handler" // shardnet's event API

	// As Conn and Handler, with TCP by the shard's own engine in place of netstack.
	// UDP is the same.
	FastConn    API = "fast-conn"
	FastHandler API = "fast-handler"
)

// APIs are all there are.
var APIs = []API{Kernel, Conn, Handler, FastConn, FastHandler}

// Each runs f as a subtest for each API.
func Each(t *testing.T, f func(t *testing.T, api API)) {
	for _, api := range APIs {
		t.Run(string(api), func(t *testing.T) { f(t, api) })
	}
}

func (api API) handler() bool { return api == Handler || api == FastHandler }

func (api API) transport() flow.Transport {
	if api == FastConn || api == FastHandler {
		return flow.TransportFast
	}
	return flow.TransportNetstack
}

// CloseWriter is what a connection of Rig.Dial has for "tcp".
type CloseWriter interface {
	net.Conn
	CloseWrite() error
	SetLinger(sec int) error
}

// Rig is an app that is served.
type Rig struct {
	dial   func(network, address string) (net.Conn, error)
	tcp    []string // addresses: IPv4's, IPv6's
	udp    []string
	app    App
	events []*socketapi.Server

	// PacketConns is how many packet connections the app serves.
	PacketConns int
}

// Serve serves app over TCP and UDP, IPv4 and IPv6, until the test ends. closed is
// what the app's methods return after Shutdown or Close.
func (api API) Serve(t testing.TB, app App, closed error) *Rig {
	t.Helper()
	r := &Rig{app: app}
	var ls []net.Listener
	var pcs []net.PacketConn
	if api == Kernel {
		var d net.Dialer
		r.dial = d.Dial
		for _, host := range []string{"127.0.0.1", "::1"} {
			l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			pc, err := net.ListenPacket("udp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Fatal(err)
			}
			ls, pcs = append(ls, l), append(pcs, pc)
			r.tcp, r.udp = append(r.tcp, l.Addr().String()), append(r.udp, pc.LocalAddr().String())
		}
	} else {
		st := r.cable(t, api.transport())
		if api.handler() {
			r.serveEvents(t, st)
			return r
		}
		g, err := socketapi.Listen(st, "tcp", ":"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		pg, err := socketapi.ListenPacket(st, "udp", ":"+strconv.Itoa(port))
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Len() {
			ls, pcs = append(ls, g.Listener(i)), append(pcs, pg.PacketConn(i))
		}
	}
	ended := make(chan error, len(ls)+len(pcs))
	for _, l := range ls {
		go func() { ended <- app.ServeTCP(l) }()
	}
	r.PacketConns = len(pcs)
	for _, pc := range pcs {
		go func() { ended <- app.ServeUDP(pc) }()
	}
	t.Cleanup(func() {
		app.Close()
		for range cap(ended) {
			if err := <-ended; err != closed {
				t.Errorf("serving ended with %v", err)
			}
		}
	})
	return r
}

// cable starts the server's stack, of two shards, and the client's, with the same
// TCP.
func (r *Rig) cable(t testing.TB, tcp flow.Transport) *stack.Stack {
	t.Helper()
	a, b, err := memnic.NewPair(&memnic.Config{A: memnic.End{Queues: 2}})
	if err != nil {
		t.Fatal(err)
	}
	var sts []*stack.Stack
	for _, end := range []struct {
		dev *memnic.Device
		at  []string
	}{{a, []string{"198.18.0.1/24", "2001:db8::1/64"}}, {b, []string{"198.18.0.2/24", "2001:db8::2/64"}}} {
		cfg := stack.Config{CloseTimeout: 100 * time.Millisecond, Transport: tcp}
		for _, p := range end.at {
			cfg.Addresses = append(cfg.Addresses, netip.MustParsePrefix(p))
		}
		st, err := stack.New(end.dev, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil {
				t.Errorf("close the stack: %v", err)
			}
		})
		sts = append(sts, st)
	}
	d := &socketapi.Dialer{Stack: sts[1], Timeout: testutil.Patience}
	r.dial = d.Dial
	for _, p := range sts[0].Addresses() {
		r.tcp = append(r.tcp, netip.AddrPortFrom(p.Addr(), port).String())
	}
	r.udp = r.tcp
	return sts[0]
}

func (r *Rig) serveEvents(t testing.TB, st *stack.Stack) {
	t.Helper()
	address := ":" + strconv.Itoa(port)
	tcp, err := socketapi.Handle(st, "tcp", address, r.app.Handler())
	if err != nil {
		t.Fatal(err)
	}
	udp, err := socketapi.HandlePacket(st, "udp", address, r.app.PacketHandler())
	if err != nil {
		t.Fatal(err)
	}
	r.events = []*socketapi.Server{tcp, udp}
	t.Cleanup(func() {
		for _, s := range r.events {
			s.Abort()
			<-s.Done()
		}
		r.app.Close()
	})
}

// Dial connects to the app over IPv4; the connection is closed with the test.
func (r *Rig) Dial(t testing.TB, network string) net.Conn { return r.DialTo(t, network, 0) }

// DialTo connects over IPv4 (family 0) or IPv6 (family 1).
func (r *Rig) DialTo(t testing.TB, network string, family int) net.Conn {
	t.Helper()
	c, err := r.TryDial(network, family)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(testutil.Patience))
	return c
}

// TryDial is DialTo for any goroutine: it returns its error, and does not close the
// connection.
func (r *Rig) TryDial(network string, family int) (net.Conn, error) {
	addresses := r.tcp
	if network == "udp" {
		addresses = r.udp
	}
	return r.dial(network, addresses[family])
}

// Address is where the app is served over IPv4. Only with Kernel can programs reach
// it.
func (r *Rig) Address(network string) string {
	if network == "udp" {
		return r.udp[0]
	}
	return r.tcp[0]
}

// Shutdown ends the app in order, as its API does that.
func (r *Rig) Shutdown(ctx context.Context) error {
	var errs []error
	for _, s := range r.events {
		errs = append(errs, s.Close())
		select {
		case <-s.Done():
		case <-ctx.Done():
			errs = append(errs, ctx.Err())
		}
	}
	return errors.Join(append(errs, r.app.Shutdown(ctx))...)
}
