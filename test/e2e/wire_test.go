package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/fault"
	"shardnet/driver/netlab"
	"shardnet/stack/flow"
)

// badWire joins two kernel hosts, kernel4 and ours4, by a machine in between that
// does to frames what loss says. It is what the kernel's own TCP is measured on.
func badWire(t *testing.T) (a, b *netlab.Host) {
	t.Helper()
	lab := netlab.Test(t)
	var hosts [3]*netlab.Host
	for i, name := range []string{"a", "wire", "b"} {
		h, err := lab.AddHost(name)
		if err != nil {
			t.Fatal(err)
		}
		hosts[i] = h
	}
	wire := hosts[1]
	// open joins a host to the wire, which passes on what is for other.
	open := func(h *netlab.Host, own, other netip.Addr) (dev driver.Device) {
		_, mid, err := lab.Connect(
			netlab.End{Host: h, Addresses: []netip.Prefix{netip.PrefixFrom(own, 24)}, NoTxChecksum: true},
			netlab.End{Host: wire}, netlab.LinkConfig{})
		if err != nil {
			t.Fatal(err)
		}
		if err := wire.Do(func() (err error) {
			dev, err = afxdp.Open(&afxdp.Config{Interface: mid.Name, Addresses: []netip.Prefix{netip.PrefixFrom(other, 24)}})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return dev
	}
	left := open(hosts[0], kernel4, ours4)
	right, err := fault.Wrap(open(hosts[2], ours4, kernel4), loss)
	if err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	done := make(chan error, 1)
	go func() { done <- pass(&over, left.Queue(0), right.Queue(0)) }()
	t.Cleanup(func() {
		over.Store(true)
		if err := <-done; err != nil {
			t.Error(err)
		}
		for _, dev := range []driver.Device{left, right} {
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		}
		checkLossy(t, right)
	})
	return hosts[0], hosts[2]
}

// pass copies what comes in on one queue to the other, until it is over.
func pass(over *atomic.Bool, queues ...driver.Queue) error {
	in, out := make([]driver.Frame, 64), make([]driver.Frame, 64)
	for !over.Load() {
		passed := 0
		for i, q := range queues {
			to := queues[1-i]
			n, err := q.Receive(in)
			if err != nil {
				return err
			}
			have := to.Alloc(out[:n])
			for k := range have {
				out[k].Data = append(out[k].Data[:0], in[k].Data...)
			}
			q.Release(in[:n])
			sent, err := to.Transmit(out[:have])
			if err != nil {
				return err
			}
			to.Release(out[sent:have])
			passed += n
		}
		for _, q := range queues {
			if err := q.Flush(); err != nil && !errors.Is(err, driver.ErrLinkDown) {
				return err
			}
			if passed == 0 {
				if err := q.Wait(20 * time.Microsecond); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// The kernel's TCP on both ends of a network that loses and reorders: the figure
// that ours are to be seen beside.
func TestKernelToKernelUnderLoss(t *testing.T) {
	a, b := badWire(t)
	ln, err := b.Listen("tcp", netip.AddrPortFrom(ours4, 5001).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ends := func() (c, s net.Conn) {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		c, err := a.Dial(ctx, "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		return c, accepted(t, ln)
	}
	size, limit := lossTransfer(flow.TransportDefault)
	c, s := ends()
	send(t, "kernel's client to kernel's server", c, s, size, limit)
	c, s = ends()
	send(t, "kernel's server to kernel's client", s, c, size, limit)
}
