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

var (
	past = time.Unix(1, 0)
	one  = []byte("x")
)

// situations each end in an error; or, where none is said to come, in nil.
var situations = map[string]func(t *testing.T, s sockets) error{
	"listen unknown network":      listenError("xyz", ":0"),
	"listen no network":           listenError("", ":0"),
	"listen udp":                  listenError("udp", "HOST4:0"),
	"listen without port":         listenError("tcp", "HOST4"),
	"listen port too large":       listenError("tcp", "HOST4:65536"),
	"listen port negative":        listenError("tcp", "HOST4:-1"),
	"listen unknown service":      listenError("tcp", "HOST4:no-such-service"),
	"listen too many colons":      listenError("tcp", "2001:db8::1:80"),
	"listen missing bracket":      listenError("tcp", "[::1:80"),
	"listen tcp4 on IPv6":         listenError("tcp4", "[HOST6]:0"),
	"listen tcp6 on IPv4":         listenError("tcp6", "HOST4:0"),
	"listen tcp6 on IPv4-mapped":  listenError("tcp6", "[::ffff:HOST4]:0"),
	"listen on another's address": listenError("tcp", "198.18.0.99:0"),
	"listen on nothing":           listenError("tcp", ""),
	"listen twice": func(t *testing.T, s sockets) error {
		_, _, l := s.tcpPair(t)
		_, err := s.listen("tcp", l.Addr().String())
		return err
	},
	"listenPacket tcp":             listenPacketError("tcp", "HOST4:0"),
	"listenPacket unknown network": listenPacketError("xyz", ":0"),
	"listenPacket without port":    listenPacketError("udp", "HOST4"),
	"listenPacket udp4 on IPv6":    listenPacketError("udp4", "[HOST6]:0"),
	"listenPacket on another's":    listenPacketError("udp", "198.18.0.99:0"),
	"listenPacket twice": func(t *testing.T, s sockets) error {
		_, err := s.listenPacket("udp", s.udp(t).LocalAddr().String())
		return err
	},

	"accept after Close": func(t *testing.T, s sockets) error {
		_, _, l := s.tcpPair(t)
		l.Close()
		_, err := l.Accept()
		return err
	},
	"accept past deadline": func(t *testing.T, s sockets) error {
		_, _, l := s.tcpPair(t)
		l.(interface{ SetDeadline(time.Time) error }).SetDeadline(past)
		_, err := l.Accept()
		return err
	},
	"listener Close twice": func(t *testing.T, s sockets) error {
		_, _, l := s.tcpPair(t)
		l.Close()
		return l.Close()
	},

	"dial unknown network":        dialErr("xyz", "HOST4:9", nil),
	"dial nothing":                dialErr("tcp", "", nil),
	"dial without port":           dialErr("tcp", "HOST4", nil),
	"dial port too large":         dialErr("tcp", "HOST4:65536", nil),
	"dial unknown service":        dialErr("tcp", "HOST4:no-such-service", nil),
	"dial tcp4 to IPv6":           dialErr("tcp4", "[HOST6]:9", nil),
	"dial tcp6 to IPv4":           dialErr("tcp6", "HOST4:9", nil),
	"dial udp4 to IPv6":           dialErr("udp4", "[HOST6]:9", nil),
	"dial refused":                dialErr("tcp", "HOST4:9", nil),
	"dial refused IPv6":           dialErr("tcp", "[HOST6]:9", nil),
	"dial tcp from UDPAddr":       dialErr("tcp", "HOST4:9", &net.UDPAddr{IP: net.IPv4(198, 18, 0, 2)}),
	"dial udp from TCPAddr":       dialErr("udp", "HOST4:9", &net.TCPAddr{IP: net.IPv4(198, 18, 0, 2)}),
	"dial from a Unix address":    dialErr("tcp", "HOST4:9", &net.UnixAddr{Name: "x", Net: "unix"}),
	"dial IPv4 from IPv6":         dialErr("tcp", "HOST4:9", &net.TCPAddr{IP: net.ParseIP("2001:db8::2")}),
	"dial from another's address": dialErr("tcp", "HOST4:9", &net.TCPAddr{IP: net.IPv4(198, 18, 0, 99)}),
	"dial with context canceled": func(t *testing.T, s sockets) error {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := s.dial(ctx, nil, "tcp", s.host4+":9")
		return err
	},
	"dial with context expired": func(t *testing.T, s sockets) error {
		ctx, cancel := context.WithDeadline(context.Background(), past)
		defer cancel()
		_, err := s.dial(ctx, nil, "tcp", s.host4+":9")
		return err
	},

	"read after Close":       closedConn(func(c tcpConn) error { _, err := c.Read(one); return err }),
	"read nothing, closed":   closedConn(func(c tcpConn) error { _, err := c.Read(nil); return err }),
	"write after Close":      closedConn(func(c tcpConn) error { _, err := c.Write(one); return err }),
	"write nothing, closed":  closedConn(func(c tcpConn) error { _, err := c.Write(nil); return err }),
	"Close twice":            closedConn(func(c tcpConn) error { return c.Close() }),
	"CloseRead, closed":      closedConn(func(c tcpConn) error { return c.CloseRead() }),
	"CloseWrite, closed":     closedConn(func(c tcpConn) error { return c.CloseWrite() }),
	"SetDeadline, closed":    closedConn(func(c tcpConn) error { return c.SetDeadline(past) }),
	"SetReadDeadline, ...":   closedConn(func(c tcpConn) error { return c.SetReadDeadline(time.Time{}) }),
	"SetWriteDeadline, ...":  closedConn(func(c tcpConn) error { return c.SetWriteDeadline(past) }),
	"SetNoDelay, closed":     closedConn(func(c tcpConn) error { return c.SetNoDelay(true) }),
	"SetKeepAlive, closed":   closedConn(func(c tcpConn) error { return c.SetKeepAlive(true) }),
	"SetKeepAlivePeriod ...": closedConn(func(c tcpConn) error { return c.SetKeepAlivePeriod(time.Second) }),
	"SetKeepAliveConfig ...": closedConn(func(c tcpConn) error { return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true}) }),
	"SetLinger, closed":      closedConn(func(c tcpConn) error { return c.SetLinger(0) }),
	"SetReadBuffer, closed":  closedConn(func(c tcpConn) error { return c.SetReadBuffer(1 << 16) }),
	"SetWriteBuffer, closed": closedConn(func(c tcpConn) error { return c.SetWriteBuffer(1 << 16) }),

	"read past deadline": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.SetReadDeadline(past)
		_, err := c.Read(make([]byte, 1))
		return err
	},
	"write past deadline": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.SetWriteDeadline(past)
		_, err := c.Write(one)
		return err
	},
	"read nothing past deadline": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.SetDeadline(past)
		_, err := c.Read(nil)
		return err
	},
	"read to the end": func(t *testing.T, s sockets) error {
		c, peer, _ := s.tcpPair(t)
		peer.CloseWrite()
		_, err := c.Read(make([]byte, 1))
		return err
	},
	"read after CloseRead": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.CloseRead()
		_, err := c.Read(make([]byte, 1))
		return err
	},
	"write after CloseWrite": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.CloseWrite()
		_, err := c.Write(one)
		return err
	},
	"CloseWrite twice": func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.CloseWrite()
		return c.CloseWrite()
	},
	"read after reset": func(t *testing.T, s sockets) error {
		c, peer, _ := s.tcpPair(t)
		peer.SetLinger(0)
		peer.Close()
		_, err := c.Read(make([]byte, 1))
		return err
	},

	"udp read after Close":         closedUDP(func(c udpConn) error { _, _, err := c.ReadFrom(one); return err }),
	"udp ReadFromUDP, closed":      closedUDP(func(c udpConn) error { _, _, err := c.ReadFromUDP(one); return err }),
	"udp AddrPort read, closed":    closedUDP(func(c udpConn) error { _, _, err := c.ReadFromUDPAddrPort(one); return err }),
	"udp Read, closed":             closedUDP(func(c udpConn) error { _, err := c.Read(one); return err }),
	"udp WriteTo, closed":          closedUDP(func(c udpConn) error { _, err := c.WriteTo(one, c.LocalAddr()); return err }),
	"udp Close twice":              closedUDP(func(c udpConn) error { return c.Close() }),
	"udp SetDeadline, closed":      closedUDP(func(c udpConn) error { return c.SetDeadline(past) }),
	"udp SetReadBuffer, closed":    closedUDP(func(c udpConn) error { return c.SetReadBuffer(1 << 16) }),
	"udp write to nobody":          udpError(func(c udpConn) error { _, err := c.WriteToUDP(one, nil); return err }),
	"udp write to a TCPAddr":       udpError(func(c udpConn) error { _, err := c.WriteTo(one, &net.TCPAddr{}); return err }),
	"udp write to nil":             udpError(func(c udpConn) error { _, err := c.WriteTo(one, nil); return err }),
	"udp Write without a peer":     udpError(func(c udpConn) error { _, err := c.Write(one); return err }),
	"udp IPv4 socket to IPv6":      udpError(func(c udpConn) error { _, err := c.WriteToUDP(one, v6Peer); return err }),
	"udp IPv4 to IPv6 by AddrPort": udpError(func(c udpConn) error { _, err := c.WriteToUDPAddrPort(one, v6Peer.AddrPort()); return err }),
	"udp too large":                udpError(func(c udpConn) error { _, err := c.WriteTo(make([]byte, 65508), c.LocalAddr()); return err }),
	"udp read past deadline":       udpError(func(c udpConn) error { c.SetDeadline(past); _, _, err := c.ReadFrom(one); return err }),
	"udp write past deadline": udpError(func(c udpConn) error {
		c.SetDeadline(past)
		_, err := c.WriteTo(one, c.LocalAddr())
		return err
	}),
	"udp WriteTo of a dialled": func(t *testing.T, s sockets) error {
		c := s.udpDialled(t)
		_, err := c.WriteTo(one, c.RemoteAddr())
		return err
	},
	"udp WriteTo nil of a dialled": func(t *testing.T, s sockets) error {
		_, err := s.udpDialled(t).WriteToUDP(one, nil)
		return err
	},
	"udp Write of a closed dialled": func(t *testing.T, s sockets) error {
		c := s.udpDialled(t)
		c.Close()
		_, err := c.Write(one)
		return err
	},
	"udp Read of a closed dialled": func(t *testing.T, s sockets) error {
		c := s.udpDialled(t)
		c.Close()
		_, err := c.Read(one)
		return err
	},
	"udp read refused": func(t *testing.T, s sockets) error {
		c := must[net.Conn](t)(s.dial(context.Background(), nil, "udp", s.host4+":9"))
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(one); err != nil {
			t.Fatal(err)
		}
		_, err := c.Read(make([]byte, 1))
		return err
	},
}

var v6Peer = &net.UDPAddr{IP: net.ParseIP("2001:db8::9"), Port: 9}

func (s sockets) fill(address string) string {
	return strings.NewReplacer("HOST4", s.host4, "HOST6", s.host6).Replace(address)
}

func listenError(network, address string) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error {
		l, err := s.listen(network, s.fill(address))
		if err == nil {
			l.Close()
		}
		return err
	}
}

func listenPacketError(network, address string) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error {
		_, err := s.listenPacket(network, s.fill(address))
		return err
	}
}

func dialErr(network, address string, local net.Addr) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error {
		_, err := s.dial(context.Background(), local, network, s.fill(address))
		return err
	}
}

func closedConn(f func(tcpConn) error) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error {
		c, _, _ := s.tcpPair(t)
		c.Close()
		return f(c)
	}
}

func closedUDP(f func(udpConn) error) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error {
		c := s.udp(t)
		c.Close()
		return f(c)
	}
}

func udpError(f func(udpConn) error) func(*testing.T, sockets) error {
	return func(t *testing.T, s sockets) error { return f(s.udp(t)) }
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
