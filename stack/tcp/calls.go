package tcp

import (
	"io"
	"net/netip"
	"syscall"
)

// The calls of an application to its connection.

// Tuple returns the connection's addresses and ports.
func (c *Conn) Tuple() *Tuple { return &c.tuple }

// LocalAddr is this host's address.
func (c *Conn) LocalAddr() netip.AddrPort { return c.tuple.LocalAddr() }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.tuple.RemoteAddr() }

// State returns the connection's state.
func (c *Conn) State() State { return c.state }

// Listener is the listener that a connection waits at to be accepted, or nil.
func (c *Conn) Listener() *Listener { return c.listener }

// Err returns why the connection is over: nil while it is not or if it ended in
// order, else a syscall.Errno.
func (c *Conn) Err() error {
	if c.err == 0 {
		return nil
	}
	return syscall.Errno(c.err)
}

// Buffered returns how many received bytes are ready to be read.
func (c *Conn) Buffered() int { return int(c.rcv.queue.n) }

// Unsent returns how many written bytes the peer has not acknowledged.
func (c *Conn) Unsent() int { return int(c.snd.queue.n) }

// Read copies received bytes to p. Without any it returns io.EOF after the peer's FIN, a
// syscall.Errno if the connection failed, or ErrWouldBlock.
func (c *Conn) Read(p []byte) (int, error) {
	if c.rcv.queue.n == 0 {
		return 0, c.readError(len(p))
	}
	n := c.rcv.queue.read(c.e.chunks, p)
	c.onConsumed()
	return n, nil
}

// Peek returns received bytes without taking them: those at the front that are contiguous in
// memory. They are valid until Discard, Read or Input. It returns the errors of Read.
func (c *Conn) Peek() ([]byte, error) {
	if c.rcv.queue.n == 0 {
		return nil, c.readError(1)
	}
	return c.rcv.queue.front(c.e.chunks), nil
}

// Discard takes n bytes, at most Buffered, that Peek has returned.
func (c *Conn) Discard(n int) {
	if n > 0 && c.rcv.queue.n > 0 {
		c.rcv.queue.discard(c.e.chunks, min(uint32(n), c.rcv.queue.n))
		c.onConsumed()
	}
}

func (c *Conn) readError(want int) error {
	switch {
	case c.flags&(flagRecvFin|flagReadShut) != 0:
		return io.EOF
	case c.err != 0:
		return syscall.Errno(c.err)
	case c.state.ended():
		return io.EOF
	case want == 0:
		return nil
	}
	return ErrWouldBlock
}

// Write copies bytes of p to the send queue, for the next Flush, and returns how many. When n <
// len(p) the error is ErrWouldBlock if there will be room (the event Writable reports it), or the
// reason why nothing more can be sent.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.writeError(); err != nil {
		return 0, err
	}
	n := min(len(p), max(0, int(c.sendLimit())-int(c.snd.queue.n)))
	if room := c.reserveSend(n); room < n {
		n = room
		if c.flags&flagStarved == 0 {
			c.flags |= flagStarved
			c.e.starved = append(c.e.starved, c.id)
		}
	}
	if n > 0 {
		mem := c.snd.queue.mem
		c.snd.queue.append(c.e.chunks, p[:n])
		c.e.used += int64(c.snd.queue.mem - mem)
		c.schedule(0)
	}
	if n < len(p) {
		c.flags |= flagWantWrite
		return n, ErrWouldBlock
	}
	return n, nil
}

func (c *Conn) writeError() error {
	switch {
	case c.err != 0:
		return syscall.Errno(c.err)
	case c.flags&flagFin != 0 || c.state.ended():
		return syscall.EPIPE
	}
	return nil
}

// CloseWrite sends a FIN after what was written.
func (c *Conn) CloseWrite() error {
	if err := c.writeError(); err != nil {
		return err
	}
	c.sendFin()
	return nil
}

// CloseRead discards what is buffered and what arrives from now on. It is acknowledged.
func (c *Conn) CloseRead() {
	c.flags |= flagReadShut
	if c.rcv.queue.n > 0 {
		c.rcv.queue.free(c.e.chunks)
		c.onConsumed()
	}
}

// Close releases the connection. A FIN follows what was written, and the engine finishes the rest
// alone. If received bytes were not read, a RST reports to the peer that they were lost (RFC 1122
// section 4.2.2.13, RFC 2525 section 2.17).
func (c *Conn) Close() {
	if c.flags&flagOwned == 0 {
		return
	}
	c.disown()
	switch {
	case c.state.ended():
		c.release()
	case c.rcv.queue.n > 0 || c.state == StateSynSent:
		c.reset(0)
	default:
		if c.flags&flagFin == 0 {
			c.sendFin()
		}
		if c.state == StateFinWait2 {
			c.armFinWait2()
		}
	}
}

// Abort releases the connection and sends a RST.
func (c *Conn) Abort() {
	if c.flags&flagOwned == 0 {
		return
	}
	c.disown()
	if c.state.ended() {
		c.release()
		return
	}
	c.reset(0)
}

// disown takes the connection from the application. It gets no further events.
func (c *Conn) disown() {
	c.flags &^= flagOwned | flagKeepAlive
	c.timers.keepAt = 0
	c.User = nil
	c.events = 0
}

// SetNoDelay turns Nagle's algorithm off, which is the default, or on.
func (c *Conn) SetNoDelay(on bool) {
	if on {
		c.flags &^= flagNagle
		c.schedule(0)
	} else {
		c.flags |= flagNagle
	}
}

// SetReadBuffer replaces Config.MaxRecvBuffer for this connection by n bytes. Bytes that were
// offered to the peer are not taken back.
func (c *Conn) SetReadBuffer(n int) {
	c.rcv.maxBuf = uint32(min(max(n, 2048), 1<<29))
	c.flags |= flagShrinkBuf
}

// SetWriteBuffer makes Write queue up to n bytes, whatever the congestion window is.
func (c *Conn) SetWriteBuffer(n int) { c.snd.maxBuf = uint32(min(max(n, 2048), 1<<29)) }
