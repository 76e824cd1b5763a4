package socketapi

import (
	"io"
	"net"
	"shardnet/stack/flow"
	"syscall"
)

// Bounds of what one connection does in a turn of the loop, so that none starves
// the others: a turn ends when either is reached, and the connection is posted
// for the next.
const (
	turnBytes = 64 << 10
	turnReads = 16
)

// A read is made into the loop's buffer, behind what was kept, if that is no more
// than shortRest; otherwise into the connection's own.
const (
	readBuffer = 64 << 10
	shortRest  = 8 << 10
)

// connTask is an EventConn as the task of its flow, which runs when the flow is
// ready and when the connection has posted itself.
type connTask EventConn

// RunOnShard implements flow.Task.
func (t *connTask) RunOnShard() {
	c := (*EventConn)(t)
	c.state &^= connReposted
	if c.state&connOver != 0 {
		return
	}
	c.loop.startRun()
	c.send()
	c.read()
	c.loop.runDirty()
}

// HandleSegment implements flow.SegmentHandler: the handler gets the bytes where the
// NIC wrote them. What it does not consume is kept, as if it had been read. What
// callbacks of a batch left to do is done once, when all its segments were offered.
func (t *connTask) HandleSegment(p []byte) int {
	c := (*EventConn)(t)
	if c.state&(connEnding|connEOF|connFull) != 0 || c.in.len()+len(p) > c.loop.maxBuffered {
		return 0 // the flow keeps it until read asks
	}
	if c.in != nil {
		c.in = c.loop.pool.reserve(c.in, len(p))
		c.in.b = append(c.in.b, p...)
		c.offer()
		return len(p)
	}
	c.deliverNew(p)
	return len(p)
}

var _ flow.SegmentHandler = (*connTask)(nil)

// String names the handler.
func (t *connTask) String() string { return t.loop.String() }

// repost posts the connection, which then goes on in the next turn.
func (c *EventConn) repost() {
	if c.state&connReposted == 0 {
		c.state |= connReposted
		c.loop.sh.Post((*connTask)(c))
	}
}

// markDirty makes the loop call afterCallbacks when the present callback is over.
func (c *EventConn) markDirty() {
	if c.state&connDirty == 0 {
		c.state |= connDirty
		c.loop.markDirty(c)
	}
}

// fail notes that the connection is to end, and why. The first reason stands.
func (c *EventConn) fail(op string, err error) {
	if c.state&(connOver|connFailed) == 0 {
		c.state |= connFailed
		c.extraState().cause = c.opError(op, err)
		c.markDirty()
	}
}

// read reads until there is nothing, or the turn is over, and gives the handler
// what it gets.
func (c *EventConn) read() {
	left := turnBytes
	for range turnReads {
		if c.state&(connEnding|connEOF|connFull) != 0 || c.in.len() >= c.loop.maxBuffered {
			return
		}
		n, all, err := c.readOnce()
		if err != nil {
			switch {
			case err == flow.ErrWouldBlock:
			case c.loop.srv.stackDone.isClosed():
				c.fail("read", net.ErrClosed)
			case err == io.EOF:
				c.state |= connEOF
				c.markDirty()
			default:
				c.fail("read", err)
			}
			return
		}
		if all && c.flow.Established() {
			return // another Read would find nothing, and costs time
		}
		if left -= n; left <= 0 {
			break
		}
	}
	c.repost()
}

// readOnce reads once and offers what was kept before and what it has read. all is
// whether that was all there was.
func (c *EventConn) readOnce() (n int, all bool, err error) {
	l := c.loop
	kept := c.in.len()
	if kept > shortRest {
		c.in = l.pool.reserve(c.in, min(kept, l.maxBuffered-kept))
		at := len(c.in.b)
		room := min(cap(c.in.b)-at, l.maxBuffered-kept)
		n, err := c.flow.Read(c.in.b[at : at+room])
		if n > 0 {
			c.in.b = c.in.b[:at+n]
			c.offer()
		}
		return n, n < room, err
	}
	buf := l.buf[:min(len(l.buf), l.maxBuffered)]
	copy(buf, c.in.bytes())
	n, err = c.flow.Read(buf[kept:])
	if n == 0 {
		return 0, false, err
	}
	if c.in != nil {
		c.in = l.pool.consume(c.in, kept)
	}
	data := buf[:kept+n]
	c.deliverNew(data)
	return n, kept+n < len(buf), nil
}

// offer gives the handler what was kept.
func (c *EventConn) offer() {
	if c.in == nil || c.state&(connEnding|connFull) != 0 {
		return
	}
	full := c.in.len() >= c.loop.maxBuffered
	c.in = c.loop.pool.consume(c.in, c.deliver(c.in.bytes()))
	c.checkFull()
	if full && c.in.len() < c.loop.maxBuffered {
		c.repost() // reading had stopped
	}
}

