package netstack

import (
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/waiter"

	"shardnet/stack/flow"
)

func setReadBuffer(ep tcpip.Endpoint, n int, closed *atomic.Bool) error {
	if closed.Load() {
		return net.ErrClosed
	}
	ep.SocketOptions().SetReceiveBufferSize(int64(n), true)
	return nil
}

func setWriteBuffer(ep tcpip.Endpoint, n int, closed *atomic.Bool) error {
	if closed.Load() {
		return net.ErrClosed
	}
	ep.SocketOptions().SetSendBufferSize(int64(n), true)
	return nil
}

// newEndpoint creates a socket of protocol proto with opt, bound to local.
func (n *Netstack) newEndpoint(proto tcpip.TransportProtocolNumber, local netip.AddrPort, opt flow.SocketOptions, wq *waiter.Queue) (tcpip.Endpoint, error) {
	addr := local.Addr().Unmap()
	if addr.IsValid() && !addr.IsUnspecified() && !n.cfg.Own.Own(addr) {
		return nil, syscall.EADDRNOTAVAIL
	}
	ep, err := n.unboundEndpoint(proto, addr.Is4(), opt, wq)
	if err != nil {
		return nil, err
	}
	full := tcpip.FullAddress{Port: local.Port()}
	if addr.IsValid() && !addr.IsUnspecified() {
		full.Addr = fromNetip(addr)
	}
	if terr := ep.Bind(full); terr != nil {
		ep.Close()
		return nil, goError(terr)
	}
	return ep, nil
}

// unboundEndpoint creates a socket of protocol proto with opt, over IPv4 or IPv6.
func (n *Netstack) unboundEndpoint(proto tcpip.TransportProtocolNumber, v4 bool, opt flow.SocketOptions, wq *waiter.Queue) (tcpip.Endpoint, error) {
	netProto := tcpip.NetworkProtocolNumber(header.IPv6ProtocolNumber)
	if v4 {
		netProto = header.IPv4ProtocolNumber
	}
	ep, terr := n.ns.NewEndpoint(proto, netProto, wq)
	if terr != nil {
		return nil, goError(terr)
	}
	so := ep.SocketOptions()
	so.SetReusePort(opt.ReusePort)
	if !v4 {
		so.SetV6Only(opt.V6Only)
	}
	if opt.ReadBuffer > 0 {
		so.SetReceiveBufferSize(int64(opt.ReadBuffer), true)
	}
	if opt.WriteBuffer > 0 {
		so.SetSendBufferSize(int64(opt.WriteBuffer), true)
	}
	return ep, nil
}

// dialEndpoint creates a socket for a connection to remote: bound to local, or to
// a local port whose replies come to this shard, or unbound, for Connect to choose
// from the shard's ports one that is free towards remote. pinned is the port that
// steering was told of, or 0.
func (n *Netstack) dialEndpoint(proto tcpip.TransportProtocolNumber, local, remote netip.AddrPort, opt flow.SocketOptions, wq *waiter.Queue) (ep tcpip.Endpoint, pinned uint16, err error) {
	anyAddr := !local.Addr().IsValid() || local.Addr().IsUnspecified()
	if anyAddr {
		src, err := n.SourceFor(remote.Addr())
		if err != nil {
			return nil, 0, err
		}
		if local.Port() == 0 && !n.cfg.Steering.KnowsRSS() {
			ep, err = n.unboundEndpoint(proto, src.Is4(), opt, wq)
			return ep, 0, err
		}
		local = netip.AddrPortFrom(src, local.Port())
	}
	if local.Port() != 0 {
		ep, err = n.newEndpoint(proto, local, opt, wq)
		if err == nil && n.cfg.Steering.Shards() > 1 && n.cfg.Steering.Pin(uint8(proto), local.Port(), n.cfg.Shard.Index()) {
			pinned = local.Port()
		}
		return ep, pinned, err
	}
	if !n.cfg.Steering.KnowsRSS() {
		ep, err = n.newEndpoint(proto, local, opt, wq)
		return ep, 0, err
	}
	for port := range n.cfg.Steering.PortsForQueue(n.cfg.Shard.Index(), local.Addr(), remote) {
		ep, err = n.newEndpoint(proto, netip.AddrPortFrom(local.Addr(), port), opt, wq)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ep, 0, err
		}
	}
	return nil, 0, syscall.EADDRNOTAVAIL
}
