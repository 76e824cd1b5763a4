package rawload

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/fault"
	"shardnet/driver/memnic"
)

// family is what a test runs on, once for each IP version.
type family struct {
	name   string
	source func(i int) netip.Addr
	server netip.Addr
	prefix int
}

var families = []family{
	{"ipv4", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(1 + i>>8), byte(i)}) },
		netip.MustParseAddr("198.18.0.2"), 15},
	{"ipv6", func(i int) netip.Addr {
		a := netip.MustParseAddr("2001:db8::1:0").As16()
		a[14], a[15] = byte(i>>8), byte(i)
		return netip.AddrFrom16(a)
	}, netip.MustParseAddr("2001:db8::2"), 64},
}

func (f family) sources(n int) []netip.Addr {
	var s []netip.Addr
	for i := range n {
		s = append(s, f.source(i+1))
	}
	return s
}

// own is the server's addresses.
func (f family) own() []netip.Addr { return []netip.Addr{f.server} }

// cable is a memory NIC with the generator's end and the server's.
func cable(t testing.TB, mtu int) (client, server driver.Device) {
	t.Helper()
	end := memnic.End{RxRing: 4096, TxRing: 1024}
	a, b, err := memnic.NewPair(&memnic.Config{MTU: mtu, A: end, B: end})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// faulty puts faults on the generator's end.
func faulty(t testing.TB, dev driver.Device, faults string) driver.Device {
	t.Helper()
	cfg, err := fault.Parse(faults)
	if err != nil {
		t.Fatal(err)
	}
	d, err := fault.Wrap(dev, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// generate makes a generator on dev that is closed, and has given every frame
// back, when the test ends.
func generate(t testing.TB, dev driver.Device, f family, sources int, port uint16) *Generator {
	t.Helper()
	g, err := New(Config{
		Queue: dev.Queue(0), Info: dev.Info(), Sources: f.sources(sources),
		Target: netip.AddrPortFrom(f.server, port), Seed: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return g
}

// serveReflector runs Reflect on dev until the test ends.
func serveReflector(t testing.TB, dev driver.Device, f family) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Reflect(ctx, dev.Queue(0), dev.Info(), f.own()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("reflector: %v", err)
		}
		if n := dev.Queue(0).Stats().Lent; n != 0 {
			t.Errorf("reflector holds %d frames", n)
		}
	})
}

// run runs w, bounded in time, and fails the test on an error.
func run(t testing.TB, g *Generator, w Work) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := g.Run(ctx, w)
	if err != nil {
		t.Fatalf("%v: %v (%s)", w.Kind, err, summary(r))
	}
	if n := g.link.q.Stats().Lent; n != 0 {
		t.Errorf("%v: the generator holds %d frames after Run", w.Kind, n)
	}
	return r
}

func summary(r *Result) string {
	if r == nil {
		return "no result"
	}
	return fmt.Sprintf("%d requests, %d bytes in %v, lost %d, wrong %d (%s), retransmits %d, resets %d, failed %d, connected %d, late %d, unsent %d, out of order %d, damaged %d, p50 %d ns, p99 %d ns",
		r.Requests, r.Bytes, r.Elapsed, r.Lost, r.Wrong, r.FirstWrong, r.Retransmits, r.Resets, r.Failed, r.Connected,
		r.Late, r.Unsent, r.OutOfOrder, r.Damaged, r.Latency.ValueAtQuantile(50), r.Latency.ValueAtQuantile(99))
}

// faultless fails the test unless every request was answered, and rightly.
func faultless(t testing.TB, r *Result) {
	t.Helper()
	if r.Requests == 0 || r.Lost+r.Wrong+r.Failed+r.Resets+r.Damaged != 0 {
		t.Errorf("not without fault: %s", summary(r))
	}
	if got := uint64(r.Latency.TotalCount()); got != r.Requests {
		t.Errorf("%d latencies of %d requests", got, r.Requests)
	}
}
