package socketapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shardnet/driver/memnic"
	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// A world is two hosts that reach each other: fakes, or stacks on the two ends of
// a cable. What is said about this package must hold in both.
type world struct {
	server, client interface {
		host
		Close() error
	}
	fake *fakeNet // nil in the world of stacks

	device *memnic.Device // of the server; nil in the world of fakes
}

var (
	server4 = netip.MustParseAddr("198.18.0.1")
	server6 = netip.MustParseAddr("2001:db8::1")
	client4 = netip.MustParseAddr("198.18.0.2")
	client6 = netip.MustParseAddr("2001:db8::2")
	nobody4 = netip.MustParseAddr("198.18.0.99")
)

func newFakeWorld(t testing.TB, shards int) *world {
	n := new(fakeNet)
	w := &world{server: n.newHost(shards, server4, server6), client: n.newHost(shards, client4, client6), fake: n}
	t.Cleanup(func() {
		w.server.Close()
		w.client.Close()
	})
	return w
}

// newStackWorld is two stacks on the two ends of a cable, each with the given
// number of queues and shards.
func newStackWorld(t testing.TB, shards int, transport flow.Transport) *world {
	t.Helper()
	a, b, err := memnic.NewPair(&memnic.Config{A: memnic.End{Queues: shards}, B: memnic.End{Queues: shards}})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{device: a}
	for _, end := range []struct {
		h *interface {
			host
			Close() error
		}
		dev *memnic.Device
		ip4 netip.Addr
		ip6 netip.Addr
	}{{&w.server, a, server4, server6}, {&w.client, b, client4, client6}} {
		st, err := stack.New(end.dev, &stack.Config{
			Addresses:    []netip.Prefix{netip.PrefixFrom(end.ip4, 24), netip.PrefixFrom(end.ip6, 64)},
			CloseTimeout: 100 * time.Millisecond,
			Transport:    transport,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := st.Close(); err != nil && st.Err() == nil {
				t.Errorf("close stack: %v", err)
			}
		})
		*end.h = stackHost{st}
	}
	return w
}

// inWorlds runs f as a subtest in each kind of world.
func inWorlds(t *testing.T, shards int, f func(t *testing.T, w *world)) {
	t.Run("fake", func(t *testing.T) { f(t, newFakeWorld(t, shards)) })
	onStacks(t, shards, f)
}

// onStacks runs f as a subtest on each TCP there is.
func onStacks(t *testing.T, shards int, f func(t *testing.T, w *world)) {
	for _, transport := range transports {
		t.Run(transport.String(), func(t *testing.T) { f(t, newStackWorld(t, shards, transport)) })
	}
}

var transports = []flow.Transport{flow.TransportNetstack, flow.TransportFast}

func (w *world) listen(t testing.TB, network, address string) *Group {
	t.Helper()
	return w.listenConfig(t, ListenConfig{}, network, address)
}

func (w *world) listenConfig(t testing.TB, lc ListenConfig, network, address string) *Group {
	t.Helper()
	g, err := lc.listen(w.server, network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func (w *world) listenPacket(t testing.TB, h host, network, address string) *PacketGroup {
	t.Helper()
	var lc ListenConfig
	g, err := lc.listenPacket(h, network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func (w *world) dial(t testing.TB, network, address string) net.Conn {
	t.Helper()
	c, err := w.tryDial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (w *world) tryDial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var d Dialer
	return d.dial(ctx, w.client, network, address)
}

// pair returns the two ends of a connection: the server's and the client's.
func (w *world) pair(t testing.TB) (server, client *Conn) {
	t.Helper()
	g := w.listen(t, "tcp", "198.18.0.1:0")
	c := w.dial(t, "tcp", g.Addr().String())
	s, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return s.(*Conn), c.(*Conn)
}

// accept accepts within a few seconds.
func accept(t testing.TB, l interface {
	net.Listener
	SetDeadline(time.Time) error
}) *Conn {
	t.Helper()
	if err := l.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

// echo serves all connections of l by echoing until l is closed, and waits for
// them at the end of the test.
func echo(t testing.TB, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Accept: %v", err)
				}
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// blocked waits until a goroutine sleeps in the function of the given name, as
// the runtime tells: a state no poll can miss and no sleep has to guess.
func blocked(t testing.TB, function string) {
	t.Helper()
	testutil.Eventually(t, "a goroutine sleeps in "+function, func() bool {
		for _, g := range strings.Split(string(testutil.Stacks()), "\n\n") {
			if strings.Contains(g, function+"(") && strings.Contains(g, "socketapi.(*waiter).park") {
				return true
			}
		}
		return false
	})
}

// result is what a call in another goroutine returned.
type result struct {
	n   int
	err error
}

func start(f func() (int, error)) <-chan result {
	c := make(chan result, 1)
	go func() {
		n, err := f()
		c <- result{n, err}
	}()
	return c
}

func wait(t testing.TB, c <-chan result) result {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("call did not return within 10 s")
		return result{}
	}
}

// httpClient is a client that connects from w's client host.
func (w *world) httpClient(t testing.TB) *http.Client {
	var d Dialer
	tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return d.dial(ctx, w.client, network, address)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}
