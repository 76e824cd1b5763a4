package socketapi

import (
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"syscall"
)

// EventConn is a TCP connection that a Handler serves. It belongs to one shard for
// life, and its methods are called on that shard's loop, which is where the
// Handler's are; Post alone may be called from anywhere.
//
// An EventConn takes 80 bytes beside what the stack needs for a connection, and
// has a buffer only while input is not consumed or output not taken.
type EventConn struct {
	flow  flow.Flow
	loop  *eventLoop
	value any
	in    *eventBuf  // input offered and not consumed
	out   *eventBuf  // output not taken by flow
	extra *connExtra // what few connections have
	slot  int32      // index in loop.conns
	state connState
}

// connExtra is what a connection seldom has, or not for long.
type connExtra struct {
	timers *EventTimer // waiting
	work   int         // calls of Go that have not returned
	cause  error       // why the connection is to end
}

// connState are the bits of an EventConn's state.
type connState uint32

const (
	connOver     connState = 1 << iota // OnClose was called, or is being called
	connFailed                         // to be ended with extra.cause
	connAborted                        // to be reset
	connClosing                        // Close was called, or both sides are done: to be closed once all is sent
	connShut                           // CloseWrite was called
	connShutDone                       // and all was sent before
	connEOF                            // the peer's FIN was read
	connFull                           // a Write was cut short; OnWritable is owed
	connDirty                          // on loop.dirty
	connReposted                       // posted, goes on in the next turn
)

// connEnding are the states in which the handler gets no data any more.
const connEnding = connOver | connFailed | connAborted | connClosing

// Write takes p to be sent and returns how many bytes it took, all of them unless
// err says why not. It never blocks, and does not keep p.
//
// What is written during a callback leaves when that has returned, in as few
// segments as it takes. At most ListenConfig.MaxUnsent bytes that the stack has no
// room for are kept: what is beyond is refused with ErrBackPressure, and OnWritable
// is called when half of them are gone. Until then nothing more is read either, so
// that the peer is slowed down.
//
// Other errors: net.ErrClosed after Close, EPIPE after CloseWrite, and what ended
// the connection, for which OnClose is about to be called.
func (c *EventConn) Write(p []byte) (n int, err error) {
	if err := c.mayWrite(); err != nil {
		return 0, err
	}
	for {
		m, err := c.take(p[n:])
		if n += m; n == len(p) || err != nil {
			return n, err
		}
		if c.out.len() >= c.loop.maxUnsent {
			if m, err = c.flush(); err != nil {
				return n, err
			}
			if m == 0 {
				c.state |= connFull
				c.markDirty()
				return n, ErrBackPressure
			}
		}
	}
}

// Writev is Write for several buffers, as if they were one.
func (c *EventConn) Writev(bufs ...[]byte) (n int, err error) {
	for _, b := range bufs {
		m, err := c.Write(b)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// Buffered returns how many bytes were written and not yet taken by the stack.
// During a callback, that includes what the callback wrote.
func (c *EventConn) Buffered() int { return c.out.len() }

// Value returns what SetValue stored last, or nil.
func (c *EventConn) Value() any { return c.value }

// SetValue stores what belongs to the connection: its parser, its user.
func (c *EventConn) SetValue(v any) { c.value = v }

// LocalAddr returns the address the peer connected to.
func (c *EventConn) LocalAddr() netip.AddrPort { return unmap(c.flow.LocalAddr()) }

// RemoteAddr returns the peer's address.
func (c *EventConn) RemoteAddr() netip.AddrPort { return unmap(c.flow.RemoteAddr()) }

// Shard returns the index of the shard the connection belongs to.
func (c *EventConn) Shard() int { return c.flow.Shard() }

// Server returns the server the connection came in on.
func (c *EventConn) Server() *Server { return c.loop.srv }

// CloseWrite sends FIN after what was written. Reading goes on.
func (c *EventConn) CloseWrite() error {
	if err := c.mayWrite(); err != nil {
		return err
	}
	c.state |= connShut
	c.markDirty()
	return nil
}

// Close closes the connection: FIN is sent after what was written, and OnClose
// called when the stack has taken all of it, after the present callback in any
// case. Nothing more is read. A peer that does not read may hold that up: see
// AfterFunc and Abort. Input that was not read makes the stack reset the
// connection, as it does for other sockets. A second call does nothing.
func (c *EventConn) Close() {
	if c.state&connEnding == 0 {
		c.state |= connClosing
		c.markDirty()
	}
}

// Abort resets the connection; what was written may be lost. OnClose is called
// after the present callback, with an error that is syscall.ECONNABORTED.
func (c *EventConn) Abort() {
	if c.state&(connOver|connFailed) == 0 {
		c.state |= connAborted
		c.markDirty()
	}
}

// SetNoDelay(false) lets the stack hold back small segments to join them
// (Nagle's algorithm). The default is true.
func (c *EventConn) SetNoDelay(noDelay bool) error { return c.flow.SetNoDelay(noDelay) }

// SetKeepAliveConfig sets all there is to set about keep-alive probes.
func (c *EventConn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return setKeepAlive(c.flow, config)
}

// SetReadBuffer sets how many received bytes the stack keeps before they are read.
func (c *EventConn) SetReadBuffer(bytes int) error { return c.flow.SetReadBuffer(bytes) }

// SetWriteBuffer sets how many bytes the stack takes before the peer has
// acknowledged them.
func (c *EventConn) SetWriteBuffer(bytes int) error { return c.flow.SetWriteBuffer(bytes) }

// mayWrite says why nothing can be written.
func (c *EventConn) mayWrite() error {
	switch {
	case c.state&connFailed != 0:
		return c.extra.cause
	case c.state&connEnding != 0:
		return net.ErrClosed
	case c.state&connShut != 0:
		return syscall.EPIPE
	}
	return nil
}

// extraState returns c.extra. It makes one if there is none.
func (c *EventConn) extraState() *connExtra {
	if c.extra == nil {
		c.extra = new(connExtra)
	}
	return c.extra
}
