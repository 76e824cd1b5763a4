package rawload

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/apps/echo"
	"shardnet/apps/memcached"
	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/netlab"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/test/testutil"
)

// Ports of the servers under test.
const (
	echoPort      = 7
	sinkPort      = 9
	sourcePort    = 19
	memcachedPort = 11211
)

// network opens sockets of a server.
type network struct {
	listen       func(port int) (net.Listener, error)
	listenPacket func(port int) (net.PacketConn, error)
}

// serveAll runs every server there is a workload for, until the test ends. active
// is how many connections they hold, memcached aside.
func serveAll(t testing.TB, n network) (active func() int) {
	t.Helper()
	listen := func(port int) net.Listener {
		l, err := n.listen(port)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	listenPacket := func(port int) net.PacketConn {
		pc, err := n.listenPacket(port)
		if err != nil {
			t.Fatal(err)
		}
		return pc
	}
	srv := echo.NewServer()
	go srv.ServeTCP(listen(echoPort))
	go srv.ServeUDP(listenPacket(echoPort))
	store, err := memcached.NewStore(nil)
	if err != nil {
		t.Fatal(err)
	}
	mem := memcached.NewServer(store, nil)
	go mem.ServeTCP(listen(memcachedPort))
	go mem.ServeUDP(listenPacket(memcachedPort))
	var conns sync.WaitGroup
	var bulk atomic.Int64
	accept := func(l net.Listener, serve func(net.Conn)) {
		t.Cleanup(func() { l.Close() })
		conns.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				bulk.Add(1)
				conns.Go(func() {
					defer bulk.Add(-1)
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(20 * time.Second))
					serve(c)
				})
			}
		})
	}
	t.Cleanup(func() {
		conns.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
		mem.Shutdown(ctx)
		store.Close()
	})
	accept(listen(sinkPort), func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	accept(listen(sourcePort), func(c net.Conn) {
		b := make([]byte, 16*chargenPeriod)
		Chargen(b, 0)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	})
	return func() int { return int(srv.Stats().Active) + int(bulk.Load()) }
}

// serveStack runs a shardnet stack with all servers on dev.
func serveStack(t testing.TB, dev driver.Device, f family) (active func() int) {
	t.Helper()
	st, err := stack.New(dev, &stack.Config{Addresses: []netip.Prefix{netip.PrefixFrom(f.server, f.prefix)}, CloseTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the stack: %v", err)
		}
	})
	return serveAll(t, network{
		listen: func(port int) (net.Listener, error) { return socketapi.Listen(st, "tcp", fmt.Sprintf(":%d", port)) },
		listenPacket: func(port int) (net.PacketConn, error) {
			return socketapi.ListenPacket(st, "udp", fmt.Sprintf(":%d", port))
		},
	})
}

// serveKernel runs all servers on the kernel's sockets at the other end of a veth
// pair, and returns the generator's end of that.
func serveKernel(t testing.TB, f family, sources []netip.Addr) (dev driver.Device, active func() int) {
	t.Helper()
	client, server := netlab.Pair(t, netlab.End{}, netlab.End{Addresses: []netip.Prefix{netip.PrefixFrom(f.server, f.prefix)}}, netlab.LinkConfig{})
	var addrs []netip.Prefix
	for _, a := range sources {
		addrs = append(addrs, netip.PrefixFrom(a, f.prefix))
	}
	err := client.Host.Do(func() (err error) {
		dev, err = afxdp.Open(&afxdp.Config{Interface: client.Name, Addresses: addrs})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	addr := func(port int) string { return netip.AddrPortFrom(f.server, uint16(port)).String() }
	active = serveAll(t, network{
		listen: func(port int) (l net.Listener, err error) {
			err = server.Host.Do(func() error { l, err = net.Listen("tcp", addr(port)); return err })
			return l, err
		},
		listenPacket: func(port int) (pc net.PacketConn, err error) {
			err = server.Host.Do(func() error { pc, err = net.ListenPacket("udp", addr(port)); return err })
			return pc, err
		},
	})
	return dev, active
}

// everyKind is a Work of each kind, with the port of its server.
func everyKind() map[string]struct {
	port uint16
	w    Work
} {
	type job = struct {
		port uint16
		w    Work
	}
	return map[string]job{
		"udp":           {echoPort, Work{Kind: UDPEcho, Duration: brief, Conns: 8, Window: 16}},
		"udp rate":      {echoPort, Work{Kind: UDPEcho, Duration: brief, Conns: 8, Window: 64, Rate: 2000, Payload: 1000}},
		"memcached udp": {memcachedPort, Work{Kind: MemcachedUDP, Duration: brief, Conns: 8, Keys: 300, Sets: 0.2, Value: 300}},
		"memcached tcp": {memcachedPort, Work{Kind: MemcachedTCP, Duration: brief, Conns: 8, Window: 4, Keys: 300, Sets: 0.2, Value: 300, Zipf: 1.3}},
		"memcached big": {memcachedPort, Work{Kind: MemcachedTCP, Duration: brief, Conns: 2, Keys: 30, Sets: 0.2, Value: 60000}},
		"tcp":           {echoPort, Work{Kind: TCPEcho, Duration: brief, Conns: 16, Warmup: 10 * time.Millisecond}},
		"tcp window":    {echoPort, Work{Kind: TCPEcho, Duration: brief, Conns: 3, Window: 5, Payload: 5000}},
		"tcp rate":      {echoPort, Work{Kind: TCPEcho, Duration: brief, Conns: 16, Rate: 2000}},
		"connect":       {echoPort, Work{Kind: TCPConnect, Duration: brief, Conns: 8}},
		"idle":          {echoPort, Work{Kind: Idle, Conns: 500, Hold: 20 * time.Millisecond}},
		"receive":       {sourcePort, Work{Kind: BulkReceive, Duration: brief, Conns: 2}},
		"send":          {sinkPort, Work{Kind: BulkSend, Duration: brief, Conns: 2}},
	}
}

// allKinds runs a Work of each kind on one generator.
func allKinds(t *testing.T, dev driver.Device, f family, active func() int) {
	g := generate(t, dev, f, 4, echoPort)
	for name, job := range everyKind() {
		t.Run(name, func(t *testing.T) {
			w := job.w
			w.Target = netip.AddrPortFrom(f.server, job.port)
			r := run(t, g, w)
			t.Log(summary(r))
			if w.Kind == BulkReceive || w.Kind == BulkSend {
				if r.Bytes == 0 || r.Wrong+r.Failed+r.Resets != 0 || r.Connected != w.Conns {
					t.Errorf("bulk: %s", summary(r))
				}
			} else {
				faultless(t, r)
			}
			if w.Kind == Idle && r.Requests != uint64(w.Conns) {
				t.Errorf("%d of %d idle connections answered", r.Requests, w.Conns)
			}
			// What was left open was reset so that the server noticed.
			testutil.Eventually(t, "the server has no connections", func() bool { return active() == 0 })
			if g.ports.free != g.ports.size() {
				t.Errorf("%d ports were not given back", g.ports.size()-g.ports.free)
			}
		})
	}
}

func TestShardnetStack(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			client, server := cable(t, 0)
			allKinds(t, client, f, serveStack(t, server, f))
		})
	}
}

func TestKernel(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			dev, active := serveKernel(t, f, f.sources(4))
			allKinds(t, dev, f, active)
		})
	}
}
