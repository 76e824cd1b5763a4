package socketapi

import (
	"fmt"
	"net"
	"shardnet/stack/flow"
	"time"
)

// Group is a TCP listener on all shards of a stack at one address. It is a
// net.Listener that accepts from whichever shard has a connection, the shards
// taking turns, for programs that have one accept loop. Programs with one a shard
// take the members with [Group.Listener].
//
// Both may be used at once, from any goroutines: each connection is accepted
// once.
type Group struct {
	net       string
	addr      *net.TCPAddr
	stackDone doneChan
	ka        net.KeepAliveConfig
	members   []*Listener
	in        fanIn
}

// Listener is the member of a Group on one shard. It accepts the connections that
// shard owns, and no others.
type Listener struct {
	group *Group
	index int
	flow  flow.Listener
	wait  waiter
}

var (
	_ net.Listener = (*Group)(nil)
	_ net.Listener = (*Listener)(nil)
)

func newGroup(flows []flow.Listener, stackDone doneChan, network string, ka net.KeepAliveConfig) *Group {
	g := &Group{
		net:       network,
		addr:      tcpAddr(unmap(flows[0].Addr())),
		stackDone: stackDone,
		ka:        ka,
		members:   make([]*Listener, len(flows)),
	}
	g.in.init(len(flows))
	for i, f := range flows {
		g.members[i] = &Listener{group: g, index: i, flow: f}
	}
	for _, l := range g.members { // all are in place before the first notice
		l.flow.Notify(l.notify)
	}
	return g
}

// notify runs with the listener's locks held: it only takes note.
func (l *Listener) notify(flow.Events) {
	l.wait.signal()
	l.group.in.signal(l.index)
}

// Len returns the number of members, which is that of the stack's shards.
func (g *Group) Len() int { return len(g.members) }

// Listener returns the member on shard i, counted from 0 to Len()-1. Each call
// returns the same. It panics when there is no such shard, as indexing a slice
// does.
func (g *Group) Listener(i int) *Listener { return g.members[i] }

// Accept waits for a connection on any shard and returns it, a *Conn.
func (g *Group) Accept() (net.Conn, error) {
	var flow flow.Flow
	err := g.in.do(func(i int) (err error) {
		flow, err = g.members[i].flow.Accept()
		return err
	})
	return g.accepted(flow, err)
}

// accepted turns what a flow's Accept gave into what package net's gives.
func (g *Group) accepted(flow flow.Flow, err error) (net.Conn, error) {
	if err != nil {
		return nil, g.opError("accept", g.stackDone.cause("accept", err))
	}
	c := newConn(flow, g.stackDone, g.net)
	c.established(g.ka)
	c.start()
	return c, nil
}

// Addr returns the address all members listen on, a *net.TCPAddr.
func (g *Group) Addr() net.Addr { return g.addr }

// Close stops listening on all shards. Accepts under way return an error that is
// net.ErrClosed. Connections accepted before live on; those not yet accepted are
// reset.
func (g *Group) Close() error {
	if !g.in.wait.close() {
		return g.opError("close", net.ErrClosed)
	}
	var first error
	for _, l := range g.members {
		if err := l.close(); err != nil && first == nil && err != net.ErrClosed {
			first = err
		}
	}
	if first != nil {
		return g.opError("close", first)
	}
	return nil
}

// SetDeadline makes Accepts fail from t on with an error that is
// os.ErrDeadlineExceeded: those of the group and those of each member. The zero
// time means never.
func (g *Group) SetDeadline(t time.Time) error {
	if err := g.in.wait.setDeadline(t); err != nil {
		return g.opError("set", err)
	}
	for _, l := range g.members {
		_ = l.wait.setDeadline(t) // a member closed before the group is no failure
	}
	return nil
}

func (g *Group) String() string {
	return fmt.Sprintf("%s %v on %d shards", g.net, g.addr, len(g.members))
}

func (g *Group) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: g.net, Addr: g.addr, Err: err}
}

// Accept waits for a connection on the member's shard and returns it, a *Conn.
func (l *Listener) Accept() (net.Conn, error) {
	return l.group.accepted(l.accept())
}

func (l *Listener) accept() (flow.Flow, error) {
	w := &l.wait
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		w.clear()
		if err := w.err(); err != nil {
			return nil, err
		}
		f, err := l.flow.Accept()
		if err != flow.ErrWouldBlock {
			return f, err
		}
		w.park()
	}
}

// Addr returns the address the group listens on, a *net.TCPAddr.
func (l *Listener) Addr() net.Addr { return l.group.addr }

// Shard returns the index of the member's shard.
func (l *Listener) Shard() int { return l.index }

// Close stops listening on the member's shard alone: connections that arrive there
// are refused from then on, those on the other shards are not affected. A group
// whose members are all closed accepts no more.
func (l *Listener) Close() error {
	if err := l.close(); err != nil {
		return l.group.opError("close", err)
	}
	return nil
}

func (l *Listener) close() error {
	if !l.wait.close() {
		return net.ErrClosed
	}
	l.flow.Notify(nil)
	err := l.flow.Close()
	l.group.in.signal(l.index) // whose Accept must learn that a member is gone
	if l.group.stackDone.isClosed() {
		return nil // the stack closed it before, which is not the caller's fault
	}
	return sysError("close", err)
}

// SetDeadline makes Accepts of this member fail from t on with an error that is
// os.ErrDeadlineExceeded. The zero time means never.
func (l *Listener) SetDeadline(t time.Time) error {
	if err := l.wait.setDeadline(t); err != nil {
		return l.group.opError("set", err)
	}
	return nil
}
