package netstack

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// UDP's buffers, in bytes; netstack's own 32 KiB loses a burst of a few
// dozen datagrams.
const (
	udpBufferMin     = 4 << 10
	UDPBufferDefault = 512 << 10
	UDPBufferMax     = 16 << 20
)

func setBuffers(ns *stack.Stack) error {
	if err := ns.SetOption(tcpip.ReceiveBufferSizeOption{Min: udpBufferMin, Default: UDPBufferDefault, Max: UDPBufferMax}); err != nil {
		return fmt.Errorf("set receive buffer sizes: %w", goError(err))
	}
	if err := ns.SetOption(tcpip.SendBufferSizeOption{Min: udpBufferMin, Default: UDPBufferDefault, Max: UDPBufferMax}); err != nil {
		return fmt.Errorf("set send buffer sizes: %w", goError(err))
	}
	return nil
}

func addAddress(ns *stack.Stack, p netip.Prefix) error {
	pa := tcpip.ProtocolAddress{
		Protocol:          protocolOf(p.Addr()),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: fromNetip(p.Addr()), PrefixLen: p.Bits()},
	}
	if err := ns.AddProtocolAddress(nicID, pa, stack.AddressProperties{}); err != nil {
		return goError(err)
	}
	return nil
}

// routeTable makes a route of each address's subnet and of each gateway.
func routeTable(addresses []netip.Prefix, routes []Route) ([]tcpip.Route, error) {
	var table []tcpip.Route
	add := func(dst netip.Prefix, via netip.Addr) error {
		dst = dst.Masked()
		subnet, err := tcpip.NewSubnet(fromNetip(dst.Addr()), tcpip.MaskFromBytes(maskBytes(dst)))
		if err != nil {
			return fmt.Errorf("route to %v: %w", dst, err)
		}
		r := tcpip.Route{Destination: subnet, NIC: nicID}
		if via.IsValid() {
			r.Gateway = fromNetip(via)
		}
		table = append(table, r)
		return nil
	}
	v6 := false
	for _, a := range addresses {
		v6 = v6 || a.Addr().Is6()
		if err := add(a, netip.Addr{}); err != nil {
			return nil, err
		}
	}
	if v6 {
		// Neighbors ask from their link-local addresses.
		if err := add(netip.MustParsePrefix("fe80::/64"), netip.Addr{}); err != nil {
			return nil, err
		}
	}
	for _, r := range routes {
		if err := add(r.Destination, r.Gateway); err != nil {
			return nil, err
		}
	}
	return table, nil
}

func maskBytes(p netip.Prefix) []byte {
	b := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return b
}
