package socketapi

import (
	"io"
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"sync/atomic"
	"time"
)

// Conn is a TCP connection, with the methods of *net.TCPConn. It belongs to one
// shard for life. Listen and Dial make it; its zero value is of no use.
//
// Its methods may be called from any goroutine. Concurrent Reads take turns, and
// so do concurrent Writes: the bytes of one Write are never mixed with another's.
// A Conn must be closed: until then the stack keeps the connection, and with it
// the Conn, whoever else has forgotten it.
//
// Errors are *net.OpError as package net returns them. io.EOF is returned as it is.
type Conn struct {
	flow      flow.Flow
	stackDone doneChan
	net       string
	local     netip.AddrPort
	peer      netip.AddrPort

	localAddr atomic.Pointer[net.TCPAddr] // made when first asked for
	peerAddr  atomic.Pointer[net.TCPAddr]
	keepAlive atomic.Bool

	rd, wr waiter
}

var _ net.Conn = (*Conn)(nil)

// newConn wraps a flow. The caller calls start once the flow is connected or
// being connected.
func newConn(flow flow.Flow, stackDone doneChan, network string) *Conn {
	return &Conn{flow: flow, stackDone: stackDone, net: network}
}

// start begins to take notices.
func (c *Conn) start() { c.flow.Notify(c.notify) }

// established keeps the addresses, which a flow may forget when it has ended,
// and sets the options package net sets on a new connection.
func (c *Conn) established(ka net.KeepAliveConfig) {
	c.local = unmap(c.flow.LocalAddr())
	c.peer = unmap(c.flow.RemoteAddr())
	if ka.Enable {
		// As in package net, a connection that can't have probes is still good.
		_ = c.setKeepAlive(ka)
	}
}

// notify runs with the flow's locks held: it only takes note.
func (c *Conn) notify(ev flow.Events) {
	if ev&(flow.Readable|flow.Closed) != 0 {
		c.rd.signal()
	}
	if ev&(flow.Writable|flow.Closed) != 0 {
		c.wr.signal()
	}
}

// Read reads into p what has arrived, at least one byte, and waits for it if need
// be. It returns io.EOF after the peer has sent its last byte. Read does not keep
// p, and does not allocate.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.read(p)
	if err != nil {
		return n, c.readError(err)
	}
	return n, nil
}

func (c *Conn) readError(err error) error {
	if err == io.EOF && !c.stackDone.isClosed() {
		return io.EOF
	}
	return c.opError("read", c.stackDone.cause("read", err))
}

func (c *Conn) read(p []byte) (int, error) {
	w := &c.rd
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(p) == 0 {
		return 0, w.errClosed() // package net does not look at the deadline here
	}
	for {
		w.clear()
		if err := w.err(); err != nil {
			return 0, err
		}
		n, err := c.flow.Read(p)
		if err != flow.ErrWouldBlock {
			return n, err
		}
		w.park()
	}
}

// Write sends p, and waits for room if need be. It returns when the stack has
// taken all of p, which is before the peer has it. When it fails, n says how many
// bytes were taken. Write does not keep p, and does not allocate.
func (c *Conn) Write(p []byte) (n int, err error) {
	n, err = c.write(p)
	if err != nil {
		err = c.opError("write", c.stackDone.cause("write", err))
	}
	return n, err
}

func (c *Conn) write(p []byte) (n int, err error) {
	w := &c.wr
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.clear()
		if err := w.err(); err != nil {
			return n, err
		}
		m, err := c.flow.Write(p[n:])
		n += m
		switch {
		case err == flow.ErrWouldBlock:
			if n == len(p) {
				return n, nil
			}
			w.park()
		case err != nil || n == len(p):
			return n, err
		case m == 0:
			return n, io.ErrUnexpectedEOF // a flow that breaks its contract must not make this spin
		}
	}
}

// Close closes the connection. What was written is still sent, in the background,
// unless SetLinger(0) was called. Reads and Writes under way return an error that
// is net.ErrClosed, as do all later calls, a second Close among them.
func (c *Conn) Close() error {
	if !c.rd.close() {
		return c.opError("close", net.ErrClosed)
	}
	c.wr.close()
	// The connection lives on in the stack until the peer has closed too; it must
	// not hold the Conn that long.
	c.flow.Notify(nil)
	if err := c.flow.Close(); err != nil && !c.stackDone.isClosed() {
		return c.opError("close", sysError("close", err))
	}
	return nil
}

// CloseRead shuts the reading side: Read returns io.EOF, and what still arrives is
// discarded.
func (c *Conn) CloseRead() error { return c.shutdown(&c.rd, c.flow.CloseRead) }

// CloseWrite shuts the writing side: the peer reads io.EOF after what was written
// before. Reading goes on.
func (c *Conn) CloseWrite() error { return c.shutdown(&c.wr, c.flow.CloseWrite) }

func (c *Conn) shutdown(w *waiter, f func() error) error {
	err := w.errClosed()
	if err == nil {
		err = f()
	}
	if err != nil {
		return c.opError("close", c.stackDone.cause("shutdown", err))
	}
	w.signal()
	return nil
}

// LocalAddr returns the local address, a *net.TCPAddr. Each call returns the
// same, which must not be changed.
func (c *Conn) LocalAddr() net.Addr { return addrOnce(&c.localAddr, c.local) }

// RemoteAddr returns the peer's address, a *net.TCPAddr. Each call returns the
// same, which must not be changed.
func (c *Conn) RemoteAddr() net.Addr { return addrOnce(&c.peerAddr, c.peer) }

func addrOnce(p *atomic.Pointer[net.TCPAddr], a netip.AddrPort) *net.TCPAddr {
	if t := p.Load(); t != nil {
		return t
	}
	p.CompareAndSwap(nil, tcpAddr(a))
	return p.Load()
}

// Shard returns the index of the shard the connection belongs to.
func (c *Conn) Shard() int { return c.flow.Shard() }

// SetDeadline is SetReadDeadline and SetWriteDeadline together.
func (c *Conn) SetDeadline(t time.Time) error {
	err := c.rd.setDeadline(t)
	if e := c.wr.setDeadline(t); err == nil {
		err = e
	}
	return c.setError(err)
}

// SetReadDeadline makes Reads fail from t on with an error that is
// os.ErrDeadlineExceeded, the one under way included. The zero time means never.
// Moving a deadline forward costs no timer.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setError(c.rd.setDeadline(t)) }

// SetWriteDeadline is SetReadDeadline for Writes. A Write that fails may have
// sent some of its bytes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setError(c.wr.setDeadline(t)) }

// setError wraps an error of those setters for which package net names the local
// address alone.
func (c *Conn) setError(err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: "set", Net: c.net, Addr: c.LocalAddr(), Err: sysError("setsockopt", err)}
}

func (c *Conn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: c.net, Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}
