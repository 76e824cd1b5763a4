package stack

import (
	"fmt"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// netstackOptions configures a shard's netstack. Its timers fire on the shard's
// clock. Addresses are static, so duplicate address detection, router
// solicitation and link-local addresses are off: a stack whose address is a
// neighbour's already is the operator's error, and the link-local address
// derived from the MAC is the kernel's. Reports of group membership (MLD), which
// snooping switches want for NDP, come from the first shard alone.
func (sh *Shard) netstackOptions(clock tcpip.Clock) stack.Options {
	opts6 := ipv6.Options{
		NDPConfigs: ipv6.NDPConfigurations{MaxRtrSolicitations: 0},
		DADConfigs: stack.DADConfigurations{DupAddrDetectTransmits: 0},
		MLD:        ipv6.MLDOptions{Enabled: sh.index == 0},
	}
	return stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{sh.newIPv4, sh.newIPv6(opts6), arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		Clock:       clock,
		HandleLocal: true,
	}
}

// UDP's default buffer, in bytes; netstack's own 32 KiB loses a burst of a few
// dozen datagrams.
const (
	udpBufferMin     = 4 << 10
	udpBufferDefault = 512 << 10
	udpBufferMax     = 16 << 20
)

func setNetstackBuffers(ns *stack.Stack) error {
	if err := ns.SetOption(tcpip.ReceiveBufferSizeOption{Min: udpBufferMin, Default: udpBufferDefault, Max: udpBufferMax}); err != nil {
		return fmt.Errorf("set receive buffer sizes: %w", goError(err))
	}
	if err := ns.SetOption(tcpip.SendBufferSizeOption{Min: udpBufferMin, Default: udpBufferDefault, Max: udpBufferMax}); err != nil {
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
func routeTable(cfg *Config) ([]tcpip.Route, error) {
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
	for _, a := range cfg.Addresses {
		v6 = v6 || a.Addr().Is6()
		if err := add(a, netip.Addr{}); err != nil {
			return nil, err
		}
	}
	if v6 {
		// Neighbours ask from their link-local addresses.
		if err := add(netip.MustParsePrefix("fe80::/64"), netip.Addr{}); err != nil {
			return nil, err
		}
	}
	for _, r := range cfg.Routes {
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

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return header.IPv4ProtocolNumber
	}
	return header.IPv6ProtocolNumber
}

// fromNetip converts an address; the zero Addr gives the zero Address.
func fromNetip(a netip.Addr) tcpip.Address {
	switch {
	case a.Is4():
		return tcpip.AddrFrom4(a.As4())
	case a.Is6():
		return tcpip.AddrFrom16(a.As16())
	}
	return tcpip.Address{}
}

// toNetip converts an address, a v4-mapped one to IPv4.
func toNetip(a tcpip.Address) netip.Addr {
	switch a.Len() {
	case 4:
		return netip.AddrFrom4(a.As4())
	case 16:
		return netip.AddrFrom16(a.As16()).Unmap()
	}
	return netip.Addr{}
}

func toAddrPort(a tcpip.FullAddress) netip.AddrPort {
	return netip.AddrPortFrom(toNetip(a.Addr), a.Port)
}