// deliverNew gives the handler data, while nothing else is kept, and keeps what it
// leaves.
func (c *EventConn) deliverNew(data []byte) {
	rest := data[c.deliver(data):]
	if len(rest) > 0 && c.state&connEnding == 0 {
		c.in = c.loop.pool.reserve(nil, len(rest))
		c.in.b = append(c.in.b, rest...)
		c.checkFull()
	}
}

// deliver calls the handler with data and returns how much it has consumed.
func (c *EventConn) deliver(data []byte) int {
	n := c.loop.h.OnData(c, data)
	if n < 0 || n > len(data) {
		c.fail("read", errConsumed(c.loop.h, n, len(data)))
		return 0
	}
	return n
}

// checkFull ends a connection whose input buffer is full, and whose handler waits
// for nothing but more input.
func (c *EventConn) checkFull() {
	if c.in.len() >= c.loop.maxBuffered && c.state&(connEnding|connFull) == 0 && c.pendingWork() == 0 {
		c.fail("read", ErrTooMuchUnread)
	}
}

// pendingWork is how many calls of Go have not returned.
func (c *EventConn) pendingWork() int {
	if c.extra == nil {
		return 0
	}
	return c.extra.work
}

// take gathers bytes of p below the limit and returns how many.
func (c *EventConn) take(p []byte) (int, error) {
	limit := c.loop.maxUnsent
	if c.out == nil && len(p) >= limit {
		// Too much to gather: nothing is gained by a copy.
		n, err := c.flow.Write(p)
		if err == flow.ErrWouldBlock {
			err = nil
		}
		if err != nil {
			return n, c.writeFailed(err)
		}
		p = p[n:]
		m := min(len(p), limit)
		if m > 0 {
			c.gather(p[:m])
		}
		return n + m, nil
	}
	n := min(len(p), limit-c.out.len())
	if n > 0 {
		c.gather(p[:n])
	}
	return n, nil
}

func (c *EventConn) gather(p []byte) {
	c.out = c.loop.pool.reserve(c.out, len(p))
	c.out.b = append(c.out.b, p...)
	c.markDirty()
}

// flush gives the flow what was gathered, and returns how much it took.
func (c *EventConn) flush() (int, error) {
	if c.out == nil {
		return 0, nil
	}
	n, err := c.flow.Write(c.out.bytes())
	c.out = c.loop.pool.consume(c.out, n)
	if err != nil && err != flow.ErrWouldBlock {
		return n, c.writeFailed(err)
	}
	return n, nil
}

func (c *EventConn) writeFailed(err error) error {
	if c.loop.srv.stackDone.isClosed() {
		err = net.ErrClosed
	}
	c.fail("write", err)
	return c.extra.cause
}

// send flushes, and calls OnWritable when there is room again.
func (c *EventConn) send() {
	if c.state&(connFailed|connAborted) != 0 {
		return
	}
	if _, err := c.flush(); err != nil {
		return
	}
	if c.out.len() == 0 && c.state&(connClosing|connShut|connEOF) != 0 {
		c.markDirty()
	}
	if c.roomAgain() && c.state&connEnding == 0 {
		c.state &^= connFull
		c.markDirty()
		c.loop.h.OnWritable(c)
		c.offer()
	}
}

func (c *EventConn) roomAgain() bool {
	return c.state&connFull != 0 && c.out.len() <= c.loop.maxUnsent/2
}

// afterCallbacks does what callbacks left to do: it sends what they wrote, and ends
// the connection if that is due.
func (c *EventConn) afterCallbacks() {
	switch {
	case c.state&connOver != 0:
		return
	case c.state&connAborted != 0:
		c.flow.Abort()
		c.finish(c.opError("close", syscall.ECONNABORTED))
		return
	}
	if c.state&connFailed == 0 {
		_, _ = c.flush() // an error is noted
	}
	switch {
	case c.state&connFailed != 0:
		_ = c.flow.Close() // it has ended already
		c.finish(c.extra.cause)
	case c.out != nil:
		// The flow runs the task when it has room.
	case c.state&connClosing != 0, c.state&(connEOF|connFull) == connEOF && c.pendingWork() == 0:
		_ = c.flow.Close()
		c.finish(nil)
	case c.state&(connShut|connShutDone) == connShut:
		c.state |= connShutDone
		if err := c.flow.CloseWrite(); err != nil {
			_ = c.flow.Close()
			c.finish(c.opError("close", err))
			return
		}
	}
	if c.roomAgain() && c.state&connEnding == 0 {
		c.repost()
	}
}

// finish makes the last call, when the flow is given up.
func (c *EventConn) finish(err error) {
	c.state |= connOver
	l := c.loop
	l.pool.put(c.in)
	l.pool.put(c.out)
	c.in, c.out = nil, nil
	c.stopTimers()
	l.remove(c)
	l.h.OnClose(c, err)
}

func (c *EventConn) opError(op string, err error) error {
	return &net.OpError{
		Op: op, Net: c.loop.srv.net,
		Source: tcpAddr(c.LocalAddr()), Addr: tcpAddr(c.RemoteAddr()), Err: sysError(op, err),
	}
}
