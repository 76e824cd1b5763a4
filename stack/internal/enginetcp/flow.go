package enginetcp

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"shardnet/stack/flow"
	"shardnet/stack/tcp"
)

// connFlow implements flow.Flow on a connection of the shard's own TCP.
type connFlow struct {
	f       *TCP
	c       *tcp.Conn // nil once it was closed
	ready   readiness
	inFrame flow.SegmentHandler // ready.task, if it is one
	dialed  *dialed
	tuple   tcp.Tuple
	closed  bool // by its owner; by Stack.Close, if not and c is nil
	reset   bool // Close resets: SetLinger(0)
	eof     bool // CloseRead was called
}

var (
	_ flow.Flow = (*connFlow)(nil)
	_ flow.Task = (*connFlow)(nil)
)

// newFlow makes a flow of c. The caller holds mu.
func (f *TCP) newFlow(c *tcp.Conn) *connFlow {
	fl := &connFlow{f: f, c: c, tuple: *c.Tuple()}
	fl.ready.self = fl
	c.User = fl
	return fl
}

// RunOnShard implements flow.Task: it runs the flow's own.
func (fl *connFlow) RunOnShard() { fl.ready.run(fl.f) }

// lock takes mu for a call. It returns false, without it, if the flow is closed.
func (fl *connFlow) lock() bool {
	fl.f.mu.Lock()
	if fl.c == nil {
		fl.f.mu.Unlock()
		return false
	}
	return true
}

// Read implements flow.Flow.
func (fl *connFlow) Read(p []byte) (int, error) {
	if !fl.lock() {
		return 0, net.ErrClosed
	}
	n, err := fl.c.Read(p)
	fl.f.unlockAndKick()
	return n, err
}

// Established implements flow.Flow.
func (fl *connFlow) Established() bool {
	if !fl.lock() {
		return false
	}
	defer fl.f.mu.Unlock()
	return fl.c.State() == tcp.StateEstablished && !fl.eof
}

// Write implements flow.Flow.
func (fl *connFlow) Write(p []byte) (int, error) {
	if !fl.lock() {
		return 0, net.ErrClosed
	}
	n, err := fl.c.Write(p)
	fl.f.unlockAndKick()
	return n, err
}

// Notify implements flow.Flow.
func (fl *connFlow) Notify(fn func(flow.Events)) {
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
func (fl *connFlow) readiness() (ev flow.Events) {
	if fl.c == nil {
		return flow.Readable | flow.Writable | flow.Closed
	}
	switch fl.c.State() {
	case tcp.StateSynSent, tcp.StateSynReceived:
		return 0
	case tcp.StateClosed, tcp.StateTimeWait:
		return flow.Readable | flow.Writable | flow.Closed
	}
	if _, err := fl.c.Peek(); !errors.Is(err, tcp.ErrWouldBlock) {
		ev |= flow.Readable
	}
	return ev | flow.Writable
}

// Serve implements flow.Flow.
func (fl *connFlow) Serve(t flow.Task) {
	fl.f.mu.Lock()
	fl.ready.task = t
	fl.inFrame, _ = t.(flow.SegmentHandler)
	fl.ready.event(fl.f, 0)
	fl.f.mu.Unlock()
}

// ConnectError implements flow.Flow.
func (fl *connFlow) ConnectError() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	defer fl.f.mu.Unlock()
	switch fl.c.State() {
	case tcp.StateSynSent, tcp.StateSynReceived:
		return flow.ErrWouldBlock
	case tcp.StateClosed, tcp.StateTimeWait:
		if err := fl.c.Err(); err != nil {
			return err
		}
		return syscall.ECONNABORTED // the connection lived and died
	}
	return nil
}

// CloseRead implements flow.Flow.
func (fl *connFlow) CloseRead() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.eof = true
	fl.c.CloseRead()
	fl.ready.event(fl.f, flow.Readable)
	fl.f.unlockAndKick()
	return nil
}

// CloseWrite implements flow.Flow.
func (fl *connFlow) CloseWrite() error {
	if !fl.lock() {
		return net.ErrClosed
	}
	err := fl.c.CloseWrite()
	if err == syscall.EPIPE && fl.c.Err() == nil {
		if err = nil; fl.c.State() == tcp.StateClosed || fl.c.State() == tcp.StateTimeWait {
			err = syscall.ENOTCONN // as the kernel has it
		}
	}
	fl.f.unlockAndKick()
	return err
}

// Close implements flow.Flow.
func (fl *connFlow) Close() error {
	fl.f.mu.Lock()
	return fl.end(fl.reset)
}

// Abort implements flow.Flow.
func (fl *connFlow) Abort() {
	fl.f.mu.Lock()
	_ = fl.end(true)
}

// end gives the connection up, and mu, which the caller has taken.
func (fl *connFlow) end(abort bool) error {
	if fl.closed {
		fl.f.mu.Unlock()
		return net.ErrClosed
	}
	fl.closed = true
	if fl.c != nil {
		fl.f.engine.SetTime(fl.f.cfg.Clock.Nanos())
		fl.giveUp(!abort)
	}
	fl.ready.fn, fl.ready.task, fl.inFrame = nil, nil, nil
	d := fl.dialed
	fl.dialed = nil
	fl.f.unlockAndKickAlways()
	fl.f.releasePorts(d)
	return nil
}

// giveUp closes or aborts the connection and tells whoever waits for it. The
// caller holds mu.
func (fl *connFlow) giveUp(orderly bool) {
	c := fl.c
	fl.c = nil
	if orderly {
		c.Close()
	} else {
		c.Abort()
	}
	if !fl.closed || fl.ready.task == nil {
		fl.ready.event(fl.f, flow.Readable|flow.Writable|flow.Closed)
	}
}

// LocalAddr implements flow.Flow.
func (fl *connFlow) LocalAddr() netip.AddrPort { return fl.tuple.LocalAddr() }

// RemoteAddr implements flow.Flow.
func (fl *connFlow) RemoteAddr() netip.AddrPort { return fl.tuple.RemoteAddr() }

// Shard implements flow.Flow.
func (fl *connFlow) Shard() int { return fl.f.cfg.Shard.Index() }

// SetNoDelay implements flow.Flow.
func (fl *connFlow) SetNoDelay(on bool) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetNoDelay(on)
	fl.f.unlockAndKick()
	return nil
}

// SetKeepAlive implements flow.Flow.
func (fl *connFlow) SetKeepAlive(on bool, idle, interval time.Duration, count int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.f.engine.SetTime(fl.f.cfg.Clock.Nanos())
	fl.c.SetKeepAlive(on, idle, interval, count)
	fl.f.unlockAndKickAlways()
	return nil
}

// SetLinger implements flow.Flow.
func (fl *connFlow) SetLinger(sec int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.reset = sec == 0
	fl.f.mu.Unlock()
	return nil
}

// SetReadBuffer implements flow.Flow.
func (fl *connFlow) SetReadBuffer(bytes int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetReadBuffer(bytes)
	fl.f.unlockAndKick()
	return nil
}

// SetWriteBuffer implements flow.Flow.
func (fl *connFlow) SetWriteBuffer(bytes int) error {
	if !fl.lock() {
		return net.ErrClosed
	}
	fl.c.SetWriteBuffer(bytes)
	fl.f.unlockAndKick()
	return nil
}
