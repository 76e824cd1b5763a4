package socketapi

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// ListenConfig says how to listen, for sockets and for event handlers. The zero
// value is right for most.
type ListenConfig struct {
	// ReusePort lets several groups listen on the same address and port, when
	// all of them ask for it. Connections are spread among them.
	ReusePort bool

	// Backlog bounds the connections of each shard that wait to be accepted; 0
	// is the stack's default.
	Backlog int

	// ReadBuffer and WriteBuffer are the sizes in bytes of the buffers of
	// accepted connections, and of packet sockets; 0 is the stack's default.
	ReadBuffer, WriteBuffer int

	// Transport is the TCP of the listener and its connections; the stack's by
	// default.
	Transport flow.Transport

	// KeepAlive and KeepAliveConfig are as in net.ListenConfig: probes are on by
	// default, every 15 seconds, and off when KeepAlive is negative and
	// KeepAliveConfig is not enabled.
	KeepAlive       time.Duration
	KeepAliveConfig net.KeepAliveConfig

	// MaxBuffered bounds, in bytes, the input of a connection that its Handler
	// has not consumed; 0 is 1 MiB. More is not read from the connection.
	MaxBuffered int

	// MaxUnsent bounds, in bytes, what is kept of a Handler's writes while the
	// stack has no room for it; 0 is 64 KiB. The stack's own buffer comes on top.
	MaxUnsent int
}

func (lc *ListenConfig) options(v6only bool) flow.SocketOptions {
	return flow.SocketOptions{
		ReusePort:   lc.ReusePort,
		V6Only:      v6only,
		Backlog:     lc.Backlog,
		ReadBuffer:  lc.ReadBuffer,
		WriteBuffer: lc.WriteBuffer,
		Transport:   lc.Transport,
	}
}

// Listen opens a TCP listener on every shard of st, or on none. The network is
// "tcp", "tcp4" or "tcp6". The address is "host:port", where the host is a literal
// IP address of the stack, or empty for all of them: with "tcp", those of both
// families, as in package net. Port 0 chooses one that is free on all shards.
//
// Errors are *net.OpError as net.Listen returns them.
func Listen(st *stack.Stack, network, address string) (*Group, error) {
	var lc ListenConfig
	return lc.Listen(st, network, address)
}

// Listen is the function Listen with the settings of lc.
func (lc *ListenConfig) Listen(st *stack.Stack, network, address string) (*Group, error) {
	h, err := hostOf(st)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return lc.listen(h, network, address)
}

func (lc *ListenConfig) listen(h host, network, address string) (*Group, error) {
	addr, err := parseListen("tcp", network, address)
	if err != nil {
		return nil, err
	}
	local, v6only := bindAddress(network, addr)
	opt := lc.options(v6only)
	flows, err := bindAll(h, local,
		func(sh shard, a netip.AddrPort) (flow.Listener, error) { return sh.ListenTCP(a, opt) },
		func(l flow.Listener) uint16 { return l.Addr().Port() })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: tcpAddr(addr), Err: err}
	}
	return newGroup(flows, h.Done(), network, keepAliveConfig(lc.KeepAlive, lc.KeepAliveConfig)), nil
}

// ListenPacket opens a UDP socket on every shard of st, or on none. The network is
// "udp", "udp4" or "udp6", the address as for Listen.
//
// Errors are *net.OpError as net.ListenPacket returns them.
func ListenPacket(st *stack.Stack, network, address string) (*PacketGroup, error) {
	var lc ListenConfig
	return lc.ListenPacket(st, network, address)
}

// ListenPacket is the function ListenPacket with the settings of lc.
func (lc *ListenConfig) ListenPacket(st *stack.Stack, network, address string) (*PacketGroup, error) {
	h, err := hostOf(st)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return lc.listenPacket(h, network, address)
}

func (lc *ListenConfig) listenPacket(h host, network, address string) (*PacketGroup, error) {
	addr, err := parseListen("udp", network, address)
	if err != nil {
		return nil, err
	}
	local, v6only := bindAddress(network, addr)
	opt := lc.options(v6only)
	flows, err := bindAll(h, local,
		func(sh shard, a netip.AddrPort) (flow.PacketFlow, error) { return sh.ListenUDP(a, opt) },
		func(f flow.PacketFlow) uint16 { return f.LocalAddr().Port() })
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: udpAddr(addr), Err: err}
	}
	return newPacketGroup(flows, h.Done(), network), nil
}

// portTries is how often bindAll lets a shard choose a port. The choice fails when
// another shard has a socket on that very port.
const portTries = 64

// bindAll binds local on every shard of h, or on none. For port 0 one shard
// chooses, a different one each time, and the others must have the port free too.
func bindAll[S io.Closer](
	h host, local netip.AddrPort,
	bind func(shard, netip.AddrPort) (S, error), port func(S) uint16,
) ([]S, error) {
	n := h.Shards()
	if n == 0 {
		return nil, errNoShards
	}
	tries := 1
	if local.Port() == 0 {
		tries = portTries
	}
	var last error
	for try := range tries {
		socks := make([]S, n)
		at := local
		var opened []S
		for k := range n {
			i := (try + k) % n
			s, err := bind(h.shard(i), at)
			if err != nil {
				last = err
				break
			}
			socks[i] = s
			opened = append(opened, s)
			at = netip.AddrPortFrom(local.Addr(), port(s))
		}
		if len(opened) == n {
			return socks, nil
		}
		for _, s := range opened {
			_ = s.Close() // nothing was sent or received: there is nothing to lose
		}
		if doneChan(h.Done()).isClosed() {
			return nil, net.ErrClosed
		}
		// Another shard may have a port left where this one had none.
		if !errors.Is(last, syscall.EADDRINUSE) && !errors.Is(last, syscall.EADDRNOTAVAIL) {
			break
		}
	}
	return nil, sysError("bind", last)
}
