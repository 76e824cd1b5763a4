package udp

import (
	"net/netip"
	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/stack/internal/clock"
	"shardnet/stack/internal/counter"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/steer"
	"shardnet/stack/internal/txq"
)

// Config is what Sockets stand on. All of it is needed.
type Config struct {
	Shard    loop.Shard
	Running  *loop.Running
	Clock    *clock.Clock
	Counters *counter.Set
	Tx       *txq.Queue
	Netstack *netstack.Netstack
	Own      steer.Addresses
	MAC      [6]byte
	MTU      int
}

// Sockets are the UDP sockets of a shard.
type Sockets struct {
	cfg   Config
	table table

	// The loop's own.
	datagram                    flow.Datagram // the one being handled
	received                    received      // its origin
	scratch                     []byte        // for datagrams that came through netstack, and their addresses
	slowSource, slowDestination netip.AddrPort
	replyID                     uint16 // IPv4's identification of the last reply in place
}

// New returns a shard's sockets, of which there are none yet.
func New(cfg Config) *Sockets {
	u := &Sockets{cfg: cfg}
	u.datagram.Origin = &u.received
	return u
}

// Input delivers p, eligible for the fast path, to its socket. frame is where p lies, if
// that may become the reply. matched: a socket took p, or dropped it for want of room.
// replied: frame now holds a reply to transmit. Loop only.
func (u *Sockets) Input(p *wire.Packet, frame *driver.Frame) (matched, replied bool) {
	s := u.table.find(p)
	if s == nil {
		return false, false
	}
	payload := p.L4[wire.UDPLen:]
	if s.handler == nil {
		if !s.queue.push(wire.Addr(p.Src), wire.Addr(p.Dst), p.SrcPort, payload) {
			u.cfg.Counters.Drop(drop.SocketBufferFull)
			return true, false
		}
		u.cfg.Counters.Inc(counter.ToUDP)
		s.ep.Arrived()
		return true, false
	}
	u.cfg.Counters.Inc(counter.ToUDP)
	return true, u.handle(s.handler, payload, received{u: u, socket: s, packet: p, frame: frame})
}

// handle calls h for a datagram from origin, and reports whether it was replied to in its
// frame.
func (u *Sockets) handle(h flow.DatagramHandler, payload []byte, origin received) (replied bool) {
	u.received, u.datagram.Data = origin, payload
	u.cfg.Running.Task = h
	h.HandleDatagram(&u.datagram)
	replied = u.received.replied
	u.received, u.datagram.Data = received{u: u}, nil
	return replied
}
