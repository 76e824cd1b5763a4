package socketapi

import (
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"syscall"
	"time"
)

// PacketConn is a UDP socket on one shard, with the methods of *net.UDPConn: the
// member of a PacketGroup, or what Dial gives for UDP. Its zero value is of no
// use.
//
// Its methods may be called from any goroutine. Addresses are never IPv4-mapped,
// whatever the socket is bound to. A PacketConn must be closed.
//
// Errors are *net.OpError as package net returns them.
type PacketConn struct {
	flow      flow.PacketFlow
	stackDone doneChan
	net       string
	local     *net.UDPAddr
	peer      *net.UDPAddr   // nil unless connected
	group     *PacketGroup   // nil for one from Dial
	index     int            // in the group
	bound     netip.AddrPort // local, for the data path

	rd, wr waiter
}

var (
	_ net.PacketConn = (*PacketConn)(nil)
	_ net.Conn       = (*PacketConn)(nil)
)

// newPacketConn wraps a flow. The caller calls start when all is in place.
func newPacketConn(flow flow.PacketFlow, stackDone doneChan, network string) *PacketConn {
	c := &PacketConn{flow: flow, stackDone: stackDone, net: network, bound: unmap(flow.LocalAddr())}
	c.local = udpAddr(c.bound)
	if peer := flow.RemoteAddr(); peer.IsValid() {
		c.peer = udpAddr(unmap(peer))
	}
	return c
}

// start begins to take notices.
func (c *PacketConn) start() { c.flow.Notify(c.notify) }

// notify runs with the flow's locks held: it only takes note.
func (c *PacketConn) notify(ev flow.Events) {
	if ev&(flow.Readable|flow.Closed) != 0 {
		c.rd.signal()
		if c.group != nil {
			c.group.in.signal(c.index)
		}
	}
	if ev&(flow.Writable|flow.Closed) != 0 {
		c.wr.signal()
	}
}

// ReadFromUDPAddrPort waits for a datagram, copies it into p and returns its
// length and source. What does not fit in p is lost. It does not allocate.
func (c *PacketConn) ReadFromUDPAddrPort(p []byte) (n int, from netip.AddrPort, err error) {
	n, from, err = c.read(p)
	if err != nil {
		err = c.readError("recvfrom", err)
	}
	return n, from, err
}

// ReadFromUDP is ReadFromUDPAddrPort with another type of address.
func (c *PacketConn) ReadFromUDP(p []byte) (int, *net.UDPAddr, error) {
	n, from, err := c.ReadFromUDPAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, udpAddr(from), nil
}

// ReadFrom is ReadFromUDPAddrPort; the address is a *net.UDPAddr.
func (c *PacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromUDPAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, udpAddr(from), nil
}

// Read is ReadFromUDPAddrPort for those who know or don't mind the source.
func (c *PacketConn) Read(p []byte) (int, error) {
	if len(p) == 0 { // as in package net: nothing is read then
		if err := c.rd.errClosed(); err != nil {
			return 0, c.readError("read", err)
		}
		return 0, nil
	}
	n, _, err := c.read(p)
	if err != nil {
		err = c.readError("read", err)
	}
	return n, err
}

func (c *PacketConn) read(p []byte) (int, netip.AddrPort, error) {
	w := &c.rd
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.clear()
		if err := w.err(); err != nil {
			return 0, netip.AddrPort{}, err
		}
		n, from, err := c.flow.ReadFrom(p)
		if err != flow.ErrWouldBlock {
			return n, unmap(from), err
		}
		w.park()
	}
}

// WriteToUDPAddrPort sends p as one datagram, and waits for room if need be. It
// does not allocate.
func (c *PacketConn) WriteToUDPAddrPort(p []byte, to netip.AddrPort) (int, error) {
	n, err := c.writeTo(p, to)
	if err != nil {
		err = c.writeError("sendto", addrPort{to}, err)
	}
	return n, err
}

// WriteToUDP is WriteToUDPAddrPort with another type of address.
func (c *PacketConn) WriteToUDP(p []byte, to *net.UDPAddr) (int, error) {
	if to == nil {
		err := errMissingAddress
		if c.peer != nil {
			err = net.ErrWriteToConnected
		}
		return 0, c.writeError("sendto", nil, err)
	}
	n, err := c.writeTo(p, to.AddrPort())
	if err != nil {
		err = c.writeError("sendto", to, err)
	}
	return n, err
}

// WriteTo is WriteToUDPAddrPort; the address must be a *net.UDPAddr.
func (c *PacketConn) WriteTo(p []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, c.writeError("", to, syscall.EINVAL)
	}
	return c.WriteToUDP(p, u)
}

