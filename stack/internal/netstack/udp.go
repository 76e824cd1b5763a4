package netstack

import (
	"bytes"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"

	"shardnet/driver/wire"
	"shardnet/stack/flow"
)

// UDPEndpoint is what a UDP socket has of netstack: it holds the port, and it receives and
// sends what does not bypass netstack: fragments, packets with options, broadcasts, ICMP
// errors, packets whose neighbor is not known yet. It also carries the socket's readiness
// (Notify, Serve). Its owner lets no two Reads and no two Writes run at once.
type UDPEndpoint struct {
	notifier
	ep        tcpip.Endpoint
	local     netip.AddrPort
	listening bool   // steering knows the port as listening
	pinned    uint16 // or as this shard's
	readable  atomic.Bool
	closed    atomic.Bool

	in  tcpip.SliceWriter // Read's destination, kept to save an allocation
	out bytes.Reader      // Write's source, likewise
	to  tcpip.FullAddress
}

// ListenUDP binds an endpoint to local.
func (n *Netstack) ListenUDP(local netip.AddrPort, opt flow.SocketOptions) (*UDPEndpoint, error) {
	wq := new(waiter.Queue)
	ep, err := n.newEndpoint(udp.ProtocolNumber, local, opt, wq)
	if err != nil {
		return nil, err
	}
	bound, terr := ep.GetLocalAddress()
	if terr != nil {
		ep.Close()
		return nil, goError(terr)
	}
	n.cfg.Steering.Listen(wire.ProtoUDP, bound.Port)
	e := &UDPEndpoint{ep: ep, local: netip.AddrPortFrom(local.Addr(), bound.Port), listening: true}
	return e.start(n, wq), nil
}

// DialUDP connects an endpoint to remote.
func (n *Netstack) DialUDP(local, remote netip.AddrPort, opt flow.SocketOptions) (*UDPEndpoint, error) {
	wq := new(waiter.Queue)
	ep, pinned, err := n.dialEndpoint(udp.ProtocolNumber, local, remote, opt, wq)
	if err != nil {
		return nil, err
	}
	e := &UDPEndpoint{ep: ep, pinned: pinned}
	if terr := ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: fromNetip(remote.Addr().Unmap()), Port: remote.Port()}); terr != nil {
		e.n = n
		e.releasePort()
		ep.Close()
		return nil, goError(terr)
	}
	if a, terr := ep.GetLocalAddress(); terr == nil {
		e.local = toAddrPort(a)
	}
	return e.start(n, wq), nil
}

func (e *UDPEndpoint) start(n *Netstack, wq *waiter.Queue) *UDPEndpoint {
	e.readable.Store(true) // what came before it was watched
	e.notifier.init(n, wq, e)
	return e
}

// NotifyEvent implements waiter.EventListener: the endpoint became ready.
func (e *UDPEndpoint) NotifyEvent(mask waiter.EventMask) {
	e.readable.Store(true)
	e.notifier.NotifyEvent(mask)
}

// Arrived tells the application of a datagram that bypassed netstack. Loop only.
func (e *UDPEndpoint) Arrived() { e.notifier.NotifyEvent(waiter.ReadableEvents) }

// Local is the bound address.
func (e *UDPEndpoint) Local() netip.AddrPort { return e.local }

// Readable reports whether Read may have a datagram or an error.
func (e *UDPEndpoint) Readable() bool { return e.readable.Load() }

// Failed reports whether Write has an error to tell first, that the peer caused.
func (e *UDPEndpoint) Failed() bool {
	return e.readable.Load() && e.ep.Readiness(waiter.EventErr) != 0
}

// WantDestination has Read tell destinations.
func (e *UDPEndpoint) WantDestination() { e.ep.SocketOptions().SetReceiveOriginalDstAddress(true) }

// Read copies one datagram to p. to is where it was sent, after WantDestination.
func (e *UDPEndpoint) Read(p []byte) (n int, from, to netip.AddrPort, err error) {
	e.readable.Store(false)
	e.in = p
	res, terr := e.ep.Read(&e.in, tcpip.ReadOptions{NeedRemoteAddr: true})
	e.in = nil
	if terr != nil {
		if err = goError(terr); err != flow.ErrWouldBlock {
			e.readable.Store(true) // there may be more
		}
		return 0, from, to, err
	}
	e.readable.Store(true)
	return res.Count, toAddrPort(res.RemoteAddr), toAddrPort(res.ControlMessages.OriginalDstAddress), nil
}

// Write sends p to to, or to the connected peer if to is invalid.
func (e *UDPEndpoint) Write(p []byte, to netip.AddrPort) (int, error) {
	var opts tcpip.WriteOptions
	if to.IsValid() {
		e.to = tcpip.FullAddress{Addr: fromNetip(to.Addr()), Port: to.Port()}
		opts.To = &e.to
	}
	e.out.Reset(p)
	n, err := e.ep.Write(&e.out, opts)
	e.out.Reset(nil)
	return int(n), goError(err)
}

// WriteFrom is Write from an address of the caller's choice.
func (e *UDPEndpoint) WriteFrom(src netip.Addr, p []byte, to netip.AddrPort) (int, error) {
	return e.n.WriteUDP(netip.AddrPortFrom(src, e.local.Port()), to, p)
}

// Notify sets the function that is told of readiness: see flow.Flow.
func (e *UDPEndpoint) Notify(f func(flow.Events)) { e.set(f, e.ep) }

// SetReadBuffer and SetWriteBuffer set sizes in bytes.
func (e *UDPEndpoint) SetReadBuffer(n int) error  { return setReadBuffer(e.ep, n, &e.closed) }
func (e *UDPEndpoint) SetWriteBuffer(n int) error { return setWriteBuffer(e.ep, n, &e.closed) }

// Close gives the port back, and tells whoever waits.
func (e *UDPEndpoint) Close() {
	if e.closed.Swap(true) {
		return
	}
	e.releasePort()
	e.ep.Close()
	e.NotifyEvent(waiter.EventHUp)
	e.stop()
}

// releasePort tells steering that the port is free.
func (e *UDPEndpoint) releasePort() {
	if e.listening {
		e.n.cfg.Steering.Unlisten(wire.ProtoUDP, e.local.Port())
	}
	if e.pinned != 0 {
		e.n.cfg.Steering.Unpin(wire.ProtoUDP, e.pinned, e.n.cfg.Shard.Index())
	}
}
