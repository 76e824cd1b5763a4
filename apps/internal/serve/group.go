package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// ErrClosed is what Serve and ServePacket return once the group was shut down
// or closed, or their listener was closed by somebody else. It is the normal
// end of a server.
var ErrClosed = errors.New("server closed")

// Bounds of the pause after a failed Accept that may succeed later, for
// instance when file descriptors run out. It doubles from one to the other.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = time.Second
)

// aLongTimeAgo as a read deadline wakes a blocked Read.
var aLongTimeAgo = time.Unix(1, 0)

// Group tracks the sources (listeners and packet connections) and the
// connections of one server, so that they can be ended together. The zero value
// is ready for use. Methods may be called from any goroutine.
type Group struct {
	mu      sync.Mutex
	sources map[*source]struct{}
	conns   map[*conn]struct{}
	active  int           // goroutines in Serve's handlers and in ServePacket
	done    chan struct{} // closed when shutting down; made on first use
	idle    chan struct{} // closed when active is zero after done
	closing bool
}

// source is a listener or a packet connection, conn a connection. Sets of them
// are keyed by pointers to these, because an interface need not be comparable.
type (
	source struct{ io.Closer }
	conn   struct{ net.Conn }
)

// doneLocked returns the channel that is closed when the group ends.
func (g *Group) doneLocked() chan struct{} {
	if g.done == nil {
		g.done = make(chan struct{})
		g.idle = make(chan struct{})
	}
	return g.done
}

// Serve accepts connections from l and runs handle for each in a goroutine of
// its own, until l is closed or the group ends. It owns l, and closes it before
// it returns. handle owns its connection until it returns; Serve closes it then.
//
// While the group shuts down, a Read on a connection fails with a timeout:
// handle should send what it owes and return.
//
// The error is ErrClosed after a normal end, or the one Accept gave. Errors of
// Accept that may pass (out of descriptors or buffers, an aborted connection)
// are not returned but retried, with a pause that grows to a second.
func (g *Group) Serve(l net.Listener, handle func(net.Conn)) error {
	src, done, ok := g.addSource(l, 0)
	if !ok {
		_ = l.Close()
		return ErrClosed
	}
	defer g.removeSource(src, 0)
	var backoff time.Duration
	for {
		c, err := l.Accept()
		if err != nil {
			if isClosed(done) || errors.Is(err, net.ErrClosed) {
				return ErrClosed
			}
			if !temporary(err) {
				return err
			}
			if backoff = nextBackoff(backoff); !pause(done, backoff) {
				return ErrClosed
			}
			continue
		}
		backoff = 0
		tracked, ok := g.addConn(c)
		if !ok {
			_ = c.Close()
			return ErrClosed
		}
		go func() {
			defer g.removeConn(tracked)
			handle(c)
		}()
	}
}

// ServePacket runs loop with pc until it returns. It owns pc, and closes it
// before it returns; several calls may serve the same pc, and end together. An
// error of loop that may pass is retried as in Serve. While the group shuts
// down, reads from pc fail with a timeout; loop may return any error then, and
// ServePacket returns ErrClosed.
func (g *Group) ServePacket(pc net.PacketConn, loop func(*PacketConn) error) error {
	src, done, ok := g.addSource(pc, 1)
	if !ok {
		_ = pc.Close()
		return ErrClosed
	}
	defer g.removeSource(src, 1)
	p := NewPacketConn(pc)
	var backoff time.Duration
	for {
		before := p.reads
		err := loop(p)
		if isClosed(done) || errors.Is(err, net.ErrClosed) {
			return ErrClosed
		}
		if err == nil || !temporary(err) {
			return err
		}
		if p.reads != before {
			backoff = 0
		}
		if backoff = nextBackoff(backoff); !pause(done, backoff) {
			return ErrClosed
		}
	}
}

// Shutdown ends the group in an orderly way: listeners are closed, reads on
// connections and packet connections fail from now on, and Shutdown waits until
// every handler has returned, which closes its connection. When ctx ends first,
// the rest is closed by force and ctx's error returned.
func (g *Group) Shutdown(ctx context.Context) error {
	idle := g.end(func(c net.Conn) { _ = c.SetReadDeadline(aLongTimeAgo) }, true)
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		g.end(func(c net.Conn) { _ = c.Close() }, false)
		return ctx.Err()
	}
}

// Close ends the group at once: everything it tracks is closed. It waits for
// the handlers, whose reads and writes fail, to return.
func (g *Group) Close() error {
	<-g.end(func(c net.Conn) { _ = c.Close() }, false)
	return nil
}

// end marks the group as ending, closes the sources, and calls f for every
// connection. A packet connection is only woken when gently is set, so that the
// reply in the making can leave; its loop closes it.
func (g *Group) end(f func(net.Conn), gently bool) (idle <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	done := g.doneLocked()
	if !g.closing {
		g.closing = true
		close(done)
		if g.active == 0 {
			close(g.idle)
		}
	}
	for src := range g.sources {
		if pc, ok := src.Closer.(net.PacketConn); ok && gently {
			_ = pc.SetReadDeadline(aLongTimeAgo)
			continue
		}
		_ = src.Close()
	}
	for c := range g.conns {
		f(c.Conn)
	}
	return g.idle
}

// addSource tracks c; n is 1 when the caller itself is to be waited for.
func (g *Group) addSource(c io.Closer, n int) (*source, <-chan struct{}, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	done := g.doneLocked()
	if g.closing {
		return nil, nil, false
	}
	if g.sources == nil {
		g.sources = make(map[*source]struct{})
	}
	src := &source{c}
	g.sources[src] = struct{}{}
	g.active += n
	return src, done, true
}

func (g *Group) removeSource(src *source, n int) {
	_ = src.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sources, src)
	g.leave(n)
}

func (g *Group) addConn(c net.Conn) (*conn, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closing {
		return nil, false
	}
	if g.conns == nil {
		g.conns = make(map[*conn]struct{})
	}
	tracked := &conn{c}
	g.conns[tracked] = struct{}{}
	g.active++
	return tracked, true
}

func (g *Group) removeConn(c *conn) {
	_ = c.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	g.leave(1)
}

// leave notes, with the lock held, that n goroutines are about to return.
func (g *Group) leave(n int) {
	g.active -= n
	if n > 0 && g.active == 0 && g.closing {
		close(g.idle)
	}
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func nextBackoff(d time.Duration) time.Duration {
	return min(max(2*d, minBackoff), maxBackoff)
}

// pause waits for d and reports whether the group goes on.
func pause(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return false
	case <-t.C:
		return true
	}
}

// passing are errors that are worth another try, beside those that call
// themselves temporary.
var passing = []error{
	syscall.ECONNABORTED, syscall.ECONNRESET, syscall.ECONNREFUSED,
	syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENETDOWN,
	syscall.ENOBUFS, syscall.ENOMEM, syscall.EPERM, syscall.EPROTO,
}

// temporary reports whether the operation that gave err may succeed later.
// accept(2) says which network errors of a new connection it passes on.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	if errors.As(err, &t) && t.Temporary() {
		return true
	}
	for _, e := range passing {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
