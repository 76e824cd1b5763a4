package udp

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"shardnet/stack/flow"
	"shardnet/stack/internal/netstack"
)

// Socket implements flow.PacketFlow. Datagrams that bypass netstack come from
// Sockets.Input into queue, or to the handler, and leave by Sockets.send; all others take
// the way of its netstack endpoint.
type Socket struct {
	u       *Sockets
	ep      *netstack.UDPEndpoint
	binding binding
	local   netip.AddrPort
	remote  netip.AddrPort // of a connected socket
	v6      bool           // the endpoint is an IPv6 one
	closed  atomic.Bool
	queue   queue
	handler flow.DatagramHandler // set by HandleDatagrams; the loop's

	readMu  sync.Mutex // held by ReadFrom
	writeMu sync.Mutex // held by WriteTo
}

var _ flow.PacketFlow = (*Socket)(nil)

// Listen opens a socket: see stack.Shard.ListenUDP.
func (u *Sockets) Listen(local netip.AddrPort, opt flow.SocketOptions) (*Socket, error) {
	ep, err := u.cfg.Netstack.ListenUDP(local, opt)
	if err != nil {
		return nil, err
	}
	return u.add(&Socket{
		ep: ep, local: ep.Local(), v6: !local.Addr().Unmap().Is4(),
		binding: bindingOf(local, netip.AddrPort{}, opt.V6Only),
	}, opt)
}

// Dial opens a connected socket: see stack.Shard.DialUDP, which has checked remote and keeps
// the stack from closing meanwhile.
func (u *Sockets) Dial(local, remote netip.AddrPort, opt flow.SocketOptions) (*Socket, error) {
	ep, err := u.cfg.Netstack.DialUDP(local, remote, opt)
	if err != nil {
		return nil, err
	}
	return u.add(&Socket{ep: ep, local: ep.Local(), remote: remote, binding: bindingOf(ep.Local(), remote, false)}, opt)
}

func (u *Sockets) add(s *Socket, opt flow.SocketOptions) (*Socket, error) {
	s.u = u
	s.queue.setLimit(netstack.UDPBufferDefault)
	if opt.ReadBuffer > 0 {
		s.queue.setLimit(opt.ReadBuffer)
	}
	u.table.add(s)
	if !u.cfg.Shard.Register(s) {
		s.Close()
		return nil, net.ErrClosed
	}
	return s, nil
}

// ReadFrom implements flow.PacketFlow.
func (s *Socket) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	s.readMu.Lock()
	defer s.readMu.Unlock()
	n, from, _, err := s.readFrom(p)
	return n, from, err
}

// readFrom is ReadFrom for the holder of readMu. to is where the datagram was sent; of one
// that came through netstack it is known to handlers only.
func (s *Socket) readFrom(p []byte) (n int, from, to netip.AddrPort, err error) {
	if s.closed.Load() {
		return 0, from, to, net.ErrClosed
	}
	if s.ep.Readable() {
		n, from, to, err = s.ep.Read(p)
		if err != nil && s.closed.Load() {
			return 0, from, to, net.ErrClosed
		}
		if err != flow.ErrWouldBlock {
			return n, from, to, err
		}
	}
	if n, from, dst, ok := s.queue.pop(p); ok {
		return n, from, netip.AddrPortFrom(dst, s.local.Port()), nil
	}
	return 0, from, to, flow.ErrWouldBlock
}

// WriteTo implements flow.PacketFlow.
func (s *Socket) WriteTo(p []byte, to netip.AddrPort) (int, error) {
	return s.writeFrom(netip.Addr{}, p, to)
}

// writeFrom is WriteTo with the source address chosen by the caller; an invalid one is the
// socket's, or the route's.
func (s *Socket) writeFrom(src netip.Addr, p []byte, to netip.AddrPort) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.closed.Load() {
		return 0, net.ErrClosed
	}
	connected, dst := s.remote.IsValid(), s.binding.remote
	switch {
	case !to.IsValid() && !connected:
		return 0, syscall.EDESTADDRREQ
	case to.IsValid():
		if connected && to != s.remote {
			return 0, syscall.EISCONN
		}
		dst = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		if !s.v6 && !connected && !dst.Addr().Is4() {
			return 0, syscall.EAFNOSUPPORT
		}
	}
	if dst.Port() == 0 {
		return 0, syscall.EINVAL // as in Linux
	}
	// An error that netstack has for a connected socket is its next write's.
	if connected && s.ep.Failed() {
		return s.ep.Write(p, netip.AddrPort{})
	}
	if src.IsValid() && (s.binding.local.IsValid() || !s.u.cfg.Own.Own(src)) {
		src = netip.Addr{} // the socket's own; or it was sent to a broadcast address
	}
	if s.binding.takes(dst.Addr()) {
		from := src
		if !from.IsValid() {
			from = s.binding.local
		}
		if s.u.send(from, s.local.Port(), dst, p) {
			return len(p), nil
		}
	}
	switch {
	case src.IsValid():
		return s.ep.WriteFrom(src, p, dst)
	case connected:
		dst = netip.AddrPort{}
	}
	return s.ep.Write(p, dst)
}

// Notify implements flow.PacketFlow.
func (s *Socket) Notify(fn func(flow.Events)) {
	s.ep.Notify(fn)
	if fn != nil && !s.queue.empty() {
		fn(flow.Readable)
	}
}

// Close implements flow.PacketFlow.
func (s *Socket) Close() error {
	if s.closed.Swap(true) {
		return net.ErrClosed
	}
	s.u.cfg.Shard.Unregister(s)
	s.u.table.remove(s)
	s.ep.Close()
	s.queue.release()
	return nil
}

// LocalAddr implements flow.PacketFlow.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// RemoteAddr implements flow.PacketFlow.
func (s *Socket) RemoteAddr() netip.AddrPort { return s.remote }

// Shard implements flow.PacketFlow.
func (s *Socket) Shard() int { return s.u.cfg.Shard.Index() }

// SetWriteBuffer implements flow.PacketFlow.
func (s *Socket) SetWriteBuffer(n int) error { return s.ep.SetWriteBuffer(n) }

// SetReadBuffer implements flow.PacketFlow. It bounds what bypasses netstack and what does
// not each by itself.
func (s *Socket) SetReadBuffer(n int) error {
	s.queue.setLimit(n)
	return s.ep.SetReadBuffer(n)
}
