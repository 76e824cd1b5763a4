package socketapi

import (
	"fmt"
	"net"
	"net/netip"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// PacketHandler serves UDP datagrams on their shard's loop.
//
// One PacketHandler serves all shards, and they call it at once: see Handler. It
// must not block.
type PacketHandler interface {
	// OnPacket is called for each datagram. p and its Data are valid during the
	// call only. Replying with p.Data, or what begins where it does, copies
	// nothing.
	OnPacket(p *Packet)
}

// Packet is a UDP datagram in the frame it came in, and the means to reply to it.
type Packet = flow.Datagram

// HandlePacket serves UDP datagrams with h: it opens a socket on every shard of st,
// or on none. Network and address are as for ListenPacket, and so are the errors.
// The Server is closed by its Close, or with the stack.
//
// A whole, plain datagram (no fragment, no IP options) gets its reply in the frame it
// came in and never meets the network stack; others take the longer way.
func HandlePacket(st *stack.Stack, network, address string, h PacketHandler) (*Server, error) {
	var lc ListenConfig
	return lc.HandlePacket(st, network, address, h)
}

// HandlePacket is the function HandlePacket with the settings of lc.
func (lc *ListenConfig) HandlePacket(st *stack.Stack, network, address string, h PacketHandler) (*Server, error) {
	hst, err := hostOf(st)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return lc.handlePacket(hst, network, address, h)
}

func (lc *ListenConfig) handlePacket(hst host, network, address string, h PacketHandler) (*Server, error) {
	addr, err := parseListen("udp", network, address)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Server, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: udpAddr(addr), Err: err}
	}
	if h == nil {
		return fail(errNoHandler)
	}
	local, v6only := bindAddress(network, addr)
	opt := lc.options(v6only)
	flows, err := bindAll(hst, local,
		func(sh shard, a netip.AddrPort) (flow.PacketFlow, error) { return sh.ListenUDP(a, opt) },
		func(f flow.PacketFlow) uint16 { return f.LocalAddr().Port() })
	if err != nil {
		return fail(err)
	}
	s := newServer(network, udpAddr(unmap(flows[0].LocalAddr())), hst.Done())
	for i, f := range flows {
		s.add(&packetLoop{srv: s, sh: hst.shard(i), flow: f, h: h})
	}
	if err := s.start(); err != nil {
		return fail(err)
	}
	return s, nil
}

// packetLoop is a Server's UDP socket on one shard.
type packetLoop struct {
	srv   *Server
	sh    shard
	flow  flow.PacketFlow
	h     PacketHandler
	ended bool // loop's own
}

var _ serverPart = (*packetLoop)(nil)

func (l *packetLoop) shard() shard       { return l.sh }
func (l *packetLoop) start() error       { return l.flow.HandleDatagrams(l) }
func (l *packetLoop) end(bool)           {} // there are none
func (l *packetLoop) loopEnded()         { l.RunOnShard() }
func (l *packetLoop) connections() int64 { return 0 }

func (l *packetLoop) stop() {
	_ = l.flow.Close() // the stack may have closed it before
	l.sh.Post(l)
}

// HandleDatagram implements flow.DatagramHandler.
func (l *packetLoop) HandleDatagram(d *flow.Datagram) { l.h.OnPacket(d) }

// RunOnShard implements flow.Task: after stop, it notes that nothing comes any
// more.
func (l *packetLoop) RunOnShard() {
	if !l.ended {
		l.ended = true
		l.srv.partEnded()
	}
}

// String names the handler.
func (l *packetLoop) String() string { return fmt.Sprintf("%T", l.h) }
