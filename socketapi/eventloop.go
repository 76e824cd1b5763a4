package socketapi

import (
	"fmt"
	"net"
	"shardnet/stack/flow"
	"sync/atomic"
)

// acceptBatch bounds the connections accepted in one turn.
const acceptBatch = 64

// eventLoop is a Server's part on one shard. But for open, everything in it
// belongs to the shard's loop once the server is started.
type eventLoop struct {
	srv      *Server
	sh       shard
	listener flow.Listener
	h        Handler

	maxBuffered, maxUnsent int

	buf   []byte       // what connections read into
	pool  bufPool      // for what must be kept
	conns []*EventConn // open ones, in any order
	open  atomic.Int64 // len(conns), for others to read

	// dirty are connections whose callbacks left something to do. runDirty does it
	// at the end of a run. If the callbacks were called outside a run of this loop,
	// by another server's for instance, markDirty posts a run.
	dirty   []*EventConn
	running bool

	listening bool
	ended     bool
}

// RunOnShard implements flow.Task: there are connections to accept, or the
// listener was closed.
func (l *eventLoop) RunOnShard() {
	l.startRun()
	if l.listening {
		l.acceptBatch()
	}
	l.runDirty()
}

func (l *eventLoop) acceptBatch() {
	for range acceptBatch {
		f, err := l.listener.Accept()
		switch {
		case err == nil:
			l.accept(f)
		case err == flow.ErrWouldBlock:
			return
		case err == net.ErrClosed:
			l.listening = false
			if l.srv.stackDone.isClosed() {
				l.failAll(net.ErrClosed)
			}
			return
		}
		// Other errors are of one connection that did not come about.
	}
	l.sh.Post(l)
}

// String names the handler.
func (l *eventLoop) String() string { return fmt.Sprintf("%T", l.h) }

var _ serverPart = (*eventLoop)(nil)

func (l *eventLoop) shard() shard       { return l.sh }
func (l *eventLoop) start() error       { l.listener.Serve(l); return nil }
func (l *eventLoop) end(abort bool)     { l.sh.Post(closeTask{l, abort}) }
func (l *eventLoop) connections() int64 { return l.open.Load() }

func (l *eventLoop) stop() {
	_ = l.listener.Close() // the stack may have closed it before
	l.sh.Post(l)
}

// loopEnded runs on the loop's goroutine when the loop has ended.
func (l *eventLoop) loopEnded() {
	l.startRun()
	l.listening = false
	l.failAll(net.ErrClosed)
	l.runDirty()
}

func (l *eventLoop) accept(f flow.Flow) {
	c := &EventConn{flow: f, loop: l, slot: int32(len(l.conns))}
	l.conns = append(l.conns, c)
	l.open.Add(1)
	if ka := l.srv.ka; ka.Enable {
		// As in package net, a connection that can't have probes is still good.
		_ = setKeepAlive(f, ka)
	}
	l.h.OnOpen(c)
	if c.state&connOver == 0 {
		f.Serve((*connTask)(c))
	}
}

// remove forgets a connection that is over.
func (l *eventLoop) remove(c *EventConn) {
	last := len(l.conns) - 1
	l.conns[c.slot] = l.conns[last]
	l.conns[c.slot].slot = c.slot
	l.conns[last] = nil
	l.conns = l.conns[:last]
	l.open.Add(-1)
}

// startRun and runDirty enclose every run on the loop that calls the handler.
func (l *eventLoop) startRun() { l.running = true }

func (l *eventLoop) runDirty() {
	for i := 0; i < len(l.dirty); i++ {
		c := l.dirty[i]
		l.dirty[i] = nil
		c.state &^= connDirty
		c.afterCallbacks()
	}
	l.dirty = l.dirty[:0]
	l.running = false
	if !l.listening && !l.ended && len(l.conns) == 0 {
		l.ended = true
		l.srv.partEnded()
	}
}

func (l *eventLoop) markDirty(c *EventConn) {
	l.dirty = append(l.dirty, c)
	if !l.running && len(l.dirty) == 1 {
		l.sh.Post(dirtyTask{l})
	}
}

// failAll ends all connections at once.
func (l *eventLoop) failAll(err error) {
	for _, c := range l.conns {
		c.fail("read", err)
	}
}

// dirtyTask calls runDirty after callbacks that ran in other tasks than this loop's.
type dirtyTask struct{ l *eventLoop }

func (t dirtyTask) RunOnShard() {
	t.l.startRun()
	t.l.runDirty()
}

func (t dirtyTask) String() string { return t.l.String() }

// closeTask closes all connections in order, or resets them.
type closeTask struct {
	l     *eventLoop
	abort bool
}

func (t closeTask) RunOnShard() {
	t.l.startRun()
	for _, c := range t.l.conns {
		if t.abort {
			c.Abort()
		} else {
			c.Close()
		}
	}
	t.l.runDirty()
}

func (t closeTask) String() string { return t.l.String() }
