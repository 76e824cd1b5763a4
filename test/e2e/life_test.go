package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/stack"
	"shardnet/test/testutil"
)

// TestMain runs the test binary as a server instead, when a test asks for one in
// a process of its own.
func TestMain(m *testing.M) {
	if iface := os.Getenv("SHARDNET_E2E_SERVE"); iface != "" {
		if err := serveChild(iface, os.Getenv("SHARDNET_E2E_KIND")); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// kill -9 in mid-traffic leaves the interface without an XDP program, and the
// kernel answers on it.
func TestKill9(t *testing.T) {
	l := newLAN(t, 2)
	for round := range 3 {
		p := l.startServer(t, "conns inline")
		var wg sync.WaitGroup
		var answered atomic.Int64
		for range 10 {
			c := dialKernel(t, l, "tcp", netip.AddrPortFrom(ours4, 7))
			wg.Go(func() {
				for ask(c, make([]byte, 200)) == nil {
					answered.Add(1)
				}
			})
			c.SetDeadline(time.Now().Add(3 * time.Second))
		}
		testutil.Eventually(t, "1000 requests are answered", func() bool { return answered.Load() >= 1000 })
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.cmd.Wait() // killed
		wg.Wait()
		link, err := l.server.Host.Netlink().LinkByName(l.server.Name)
		if err != nil {
			t.Fatal(err)
		}
		if xdp := link.Attrs().Xdp; xdp != nil && xdp.Attached {
			t.Errorf("round %d: an XDP program is left on the interface", round)
		}
	}
	// The kernel takes the interface over.
	if err := l.server.AddAddress(netip.MustParsePrefix("198.18.0.3/24")); err != nil {
		t.Fatal(err)
	}
	l.run(t, "", "ping", "-n", "-c", "2", "-i", "0.05", "-W", "2", "198.18.0.3")
}

// The link goes down and comes up again, and a connection goes on.
func TestLinkDownAndUp(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		serveEcho(t, st, 7)
		c := dialKernel(t, l, "tcp", netip.AddrPortFrom(ours4, 7))
		if err := ask(c, []byte("before")); err != nil {
			t.Fatal(err)
		}
		for _, end := range []interface {
			SetDown() error
			SetUp() error
			WaitUp(time.Duration) error
		}{l.server, l.peer} {
			if err := end.SetDown(); err != nil {
				t.Fatal(err)
			}
			answered := make(chan error, 1)
			go func() { answered <- ask(c, []byte("during")) }()
			time.Sleep(300 * time.Millisecond) // the outage itself
			if err := end.SetUp(); err != nil {
				t.Fatal(err)
			}
			if err := end.WaitUp(5 * time.Second); err != nil {
				t.Fatal(err)
			}
			if err := <-answered; err != nil {
				t.Errorf("connection did not outlive the outage: %v", err)
			}
		}
		if err := ask(c, []byte("after")); err != nil {
			t.Error(err)
		}
		if err := st.Err(); err != nil {
			t.Errorf("stack failed: %v", err)
		}
	})
}

// An interface that is removed ends the stack with an error, in order.
func TestInterfaceRemoved(t *testing.T) {
	for _, kind := range drivers {
		t.Run("driver="+kind, func(t *testing.T) {
			l := newLAN(t, 2)
			dev, err := l.openDevice(kind)
			if err != nil {
				t.Fatal(err)
			}
			cfg := stackConfig()
			cfg.Logger = nil
			st, err := stack.New(dev, cfg)
			if err != nil {
				t.Fatal(err)
			}
			serveEcho(t, st, 7)
			c := dialKernel(t, l, "tcp", netip.AddrPortFrom(ours4, 7))
			if err := ask(c, []byte("before")); err != nil {
				t.Fatal(err)
			}
			if err := l.server.Delete(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-st.Done():
			case <-time.After(10 * time.Second):
				t.Error("the stack goes on without its interface")
			}
			st.Close()
			if st.Err() == nil {
				t.Error("the stack does not say why it ended")
			}
		})
	}
}

// Close under load leaks no goroutine, descriptor or frame, many times over.
func TestCloseUnderLoad(t *testing.T) {
	for _, kind := range drivers {
		t.Run("driver="+kind, func(t *testing.T) {
			l := newLAN(t, 2)
			rounds := 10
			var before testutil.Resources
			for round := range rounds + 1 {
				if round == 1 { // the first round opens what stays: epoll, netlink
					before = testutil.Count()
				}
				closeUnderLoad(t, l, kind)
			}
			before.Check(t)
		})
	}
}

func closeUnderLoad(t *testing.T, l *lan, kind string) {
	t.Helper()
	dev, err := l.openDevice(kind)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stackConfig()
	cfg.CloseTimeout = 500 * time.Millisecond
	st, err := stack.New(dev, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var cleanup cleanups
	serveEcho(&cleanup, st, 7)
	var wg sync.WaitGroup
	var answered atomic.Int64
	for range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := l.kernel.Dial(ctx, "tcp", netip.AddrPortFrom(ours4, 7).String())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		wg.Go(func() {
			defer c.Close()
			for ask(c, make([]byte, 1000)) == nil {
				answered.Add(1)
			}
		})
	}
	if !testutil.Poll(func() bool { return answered.Load() >= 500 }) {
		t.Errorf("%d answers only: %+v", answered.Load(), st.Stats())
	}
	closeStack(t, st)
	wg.Wait()
	cleanup.run()
}
