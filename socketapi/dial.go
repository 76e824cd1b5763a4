package socketapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// Dialer says how to connect. Stack must be set, the rest may be zero. It may be
// used by many goroutines; its DialContext fits http.Transport.
type Dialer struct {
	// Stack is what connects.
	Stack *stack.Stack

	// Shards are the indices of the shards new connections are put on, in turn.
	// None means all. With a local port given, the port decides which it is.
	Shards []int

	// Timeout and Deadline bound a dial, as in net.Dialer; zero is no bound.
	Timeout  time.Duration
	Deadline time.Time

	// LocalAddr is the address to connect from, a *net.TCPAddr or *net.UDPAddr to
	// match the network. Nil and zero fields leave the choice to the stack.
	LocalAddr net.Addr

	// KeepAlive and KeepAliveConfig are as in net.Dialer: probes are on by
	// default, every 15 seconds, and off when KeepAlive is negative and
	// KeepAliveConfig is not enabled.
	KeepAlive       time.Duration
	KeepAliveConfig net.KeepAliveConfig

	// ReadBuffer and WriteBuffer are the sizes in bytes of the socket's buffers; 0
	// is the stack's default.
	ReadBuffer, WriteBuffer int

	// Transport is the TCP of the connections; the stack's by default.
	Transport flow.Transport

	next uint32 // whose turn it is; by sync/atomic, not an atomic.Uint32, so that a Dialer can be copied as net's can
}

// Dial connects to address on the named network, from some shard of st: "tcp",
// "tcp4", "tcp6", "udp", "udp4" or "udp6", and a literal IP address with a port.
// It returns a *Conn or a *PacketConn.
//
// Shards are chosen at random; a Dialer takes them in turn.
//
// Errors are *net.OpError as net.Dial returns them.
func Dial(st *stack.Stack, network, address string) (net.Conn, error) {
	return DialContext(context.Background(), st, network, address)
}

// DialContext is Dial until ctx is over. Once connected, ctx no longer matters.
func DialContext(ctx context.Context, st *stack.Stack, network, address string) (net.Conn, error) {
	d := Dialer{Stack: st, next: rand.Uint32()}
	return d.DialContext(ctx, network, address)
}

// Dial connects as the function Dial does, with the settings of d.
func (d *Dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects as the function DialContext does, with the settings of d.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	h, err := hostOf(d.Stack)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return d.dial(ctx, h, network, address)
}

func (d *Dialer) dial(ctx context.Context, h host, network, address string) (net.Conn, error) {
	proto, remote, err := parseAddress(network, address)
	switch {
	case err != nil:
	case address == "":
		err = errMissingAddress
	case !remote.Addr().IsValid() || remote.Addr().IsUnspecified():
		// Package net takes this for the local system, which is the host here and
		// not this stack.
		err = &net.AddrError{Err: "missing host", Addr: address}
	}
	var local netip.AddrPort
	if err == nil {
		local, err = d.local(proto, remote)
	}
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if deadline := d.deadline(time.Now()); !deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	c, err := d.dialShards(ctx, h, proto, network, local, remote)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Source: d.LocalAddr, Addr: netAddr(proto, remote), Err: err}
	}
	return c, nil
}

// local checks LocalAddr against what is dialled.
func (d *Dialer) local(proto string, remote netip.AddrPort) (netip.AddrPort, error) {
	var zero, local netip.AddrPort
	switch a := d.LocalAddr.(type) {
	case nil:
		return zero, nil
	case *net.TCPAddr:
		if proto == "tcp" {
			local = a.AddrPort()
			break
		}
		return zero, &net.AddrError{Err: "mismatched local address type", Addr: a.String()}
	case *net.UDPAddr:
		if proto == "udp" {
			local = a.AddrPort()
			break
		}
		return zero, &net.AddrError{Err: "mismatched local address type", Addr: a.String()}
	default:
		return zero, &net.AddrError{Err: "mismatched local address type", Addr: a.String()}
	}
	ip := local.Addr().Unmap()
	if !ip.IsValid() || ip.IsUnspecified() {
		return netip.AddrPortFrom(netip.Addr{}, local.Port()), nil
	}
	if ip.Is4() != remote.Addr().Is4() {
		return zero, &net.AddrError{Err: "no suitable address found", Addr: d.LocalAddr.String()}
	}
	return netip.AddrPortFrom(ip, local.Port()), nil
}

