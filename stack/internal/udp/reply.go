package udp

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/flow"
)

// received is the datagram that a handler is called with: the flow.Origin of
// flow.Datagram.
type received struct {
	u       *Sockets
	socket  *Socket
	packet  *wire.Packet  // of the frame; nil if netstack delivered the datagram
	frame   *driver.Frame // that the datagram is in, if the reply may be written over it
	replied bool          // frame is the reply now
}

// Source implements flow.Origin.
func (r *received) Source() netip.AddrPort {
	switch {
	case r.packet == nil:
		return r.u.slowSource
	case r.replied: // the addresses have changed places in the frame
		return netip.AddrPortFrom(wire.Addr(r.packet.Dst), r.packet.SrcPort)
	}
	return r.packet.Source()
}

// Destination implements flow.Origin.
func (r *received) Destination() netip.AddrPort {
	switch {
	case r.packet == nil:
		return r.u.slowDestination
	case r.replied:
		return netip.AddrPortFrom(wire.Addr(r.packet.Src), r.packet.DstPort)
	}
	return r.packet.Destination()
}

// Shard implements flow.Origin.
func (r *received) Shard() int { return r.u.cfg.Shard.Index() }

// Reply implements flow.Origin.
func (r *received) Reply(b []byte) error {
	if r.frame != nil && !r.replied {
		if r.socket.closed.Load() {
			return net.ErrClosed
		}
		if r.replyInPlace(b) {
			return nil
		}
		r.frame = nil // one in place would overtake this one
	}
	to := r.Source()
	if r.socket.remote.IsValid() {
		to = netip.AddrPort{}
	}
	_, err := r.socket.writeFrom(r.Destination().Addr(), b, to)
	return err
}

// replyInPlace makes the received frame the reply. It returns false when the reply must
// take another way: it is too long for a packet or for the frame.
func (r *received) replyInPlace(b []byte) bool {
	v4 := r.packet.EtherType == wire.EtherTypeIPv4
	header := wire.EthernetLen + wire.IPLen(v4) + wire.UDPLen // the packet has no options
	n := header + len(b)
	if n-wire.EthernetLen > r.u.cfg.MTU || n > cap(r.frame.Data) {
		return false
	}
	frame := r.frame.Data[:n]
	copy(frame[header:], b)
	r.u.replyID++
	turnAround(frame, !v4, r.u.replyID)
	r.frame.Data = frame
	r.replied = true
	return true
}

// HandleDatagrams implements flow.PacketFlow.
func (s *Socket) HandleDatagrams(h flow.DatagramHandler) error {
	if s.closed.Load() {
		return net.ErrClosed
	}
	s.ep.WantDestination()
	s.ep.Serve(&slowDatagrams{s: s, h: h})
	return nil
}

// slowDatagrams is the task that runs a handler for the datagrams that netstack delivered,
// and first of all for those that waited when the handler was set.
type slowDatagrams struct {
	s   *Socket
	h   flow.DatagramHandler
	set bool // h is the socket's handler: nothing waits any more
}

// maxSlowDatagrams bounds the datagrams that one run of the task handles.
const maxSlowDatagrams = 64

// String names the handler.
func (t *slowDatagrams) String() string { return fmt.Sprintf("%T", t.h) }

// RunOnShard implements flow.Task.
func (t *slowDatagrams) RunOnShard() {
	s, u := t.s, t.s.u
	if u.scratch == nil {
		u.scratch = make([]byte, 64<<10)
	}
	for n := 0; n < maxSlowDatagrams || !t.set; n++ { // as nothing arrives meanwhile, what waits comes to an end
		s.readMu.Lock()
		n, from, to, err := s.readFrom(u.scratch)
		s.readMu.Unlock()
		if err == flow.ErrWouldBlock {
			t.set, s.handler = true, t.h
			return
		}
		if err != nil {
			if _, passing := err.(syscall.Errno); passing {
				continue // an ICMP error that some reply caused: nobody asks for it
			}
			return
		}
		u.slowSource, u.slowDestination = from, to
		u.handle(t.h, u.scratch[:n], received{u: u, socket: s})
	}
	s.ep.Arrived() // there may be more: next turn
}
