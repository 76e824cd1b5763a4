package stack

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/ports"

	"shardnet/stack/tcp"
)

// SegmentHandler is a Task of Shard.Serve that takes received bytes where they
// are. Flows of TransportFast know it.
type SegmentHandler interface {
	Task
	// HandleSegment is offered bytes that arrived in order, in the frame that the
	// NIC wrote, and returns how many of them it is done with: the first ones. The
	// others are kept for Read, and while there are such, nothing is offered. It
	// is called on the loop, as RunOnShard is, with no lock held. p may be changed,
	// and not kept.
	HandleSegment(p []byte) (consumed int)
}

// fastFlow implements Flow on a connection of the shard's own TCP.
type fastFlow struct {
	f       *fastTCP
	c       *tcp.Conn // nil once it was closed
	ready   readiness
	inFrame SegmentHandler // ready.task, if it is one
	dialed  *fastDial
	tuple   tcp.Tuple
	closed  bool // by its owner; by Stack.Close, if not and c is nil
	reset   bool // Close resets: SetLinger(0)
	eof     bool // CloseRead was called
}

// fastDial is what a connection has that was opened from here.
type fastDial struct {
	ports  ports.Reservation
	pinned uint16 // local port given to this shard by steering, or 0
}

var (
	_ Flow = (*fastFlow)(nil)
	_ Task = (*fastFlow)(nil)
)

// newFlow makes a flow of c. The caller holds mu.
func (f *fastTCP) newFlow(c *tcp.Conn) *fastFlow {
	fl := &fastFlow{f: f, c: c, tuple: *c.Tuple()}
	fl.ready.self = fl
	c.User = fl
	return fl
}

// RunOnShard implements Task: it runs the flow's own.
func (fl *fastFlow) RunOnShard() { fl.ready.run(fl.f) }

// lock takes mu for a call. It returns false, without it, if the flow is closed.
func (fl *fastFlow) lock() bool {
	fl.f.mu.Lock()
	if fl.c == nil {
		fl.f.mu.Unlock()
		return false
	}
	return true
}

// Read implements Flow.
func (fl *fastFlow) Read(p []byte) (int, error) {
	if !fl.lock() {
		return 0, net.ErrClosed
	}
	n, err := fl.c.Read(p)
	fl.f.leave()
	return n, err
}

// Quiet implements Flow.
func (fl *fastFlow) Quiet() bool {
	if !fl.lock() {
		return false
	}
	defer fl.f.mu.Unlock()
	return fl.c.State() == tcp.StateEstablished && !fl.eof
}

// Write implements Flow.
func (fl *fastFlow) Write(p []byte) (int, error) {
	if !fl.lock() {
		return 0, net.ErrClosed
	}
	n, err := fl.c.Write(p)
	fl.f.leave()
	return n, err
}

// Notify implements Flow.
func (fl *fastFlow) Notify(fn func(Events)) {
	fl.f.mu.Lock()
	defer fl.f.mu.Unlock()
	fl.ready.fn = fn
	if fn != nil {
		if ev := fl.readiness(); ev != 0 {
			fn(ev)
		}
	}
}

// readiness is what the flow is ready for. The caller holds mu.
func (fl *fastFlow) readiness() (ev Events) {
	if fl.c == nil {
		return Readable | Writable | Closed
	}
	switch fl.c.State() {
	case tcp.StateSynSent, tcp.StateSynReceived:
		return 0
	case tcp.StateClosed, tcp.StateTimeWait:
		return Readable | Writable | Closed
	}
	if _, err := fl.c.Peek(); !errors.Is(err, tcp.ErrWouldBlock) {
		ev |= Readable
	}
	return ev | Writable
}

// serve is Shard.Serve's.
func (fl *fastFlow) serve(t Task) {
	fl.f.mu.Lock()
	fl.ready.task = t
	fl.inFrame, _ = t.(SegmentHandler)
	fl.ready.event(fl.f.sh, 0)
	fl.f.mu.Unlock()
}

