package netstack

import (
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"shardnet/driver/wire"
	"shardnet/stack/flow"
)

// Port is a TCP port that is reserved for the engine, among netstack's own.
type Port struct{ res ports.Reservation }

// Number is the port.
func (p *Port) Number() uint16 { return p.res.Port }

// ReserveListener reserves a port to listen on. Port 0 is a free one of the shard's
// ephemeral range. Two may share it that both ask for it by opt.ReusePort.
func (n *Netstack) ReserveListener(local netip.AddrPort, opt flow.SocketOptions) (*Port, error) {
	addr := local.Addr()
	p := &Port{ports.Reservation{
		Networks:  []tcpip.NetworkProtocolNumber{protocolOf(addr)},
		Transport: header.TCPProtocolNumber,
		Port:      local.Port(),
		// Not LoadBalanced, which netstack's listeners have: the two don't share a group.
		Flags: ports.Flags{MostRecent: opt.ReusePort},
	}}
	if !addr.IsUnspecified() {
		p.res.Addr = fromNetip(addr)
	} else if addr.Is6() && !opt.V6Only {
		p.res.Networks = append(p.res.Networks, header.IPv4ProtocolNumber)
	}
	return p, n.reserve(p, nil)
}

// ReserveDial reserves the port of a connection from local to remote. Port 0 is one of the
// shard's ephemeral range. A port that is shared may be that of other connections, to other
// peers. try is called with the port before it is reserved: EADDRINUSE has the next one
// tried, and another error ends the search and is returned.
func (n *Netstack) ReserveDial(local, remote netip.AddrPort, shared bool, try func(port uint16) error) (*Port, error) {
	p := &Port{ports.Reservation{
		Networks:  []tcpip.NetworkProtocolNumber{protocolOf(local.Addr())},
		Transport: header.TCPProtocolNumber,
		Addr:      fromNetip(local.Addr()),
		Port:      local.Port(),
	}}
	if shared {
		p.res.Dest = tcpip.FullAddress{Addr: fromNetip(remote.Addr()), Port: remote.Port()}
	}
	var failed error
	err := n.reserve(p, func(port uint16) (bool, tcpip.Error) {
		switch failed = try(port); {
		case failed == syscall.EADDRINUSE: // one that has not quite ended
			return false, nil
		case failed != nil:
			return false, &tcpip.ErrNoBufferSpace{}
		}
		return true, nil
	})
	if err != nil && failed != nil && failed != syscall.EADDRINUSE {
		err = failed
	}
	return p, err
}

func (n *Netstack) reserve(p *Port, try ports.PortTester) error {
	port, terr := n.ns.ReservePort(n.ns.SecureRNG(), p.res, try)
	if terr != nil {
		return goError(terr)
	}
	p.res.Port = port
	return nil
}

// ReleasePort gives p back.
func (n *Netstack) ReleasePort(p *Port) { n.ns.ReleasePort(p.res) }

// Owns reports whether p's connection, not merely a listener for it, is netstack's. Any
// goroutine may call it.
func (n *Netstack) Owns(p *wire.Packet) bool {
	id := stack.TransportEndpointID{
		LocalPort: p.DstPort, LocalAddress: tcpip.AddrFromSlice(p.Dst),
		RemotePort: p.SrcPort, RemoteAddress: tcpip.AddrFromSlice(p.Src),
	}
	te := n.ns.FindTransportEndpoint(tcpip.NetworkProtocolNumber(p.EtherType), header.TCPProtocolNumber, id, nicID)
	e, ok := te.(*tcp.Endpoint)
	return ok && e.EndpointState() != tcp.StateListen
}
