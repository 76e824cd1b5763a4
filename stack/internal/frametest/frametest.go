package frametest

import (
	"bytes"
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// The MAC addresses of Ethernet.
var (
	SrcMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	DstMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// Serialize builds a frame, lengths and checksums filled in.
func Serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for i, l := range ls[1:] {
		n, below := ls[i].(gopacket.NetworkLayer)
		s, sums := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		})
		if below && sums {
			if err := s.SetNetworkLayerForChecksum(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// Ethernet is the first layer of a frame.
func Ethernet(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: SrcMAC, DstMAC: DstMAC, EthernetType: typ}
}

// IPv4 is the second layer of one.
func IPv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: proto, SrcIP: net.IP{198, 18, 0, 1}, DstIP: net.IP{198, 18, 0, 2}}
}

// IPv6 is that of another.
func IPv6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
}

// TCP4 is a segment of 7 bytes with an acknowledgement, as set changes it.
func TCP4(t testing.TB, dport uint16, set func(*layers.TCP)) []byte {
	t.Helper()
	tcp := &layers.TCP{SrcPort: 1234, DstPort: layers.TCPPort(dport), ACK: true, Window: 1000}
	if set != nil {
		set(tcp)
	}
	return Serialize(t, Ethernet(layers.EthernetTypeIPv4), IPv4(layers.IPProtocolTCP), tcp, gopacket.Payload("hello!!"))
}

// UDP4 is a datagram of 5 bytes.
func UDP4(t testing.TB, dport uint16) []byte {
	t.Helper()
	return Serialize(t, Ethernet(layers.EthernetTypeIPv4), IPv4(layers.IPProtocolUDP),
		&layers.UDP{SrcPort: 1234, DstPort: layers.UDPPort(dport)}, gopacket.Payload("hello"))
}

// UDP6 is the same over IPv6.
func UDP6(t testing.TB, dport uint16) []byte {
	t.Helper()
	return Serialize(t, Ethernet(layers.EthernetTypeIPv6), IPv6(layers.IPProtocolUDP),
		&layers.UDP{SrcPort: 1234, DstPort: layers.UDPPort(dport)}, gopacket.Payload("hello"))
}

// ICMP4 is a message of type typ.
func ICMP4(t testing.TB, typ uint8) []byte {
	t.Helper()
	return Serialize(t, Ethernet(layers.EthernetTypeIPv4), IPv4(layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0)}, gopacket.Payload("12345678"))
}

// ICMP6 is a message of type typ.
func ICMP6(t testing.TB, typ uint8) []byte {
	t.Helper()
	return Serialize(t, Ethernet(layers.EthernetTypeIPv6), IPv6(layers.IPProtocolICMPv6),
		&layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}, gopacket.Payload("12345678901234567890"))
}

// ARP is a request or a reply from one protocol address to another.
func ARP(t testing.TB, op uint16, from, to net.IP) []byte {
	t.Helper()
	return Serialize(t, Ethernet(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: SrcMAC, SourceProtAddress: from.To4(), DstHwAddress: make([]byte, 6), DstProtAddress: to.To4(),
	})
}

// Fragment4 is 24 bytes of datagram id, from 8 times offset on.
func Fragment4(t testing.TB, id, offset uint16, more bool) []byte {
	t.Helper()
	ip := IPv4(layers.IPProtocolUDP)
	ip.Id, ip.FragOffset = id, offset
	if more {
		ip.Flags = layers.IPv4MoreFragments
	}
	return Serialize(t, Ethernet(layers.EthernetTypeIPv4), ip, gopacket.Payload("a piece of a datagram..."))
}

// With is a copy of frame as change changes it.
func With(frame []byte, change func(f []byte)) []byte {
	f := bytes.Clone(frame)
	change(f)
	return f
}