// Write sends p to the peer of a socket from Dial.
func (c *PacketConn) Write(p []byte) (int, error) {
	if c.peer == nil {
		return 0, c.writeError("write", nil, syscall.EDESTADDRREQ)
	}
	n, err := c.write(p, netip.AddrPort{})
	if err != nil {
		err = c.writeError("write", c.peer, err)
	}
	return n, err
}

func (c *PacketConn) writeTo(p []byte, to netip.AddrPort) (int, error) {
	if c.peer != nil {
		return 0, net.ErrWriteToConnected
	}
	to = unmap(to)
	switch {
	case !to.Addr().IsValid():
		return 0, errMissingAddress
	case c.bound.Addr().Is4() && !to.Addr().Is4():
		return 0, &net.AddrError{Err: "non-IPv4 address", Addr: to.Addr().String()}
	}
	return c.write(p, to)
}

func (c *PacketConn) write(p []byte, to netip.AddrPort) (int, error) {
	w := &c.wr
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.clear()
		if err := w.err(); err != nil {
			return 0, err
		}
		n, err := c.flow.WriteTo(p, to)
		if err != flow.ErrWouldBlock {
			return n, err
		}
		w.park()
	}
}

// Close closes the socket. Reads and writes under way return an error that is
// net.ErrClosed, as do all later calls, a second Close among them. Closing a
// member of a group leaves the others open.
func (c *PacketConn) Close() error {
	if err := c.close(); err != nil {
		return c.opError("close", err)
	}
	return nil
}

func (c *PacketConn) close() error {
	if !c.rd.close() {
		return net.ErrClosed
	}
	c.wr.close()
	c.flow.Notify(nil)
	err := c.flow.Close()
	if c.group != nil {
		c.group.in.signal(c.index) // whose reader must learn that a member is gone
	}
	if c.stackDone.isClosed() {
		return nil // the stack closed it before, which is not the caller's fault
	}
	return sysError("close", err)
}

// LocalAddr returns the local address, a *net.UDPAddr. Each call returns the
// same, which must not be changed.
func (c *PacketConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the peer of a socket from Dial, a *net.UDPAddr, or nil. Each
// call returns the same, which must not be changed.
func (c *PacketConn) RemoteAddr() net.Addr {
	if c.peer == nil {
		return nil
	}
	return c.peer
}

// Shard returns the index of the shard the socket belongs to.
func (c *PacketConn) Shard() int { return c.flow.Shard() }

// SetDeadline is SetReadDeadline and SetWriteDeadline together.
func (c *PacketConn) SetDeadline(t time.Time) error {
	err := c.rd.setDeadline(t)
	if e := c.wr.setDeadline(t); err == nil {
		err = e
	}
	return c.setError(err)
}

// SetReadDeadline makes reads fail from t on with an error that is
// os.ErrDeadlineExceeded, the one under way included. The zero time means never.
func (c *PacketConn) SetReadDeadline(t time.Time) error { return c.setError(c.rd.setDeadline(t)) }

// SetWriteDeadline is SetReadDeadline for writes.
func (c *PacketConn) SetWriteDeadline(t time.Time) error { return c.setError(c.wr.setDeadline(t)) }

// SetReadBuffer sets how many bytes of received datagrams the stack keeps for the
// reader; what comes when it is full is dropped.
func (c *PacketConn) SetReadBuffer(bytes int) error {
	if err := c.rd.errClosed(); err != nil {
		return c.setError(err)
	}
	return c.setError(c.flow.SetReadBuffer(bytes))
}

// SetWriteBuffer sets how many bytes the stack keeps to be sent.
func (c *PacketConn) SetWriteBuffer(bytes int) error {
	if err := c.wr.errClosed(); err != nil {
		return c.setError(err)
	}
	return c.setError(c.flow.SetWriteBuffer(bytes))
}

func (c *PacketConn) setError(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "set", Net: c.net, Addr: c.local, Err: sysError("setsockopt", err)}
}

func (c *PacketConn) readError(call string, err error) error {
	return c.opError("read", c.stackDone.cause(call, err))
}

func (c *PacketConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.net, Source: c.local, Addr: c.RemoteAddr(), Err: err}
}

// writeError wraps an error of a write to the given address; an empty call
// leaves an errno bare, as package net does where it made no system call.
func (c *PacketConn) writeError(call string, to net.Addr, err error) error {
	if call != "" {
		err = c.stackDone.cause(call, err)
	}
	return &net.OpError{Op: "write", Net: c.net, Source: c.local, Addr: to, Err: err}
}

// addrPort is the net.Addr of a netip.AddrPort, made for errors only.
type addrPort struct{ netip.AddrPort }

func (addrPort) Network() string { return "udp" }
