//go:build linux

package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver/afxdp"
	"shardnet/driver/netlab"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/flow"
)

// The names of the targets, as scripts have them.
const (
	kernel   = "kernel"
	netstack = "netstack"
	fast     = "fast"
)

var targets = []string{kernel, netstack, fast}

// Addresses of the target. Every conversation has a peer's address of its own, so that none
// sees what another taught the target about a path.
var (
	target4 = netip.MustParsePrefix("198.18.0.2/16")
	// That of target4's subnet, for what is sent to everybody.
	broadcast4 = netip.MustParseAddr("198.18.255.255")
	target6    = netip.MustParsePrefix("2001:db8::2/64")
)

// listening is what a script asks of a listener.
type listening struct {
	backlog, rcvbuf int // 0 is the target's own
}

// target is a TCP to be talked to, and the peer on the other end of its link.
type target struct {
	name   string
	peer   *rawPeer
	serial atomic.Uint32
	listen func(at netip.AddrPort, l listening) (net.Listener, error)
	dial   func(ctx context.Context, to netip.AddrPort) (net.Conn, error)
}

// sackRoom is what the target leaves free in every segment for SACK blocks that it may
// have to send some time, beside a timestamp or not: netstack's way. The others
// make room when there are blocks.
func (g *target) sackRoom(stamp bool) int {
	switch {
	case g.name != netstack:
		return 0
	case stamp:
		return 40 - 12
	}
	return 36
}

// addresses of the next conversation: the target's and the peer's.
func (g *target) addresses(v6 bool) (at netip.AddrPort, peer netip.Addr) {
	n := g.serial.Add(1)
	port := uint16(10000 + n%20000)
	if v6 {
		return netip.AddrPortFrom(target6.Addr(), port), netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 13: 1, 14: byte(n >> 8), 15: byte(n)})
	}
	return netip.AddrPortFrom(target4.Addr(), port), netip.AddrFrom4([4]byte{198, 18, byte(1 + n/250), byte(1 + n%250)})
}

// newTarget makes a link with the target on one end and the peer on the other, for
// as long as the test runs.
func newTarget(t testing.TB, name string) *target {
	t.Helper()
	// The peer compares checksums and the sizes of segments: none of them is left to
	// an offload, on either end.
	end := netlab.End{Name: "vt", NoTxChecksum: true, NoSegmentation: true}
	if name == kernel {
		end.Addresses = []netip.Prefix{target4, target6}
	}
	p, e := netlab.Pair(t, netlab.End{Name: "vp", NoSegmentation: true}, end, netlab.LinkConfig{})
	g := &target{name: name}
	var err error
	if g.peer, err = newRawPeer(p, e.MAC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.peer.close(); err != nil {
			t.Errorf("close the peer: %v", err)
		}
	})
	if name == kernel {
		err = g.onKernel(e)
	} else {
		err = g.onStack(t, e, map[string]flow.Transport{netstack: flow.TransportNetstack, fast: flow.TransportFast}[name])
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// kernelSettings make the kernel's TCP the same wherever the test runs. What
// an older kernel does not have is not needed there.
var kernelSettings = []struct {
	key, value string
	required   bool
}{
	{"net.ipv4.tcp_congestion_control", "reno", true}, // there everywhere, and does not pace
	{"net.ipv4.tcp_syncookies", "1", true},
	{"net.ipv4.tcp_ecn", "2", true},
	{"net.ipv4.tcp_rmem", "4096 131072 6291456", true},
	{"net.ipv4.tcp_wmem", "4096 16384 4194304", true},
	{"net.ipv4.tcp_syn_retries", "3", true},
	{"net.ipv4.tcp_no_metrics_save", "1", true},
	{"net.ipv4.tcp_syn_linear_timeouts", "0", false}, // since 6.5; RFC 6298 backs off from the first
	{"net.ipv4.tcp_comp_sack_nr", "0", false},        // an ACK for every segment out of order
}

// onKernel makes the sockets of a namespace the target.
func (g *target) onKernel(end *netlab.Interface) error {
	h := end.Host
	for _, s := range kernelSettings {
		if err := h.Sysctl(s.key, s.value); err != nil && s.required {
			return fmt.Errorf("set %s: %w", s.key, err)
		}
	}
	// Without offloads TCP would still make packets of many segments and have them cut,
	// and wait to fill them.
	link, err := h.Netlink().LinkByIndex(end.Index)
	if err == nil {
		err = h.Netlink().LinkSetGSOMaxSegs(link, 1)
	}
	if err != nil {
		return fmt.Errorf("have %s take single segments: %w", end.Name, err)
	}
	g.listen = func(at netip.AddrPort, l listening) (ln net.Listener, err error) {
		lc := net.ListenConfig{KeepAlive: -1, Control: socketOption(l.rcvbuf)}
		err = h.Do(func() error {
			ln, err = lc.Listen(context.Background(), "tcp", at.String())
			return err
		})
		if err == nil && l.backlog > 0 {
			// listen(2) again sets the backlog, which package net does not let one choose.
			err = control(ln.(*net.TCPListener), func(fd int) error { return unix.Listen(fd, l.backlog) })
		}
		return ln, err
	}
	g.dial = func(ctx context.Context, to netip.AddrPort) (c net.Conn, err error) {
		err = h.Do(func() error {
			d := net.Dialer{KeepAlive: -1}
			c, err = d.DialContext(ctx, "tcp", to.String())
			return err
		})
		return c, err
	}
	return nil
}

func socketOption(rcvbuf int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		if rcvbuf == 0 {
			return nil
		}
		cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, rcvbuf) })
		return errors.Join(err, cerr)
	}
}

func control(l *net.TCPListener, f func(fd int) error) error {
	rc, err := l.SyscallConn()
	if err != nil {
		return err
	}
	cerr := rc.Control(func(fd uintptr) { err = f(int(fd)) })
	return errors.Join(err, cerr)
}

// onStack makes a stack over AF_XDP the target.
func (g *target) onStack(t testing.TB, end *netlab.Interface, tr flow.Transport) error {
	var dev *afxdp.Device
	err := end.Host.Do(func() (err error) {
		dev, err = afxdp.Open(&afxdp.Config{Interface: end.Name, Addresses: []netip.Prefix{target4, target6}})
		return err
	})
	if err != nil {
		return fmt.Errorf("open %s: %w", end.Name, err)
	}
	st, err := stack.New(dev, &stack.Config{
		Addresses:    []netip.Prefix{target4, target6},
		Transport:    tr,
		CloseTimeout: 100 * time.Millisecond, // the peer is gone by then
		Logger:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return errors.Join(fmt.Errorf("start a stack: %w", err), dev.Close())
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the stack: %v", err)
		}
		for i := range st.Shards() {
			if n := st.Shard(i).Stats().Queue.Lent; n != 0 {
				t.Errorf("shard %d holds %d frames after Close", i, n)
			}
		}
	})
	g.listen = func(at netip.AddrPort, l listening) (net.Listener, error) {
		lc := socketapi.ListenConfig{KeepAlive: -1, Backlog: l.backlog, ReadBuffer: l.rcvbuf, Transport: tr}
		return lc.Listen(st, "tcp", at.String())
	}
	g.dial = func(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
		d := socketapi.Dialer{Stack: st, KeepAlive: -1, Transport: tr}
		return d.DialContext(ctx, "tcp", to.String())
	}
	return nil
}

// conn is what all targets' connections have.
type conn interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetLinger(sec int) error
	SetNoDelay(on bool) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
}
