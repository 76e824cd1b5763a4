package socketapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sockets is package net on the kernel's loopback, or this package in a world.
type sockets struct {
	host4, host6 string
	listen       func(network, address string) (net.Listener, error)
	listenPacket func(network, address string) (net.PacketConn, error)
	dial         func(ctx context.Context, local net.Addr, network, address string) (net.Conn, error)
}

var kernel = sockets{
	host4: "127.0.0.1", host6: "::1",
	listen:       net.Listen,
	listenPacket: net.ListenPacket,
	dial: func(ctx context.Context, local net.Addr, network, address string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: local}
		return d.DialContext(ctx, network, address)
	},
}

func (w *world) sockets() sockets {
	var lc ListenConfig
	return sockets{
		host4: "198.18.0.1", host6: "2001:db8::1",
		listen: func(network, address string) (net.Listener, error) {
			g, err := lc.listen(w.server, network, address)
			if err != nil {
				return nil, err
			}
			return g, nil
		},
		listenPacket: func(network, address string) (net.PacketConn, error) {
			g, err := lc.listenPacket(w.server, network, address)
			if err != nil {
				return nil, err
			}
			return g.PacketConn(0), nil
		},
		dial: func(ctx context.Context, local net.Addr, network, address string) (net.Conn, error) {
			d := Dialer{LocalAddr: local}
			return d.dial(ctx, w.client, network, address)
		},
	}
}

// tcpConn is what *net.TCPConn and *Conn share.
type tcpConn interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
	SetNoDelay(bool) error
	SetKeepAlive(bool) error
	SetKeepAlivePeriod(time.Duration) error
	SetKeepAliveConfig(net.KeepAliveConfig) error
	SetLinger(int) error
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

// udpConn is what *net.UDPConn and *PacketConn share.
type udpConn interface {
	net.Conn
	net.PacketConn
	ReadFromUDP([]byte) (int, *net.UDPAddr, error)
	WriteToUDP([]byte, *net.UDPAddr) (int, error)
	ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
	WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
}

var (
	_ tcpConn = (*net.TCPConn)(nil)
	_ tcpConn = (*Conn)(nil)
	_ udpConn = (*net.UDPConn)(nil)
	_ udpConn = (*PacketConn)(nil)
)

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (s sockets) tcpPair(t testing.TB) (server, client tcpConn, l net.Listener) {
	l = must[net.Listener](t)(s.listen("tcp", net.JoinHostPort(s.host4, "0")))
	c := must[net.Conn](t)(s.dial(context.Background(), nil, "tcp", l.Addr().String()))
	a := must[net.Conn](t)(l.Accept())
	t.Cleanup(func() { c.Close(); a.Close(); l.Close() })
	return a.(tcpConn), c.(tcpConn), l
}

func (s sockets) udp(t testing.TB) udpConn {
	c := must[net.PacketConn](t)(s.listenPacket("udp", net.JoinHostPort(s.host4, "0")))
	t.Cleanup(func() { c.Close() })
	return c.(udpConn)
}

func (s sockets) udpDialled(t testing.TB) udpConn {
	peer := s.udp(t)
	c := must[net.Conn](t)(s.dial(context.Background(), nil, "udp", peer.LocalAddr().String()))
	t.Cleanup(func() { c.Close() })
	return c.(udpConn)
}

// TestErrorsAreThoseOfPackageNet brings about the same situations on the kernel's
// loopback and in a world, and compares the errors: types all the way down, fields,
// what they are by errors.Is, and the text.
func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		for name, f := range situations {
			t.Run(name, func(t *testing.T) {
				want := describe(f(t, kernel))
				if got := describe(f(t, w.sockets())); got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			})
		}
	})
}

var (
	addresses = regexp.MustCompile(`127\.0\.0\.1|198\.18\.0\.[12]\b|\[::1\]|\[2001:db8::[12]\]|::1\b|2001:db8::[12]\b`)
	ports     = regexp.MustCompile(`HOST:\d+`)
)

// TestErrorsOfOurOwn has the one situation in which package net does not keep to
// its own rule, and returns net.ErrClosed bare.
func TestErrorsOfOurOwn(t *testing.T) {
	w := newFakeWorld(t, 1)
	g := w.listen(t, "tcp", ":0")
	g.Close()
	for _, l := range []interface{ SetDeadline(time.Time) error }{g, g.Listener(0)} {
		var oe *net.OpError
		if err := l.SetDeadline(past); !errors.As(err, &oe) || oe.Op != "set" || oe.Addr != g.Addr() || !errors.Is(err, net.ErrClosed) {
			t.Errorf("SetDeadline after Close: %v, want a *net.OpError with net.ErrClosed", err)
		}
	}
}

// describe writes down all there is to an error, with addresses made the same.
func describe(err error) string {
	if err == nil {
		return "no error"
	}
	var b strings.Builder
	for e := err; e != nil; e = errors.Unwrap(e) {
		typ := strings.TrimPrefix(fmt.Sprintf("%T", e), "*")
		if reflect.TypeOf(e) == reflect.TypeOf(timeoutError{}) || reflect.TypeOf(e) == reflect.TypeOf(canceledError{}) {
			typ = strings.Replace(typ, "socketapi.", "net.", 1) // package net does not export these
		}
		fmt.Fprintf(&b, "%s ", typ)
		switch e := e.(type) {
		case *net.OpError:
			fmt.Fprintf(&b, "{%s %s %s %s} ", e.Op, e.Net, describeAddr(e.Source), describeAddr(e.Addr))
		case *os.SyscallError:
			fmt.Fprintf(&b, "{%s} ", e.Syscall)
		case *net.DNSError:
			fmt.Fprintf(&b, "{not found %v} ", e.IsNotFound)
		}
	}
	for _, target := range []error{net.ErrClosed, os.ErrDeadlineExceeded, context.DeadlineExceeded, context.Canceled,
		net.ErrWriteToConnected, io.EOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EADDRINUSE,
		syscall.EADDRNOTAVAIL, syscall.EINVAL, syscall.EDESTADDRREQ, syscall.EMSGSIZE} {
		if errors.Is(err, target) {
			fmt.Fprintf(&b, "is %q ", target)
		}
	}
	if ne, ok := err.(net.Error); ok {
		fmt.Fprintf(&b, "timeout %v ", ne.Timeout())
	}
	text := ports.ReplaceAllString(addresses.ReplaceAllString(err.Error(), "HOST"), "HOST:PORT")
	return b.String() + ": " + text
}

func describeAddr(a net.Addr) string {
	switch a.(type) {
	case nil:
		return "nil"
	case addrPort:
		return "netip.AddrPort"
	}
	if strings.HasSuffix(fmt.Sprintf("%T", a), "addrPortUDPAddr") {
		return "netip.AddrPort"
	}
	return fmt.Sprintf("%T", a)
}