// deadline is the earlier of the two d sets, or zero.
func (d *Dialer) deadline(now time.Time) time.Time {
	earliest := d.Deadline
	if d.Timeout != 0 { // a negative one is over at once, as in package net
		if t := now.Add(d.Timeout); earliest.IsZero() || t.Before(earliest) {
			earliest = t
		}
	}
	return earliest
}

// dialShards tries the shard whose turn it is, and the others while the one before
// has no port left to dial from: the range of ports is split between shards, so one
// may run out long before the rest.
//
// A local port asked for always falls on the same shard instead. Each shard knows
// its own ports only; on different ones, two connections could be given the same
// addresses and ports.
func (d *Dialer) dialShards(ctx context.Context, h host, proto, network string, local, remote netip.AddrPort) (net.Conn, error) {
	candidates := len(d.Shards)
	if candidates == 0 {
		candidates = h.Shards()
	}
	if candidates == 0 {
		return nil, errNoShards
	}
	start, tries := uint(local.Port()), uint(1)
	if local.Port() == 0 {
		start, tries = uint(atomic.AddUint32(&d.next, 1)-1), uint(candidates)
	}
	var first error
	for k := range tries {
		if err := ctx.Err(); err != nil {
			return nil, dialError(err)
		}
		i := int((start + k) % uint(candidates))
		if len(d.Shards) != 0 {
			i = d.Shards[i]
		}
		if i < 0 || i >= h.Shards() {
			return nil, errNoShards
		}
		var c net.Conn
		var err error
		if proto == "udp" {
			c, err = d.dialUDP(h, i, network, local, remote)
		} else {
			c, err = d.dialTCP(ctx, h, i, network, local, remote)
		}
		if err == nil {
			return c, nil
		}
		if doneChan(h.Done()).isClosed() {
			return nil, net.ErrClosed
		}
		if first == nil {
			first = err
		}
		if !errors.Is(err, syscall.EADDRNOTAVAIL) && !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, first
}

func (d *Dialer) options() flow.SocketOptions {
	return flow.SocketOptions{ReadBuffer: d.ReadBuffer, WriteBuffer: d.WriteBuffer, Transport: d.Transport}
}

func (d *Dialer) dialUDP(h host, i int, network string, local, remote netip.AddrPort) (net.Conn, error) {
	flow, err := h.shard(i).DialUDP(local, remote, d.options())
	if err != nil {
		return nil, sysError(failedCall(local, err), err)
	}
	c := newPacketConn(flow, h.Done(), network)
	c.start()
	return c, nil
}

func (d *Dialer) dialTCP(ctx context.Context, h host, i int, network string, local, remote netip.AddrPort) (net.Conn, error) {
	flow, err := h.shard(i).DialTCP(local, remote, d.options())
	if err != nil {
		return nil, sysError(failedCall(local, err), err)
	}
	c := newConn(flow, h.Done(), network)
	c.start()
	if err := c.connect(ctx); err != nil {
		flow.Notify(nil)
		flow.Abort()
		return nil, err
	}
	c.established(keepAliveConfig(d.KeepAlive, d.KeepAliveConfig))
	return c, nil
}

// failedCall names the system call that would have failed with err: bind for one
// that is about a local address asked for.
func failedCall(local netip.AddrPort, err error) string {
	if local != (netip.AddrPort{}) && (errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, syscall.EADDRNOTAVAIL)) {
		return "bind"
	}
	return "connect"
}

// connect waits for the attempt to end, well or badly, or for ctx, or for the end
// of the stack: an attempt that began while it closed may go unnoticed by it.
func (c *Conn) connect(ctx context.Context) error {
	w := &c.wr
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.clear()
		err := c.flow.ConnectError()
		if err != flow.ErrWouldBlock {
			return sysError("connect", err)
		}
		w.parkOr(ctx.Done(), c.stackDone)
		if err := ctx.Err(); err != nil {
			return dialError(err)
		}
		if c.stackDone.isClosed() {
			return net.ErrClosed
		}
	}
}
