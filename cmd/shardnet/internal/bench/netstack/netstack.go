package netstack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"shardnet/driver"
)

// nicID is that of the one NIC.
const nicID = 1

// Network is a netstack on one queue. Its methods may be called from any
// goroutine.
type Network struct {
	ns   *stack.Stack
	link *link
	addr netip.Prefix
}

// New starts a stack with address addr on queue q of the device that info
// describes. The stack owns q until Close, and does not close the device.
func New(q driver.Queue, info driver.Info, addr netip.Prefix) (*Network, error) {
	n := &Network{
		ns: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol, arp.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
		}),
		link: newLink(q, info),
		addr: addr,
	}
	if err := n.ns.CreateNIC(nicID, n.link); err != nil {
		n.ns.Destroy()
		return nil, fmt.Errorf("create NIC: %w", goError(err))
	}
	go n.link.run()
	err := n.ns.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
		Protocol:          n.protocol(),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(addr.Addr().AsSlice()), PrefixLen: addr.Bits()},
	}, stack.AddressProperties{})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("add address %v: %w", addr, goError(err)), n.Close())
	}
	subnet := tcpip.AddressWithPrefix{Address: tcpip.AddrFromSlice(addr.Addr().AsSlice()), PrefixLen: addr.Bits()}.Subnet()
	n.ns.SetRouteTable([]tcpip.Route{{Destination: subnet, NIC: nicID}})
	return n, nil
}

func (n *Network) protocol() tcpip.NetworkProtocolNumber {
	if n.addr.Addr().Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

func (n *Network) full(port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nicID, Addr: tcpip.AddrFromSlice(n.addr.Addr().AsSlice()), Port: port}
}

// Listen is gonet's listener on a TCP port.
func (n *Network) Listen(port uint16) (net.Listener, error) {
	return gonet.ListenTCP(n.ns, n.full(port), n.protocol())
}

// ListenPacket is gonet's UDP connection on a port.
func (n *Network) ListenPacket(port uint16) (net.PacketConn, error) {
	local := n.full(port)
	return gonet.DialUDP(n.ns, &local, nil, n.protocol())
}

// Dropped is how many packets the link did not send, for want of room.
func (n *Network) Dropped() uint64 { return n.link.dropped.Load() }

// Retransmits is how many TCP segments were sent again.
func (n *Network) Retransmits() uint64 { return n.ns.Stats().TCP.Retransmits.Value() }

// Close resets the connections, ends the stack and closes the queue. It returns
// why the link failed, if it did before. It is called once.
func (n *Network) Close() error {
	n.ns.Close()
	_ = n.link.q.Close() // idempotent, and the device is closed after it
	<-n.link.done
	n.ns.Wait()
	n.link.mu.Lock()
	_ = n.link.drop(n.link.out, nil)
	n.link.out = nil
	n.link.mu.Unlock()
	return n.link.err
}

// goError makes an error of gVisor's.
func goError(err tcpip.Error) error { return errors.New(err.String()) }
