package socketapi

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

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