// ConnectError implements Flow.
func (fl *fastFlow) ConnectError() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	defer fl.f.mu.Unlock()
	switch fl.c.State() {
	case tcp.StateSynSent, tcp.StateSynReceived:
		return ErrWouldBlock
	case tcp.StateClosed, tcp.StateTimeWait:
		if err := fl.c.Err(); err != nil {
			return err
		}
		return syscall.ECONNABORTED // the connection lived and died
	}
	return nil
}

// CloseRead implements Flow.
func (fl *fastFlow) CloseRead() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.eof = true
	fl.c.CloseRead()
	fl.ready.event(fl.f.sh, Readable)
	fl.f.leave()
	return nil
}

// CloseWrite implements Flow.
func (fl *fastFlow) CloseWrite() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	err := fl.c.CloseWrite()
	if err == syscall.EPIPE && fl.c.Err() == nil {
		if err = nil; fl.c.State() == tcp.StateClosed || fl.c.State() == tcp.StateTimeWait {
			err = syscall.ENOTCONN // as the kernel has it
		}
	}
	fl.f.leave()
	return err
}

// Close implements Flow.
func (fl *fastFlow) Close() error {
	fl.f.mu.Lock()
	return fl.end(fl.reset)
}

// Abort implements Flow.
func (fl *fastFlow) Abort() {
	fl.f.mu.Lock()
	_ = fl.end(true)
}

// end gives the connection up, and mu, which the caller has taken.
func (fl *fastFlow) end(abort bool) error {
	if fl.closed {
		fl.f.mu.Unlock()
		return net.ErrClosed
	}
	fl.closed = true
	if fl.c != nil {
		fl.f.engine.SetTime(fl.f.sh.clock.nanos())
		fl.giveUp(!abort)
	}
	fl.ready.fn, fl.ready.task, fl.inFrame = nil, nil, nil
	d := fl.dialed
	fl.dialed = nil
	fl.f.leaveTimed()
	fl.f.releasePorts(d)
	return nil
}

// giveUp closes or aborts the connection and tells whoever waits for it. The
// caller holds mu.
func (fl *fastFlow) giveUp(orderly bool) {
	c := fl.c
	fl.c = nil
	if orderly {
		c.Close()
	} else {
		c.Abort()
	}
	if !fl.closed || fl.ready.task == nil {
		fl.ready.event(fl.f.sh, Readable|Writable|Closed)
	}
}

// LocalAddr implements Flow.
func (fl *fastFlow) LocalAddr() netip.AddrPort { return fl.tuple.LocalAddr() }

// RemoteAddr implements Flow.
func (fl *fastFlow) RemoteAddr() netip.AddrPort { return fl.tuple.RemoteAddr() }

// Shard implements Flow.
func (fl *fastFlow) Shard() int { return fl.f.sh.index }

// SetNoDelay implements Flow.
func (fl *fastFlow) SetNoDelay(on bool) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetNoDelay(on)
	fl.f.leave()
	return nil
}

// SetKeepAlive implements Flow.
func (fl *fastFlow) SetKeepAlive(on bool, idle, interval time.Duration, count int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.f.engine.SetTime(fl.f.sh.clock.nanos())
	fl.c.SetKeepAlive(on, idle, interval, count)
	fl.f.leaveTimed()
	return nil
}

// SetLinger implements Flow.
func (fl *fastFlow) SetLinger(sec int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.reset = sec == 0
	fl.f.mu.Unlock()
	return nil
}

// SetReadBuffer implements Flow.
func (fl *fastFlow) SetReadBuffer(bytes int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetReadBuffer(bytes)
	fl.f.leave()
	return nil
}

// SetWriteBuffer implements Flow.
func (fl *fastFlow) SetWriteBuffer(bytes int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetWriteBuffer(bytes)
	fl.f.leave()
	return nil
}
