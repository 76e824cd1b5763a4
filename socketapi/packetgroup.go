package socketapi

import (
	"fmt"
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"time"
)

// PacketGroup is a UDP socket on all shards of a stack at one address. It is a
// net.PacketConn that reads from whichever shard has a datagram, the shards taking
// turns, for programs that have one read loop. Programs with one a shard take the
// members with [PacketGroup.PacketConn]. Both may be used at once.
//
// Writes through the group go out on the shard where the group last read from
// that address, so a program that answers what it reads keeps each peer on one
// shard; a peer not heard of, or forgotten, is given a shard by its address. All
// datagrams to one peer leave in the order they were written.
type PacketGroup struct {
	net       string
	addr      *net.UDPAddr
	stackDone doneChan
	members   []*PacketConn
	in        fanIn
	peers     peerShardCache
}

var _ net.PacketConn = (*PacketGroup)(nil)

func newPacketGroup(flows []flow.PacketFlow, stackDone doneChan, network string) *PacketGroup {
	g := &PacketGroup{
		net:       network,
		stackDone: stackDone,
		members:   make([]*PacketConn, len(flows)),
	}
	g.in.init(len(flows))
	for i, f := range flows {
		c := newPacketConn(f, stackDone, network)
		c.group, c.index = g, i
		g.members[i] = c
	}
	g.addr = g.members[0].local
	for _, c := range g.members { // all are in place before the first notice
		c.start()
	}
	return g
}

// Len returns the number of members, which is that of the stack's shards.
func (g *PacketGroup) Len() int { return len(g.members) }

// PacketConn returns the member on shard i, counted from 0 to Len()-1. Each call
// returns the same. It panics when there is no such shard, as indexing a slice
// does.
func (g *PacketGroup) PacketConn(i int) *PacketConn { return g.members[i] }

// ReadFromUDPAddrPort waits for a datagram on any shard, copies it into p and
// returns its length and source. What does not fit in p is lost. It does not
// allocate.
func (g *PacketGroup) ReadFromUDPAddrPort(p []byte) (n int, from netip.AddrPort, err error) {
	err = g.in.do(func(i int) (err error) {
		n, from, err = g.members[i].flow.ReadFrom(p)
		if err == nil && len(g.members) > 1 {
			from = unmap(from)
			g.peers.set(from, i)
		}
		return err
	})
	if err != nil {
		return 0, netip.AddrPort{}, g.opError("read", nil, g.stackDone.cause("recvfrom", err))
	}
	return n, unmap(from), nil
}

// ReadFromUDP is ReadFromUDPAddrPort with another type of address.
func (g *PacketGroup) ReadFromUDP(p []byte) (int, *net.UDPAddr, error) {
	n, from, err := g.ReadFromUDPAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, udpAddr(from), nil
}

// ReadFrom is ReadFromUDPAddrPort; the address is a *net.UDPAddr.
func (g *PacketGroup) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := g.ReadFromUDPAddrPort(p)
	if err != nil {
		return n, nil, err
	}
	return n, udpAddr(from), nil
}

// WriteToUDPAddrPort sends p as one datagram, and waits for room if need be. It
// does not allocate.
func (g *PacketGroup) WriteToUDPAddrPort(p []byte, to netip.AddrPort) (int, error) {
	return g.member(to).WriteToUDPAddrPort(p, to)
}

// WriteToUDP is WriteToUDPAddrPort with another type of address.
func (g *PacketGroup) WriteToUDP(p []byte, to *net.UDPAddr) (int, error) { return g.WriteTo(p, to) }

// WriteTo is WriteToUDPAddrPort; the address must be a *net.UDPAddr.
func (g *PacketGroup) WriteTo(p []byte, to net.Addr) (int, error) {
	var at netip.AddrPort
	if u, ok := to.(*net.UDPAddr); ok && u != nil {
		at = u.AddrPort()
	}
	return g.member(at).WriteTo(p, to)
}

// member returns the member to write to an address with: the peer's home, or the
// next that is open.
func (g *PacketGroup) member(to netip.AddrPort) *PacketConn {
	n := len(g.members)
	i := 0
	if n > 1 {
		i = g.peers.get(unmap(to), n)
	}
	for range n {
		if c := g.members[i]; !c.wr.isClosed() {
			return c
		}
		i = (i + 1) % n
	}
	return g.members[i]
}

// Close closes all members. Reads and writes under way return an error that is
// net.ErrClosed.
func (g *PacketGroup) Close() error {
	if !g.in.wait.close() {
		return g.opError("close", nil, net.ErrClosed)
	}
	var first error
	for _, c := range g.members {
		if err := c.close(); err != nil && first == nil && err != net.ErrClosed {
			first = err
		}
	}
	if first != nil {
		return g.opError("close", nil, first)
	}
	return nil
}

// LocalAddr returns the address all members are bound to, a *net.UDPAddr.
func (g *PacketGroup) LocalAddr() net.Addr { return g.addr }

// SetDeadline is SetReadDeadline and SetWriteDeadline together.
func (g *PacketGroup) SetDeadline(t time.Time) error {
	err := g.SetReadDeadline(t)
	if e := g.SetWriteDeadline(t); err == nil {
		err = e
	}
	return err
}

// SetReadDeadline makes reads fail from t on with an error that is
// os.ErrDeadlineExceeded: those of the group and those of each member. The zero
// time means never.
func (g *PacketGroup) SetReadDeadline(t time.Time) error {
	if err := g.in.wait.setDeadline(t); err != nil {
		return g.setError(err)
	}
	for _, c := range g.members {
		_ = c.rd.setDeadline(t) // a member closed before the group is no failure
	}
	return nil
}

// SetWriteDeadline is SetReadDeadline for writes.
func (g *PacketGroup) SetWriteDeadline(t time.Time) error {
	if err := g.in.wait.errClosed(); err != nil {
		return g.setError(err)
	}
	for _, c := range g.members {
		_ = c.wr.setDeadline(t)
	}
	return nil
}

// SetReadBuffer calls SetReadBuffer of every member.
func (g *PacketGroup) SetReadBuffer(bytes int) error {
	return g.each(func(c *PacketConn) error { return c.SetReadBuffer(bytes) })
}

// SetWriteBuffer calls SetWriteBuffer of every member.
func (g *PacketGroup) SetWriteBuffer(bytes int) error {
	return g.each(func(c *PacketConn) error { return c.SetWriteBuffer(bytes) })
}

func (g *PacketGroup) each(f func(*PacketConn) error) error {
	for _, c := range g.members {
		if err := f(c); err != nil {
			return err
		}
	}
	return nil
}

func (g *PacketGroup) String() string {
	return fmt.Sprintf("%s %v on %d shards", g.net, g.addr, len(g.members))
}

func (g *PacketGroup) opError(op string, to net.Addr, err error) error {
	return &net.OpError{Op: op, Net: g.net, Source: g.addr, Addr: to, Err: err}
}

func (g *PacketGroup) setError(err error) error {
	return &net.OpError{Op: "set", Net: g.net, Addr: g.addr, Err: err}
}
