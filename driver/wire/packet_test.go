package wire

import (
	"bytes"
	"net"
	"net/netip"
	"reflect"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	testSrcMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	testDstMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// serialize builds a frame with lengths and checksums filled in, by gopacket.
func serialize(t testing.TB, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func eth(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: testSrcMAC, DstMAC: testDstMAC, EthernetType: typ}
}

func ip4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Id: 7, Protocol: proto, SrcIP: net.IP{198, 18, 0, 1}, DstIP: net.IP{198, 18, 0, 2}}
}

func ip6(proto layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
}

func tcp4(t testing.TB) []byte {
	ip := ip4(layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 1234, DstPort: 80, ACK: true, PSH: true, Window: 1000}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv4), ip, tcp, gopacket.Payload("hello!!"))
}

func udp4(t testing.TB, options ...layers.IPv4Option) []byte {
	ip := ip4(layers.IPProtocolUDP)
	ip.Options = options
	udp := &layers.UDP{SrcPort: 1234, DstPort: 53}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv4), ip, udp, gopacket.Payload("hello"))
}

func udp6(t testing.TB) []byte {
	ip := ip6(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1234, DstPort: 53}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv6), ip, udp, gopacket.Payload("hello"))
}

func icmp4(t testing.TB) []byte {
	return serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0)}, gopacket.Payload("12345678"))
}

func icmp6(t testing.TB, typ uint8) []byte {
	ip := ip6(layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv6), ip, icmp, gopacket.Payload("12345678901234567890"))
}

func arp(t testing.TB, op uint16, from, to net.IP) []byte {
	return serialize(t, eth(layers.EthernetTypeARP), &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
		Operation: op, SourceHwAddress: testSrcMAC, SourceProtAddress: from.To4(), DstHwAddress: make([]byte, 6), DstProtAddress: to.To4(),
	})
}

func fragment4(t testing.TB, id, offset uint16, more bool) []byte {
	ip := ip4(layers.IPProtocolUDP)
	ip.Id, ip.FragOffset = id, offset
	if more {
		ip.Flags = layers.IPv4MoreFragments
	}
	return serialize(t, eth(layers.EthernetTypeIPv4), ip, gopacket.Payload("a piece of a datagram..."))
}

// extend puts headers, the first of type next, between udp6's IPv6 header and the rest.
func extend(t testing.TB, next uint8, headers ...byte) []byte {
	f := udp6(t)
	f[14+6] = next
	f[14+5] += byte(len(headers))
	return append(append(bytes.Clone(f[:54]), headers...), f[54:]...)
}

func with(frame []byte, change func(f []byte)) []byte {
	f := bytes.Clone(frame)
	change(f)
	return f
}

// padded is frame with bytes behind its packet, as Ethernet pads short ones.
func padded(frame []byte) []byte { return append(bytes.Clone(frame), "padding"...) }

func TestParse(t *testing.T) {
	var (
		v4a, v4b = []byte{198, 18, 0, 1}, []byte{198, 18, 0, 2}
		v6a, v6b = []byte(net.ParseIP("2001:db8::1")), []byte(net.ParseIP("2001:db8::2"))
		options  = layers.IPv4Option{OptionType: 7, OptionLength: 7, OptionData: []byte{4, 0, 0, 0, 0}}
	)
	const destOpts, hopByHop, fragment = ProtoDestOpts, ProtoHopByHop, ProtoFragment
	for _, c := range []struct {
		name  string
		frame []byte
		ip    int    // length of the IP packet; 0: none
		l4    int    // length of L4; 0: nil
		want  Packet // without Frame and L4
	}{
		{
			"TCP", tcp4(t), 47, 27,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoTCP, SrcPort: 1234, DstPort: 80, TCPFlags: ACK | PSH, NoOptions: true},
		},
		{
			"padded TCP", padded(tcp4(t)), 47, 27,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoTCP, SrcPort: 1234, DstPort: 80, TCPFlags: ACK | PSH, NoOptions: true},
		},
		{
			"UDP", udp4(t), 33, 13,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53, NoOptions: true},
		},
		{
			"UDP and bytes behind it", with(udp4(t), func(f []byte) { f[39]-- }), 33, 12,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53},
		},
		{
			"IPv4 options", udp4(t, options), 41, 13,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53},
		},
		{
			"don't fragment", with(udp4(t), func(f []byte) { f[20] = 0x40 }), 33, 13,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53, NoOptions: true},
		},
		{
			"first fragment", fragment4(t, 9, 0, true), 44, 0,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, Fragment: true, FragID: 9},
		},
		{
			"last fragment", fragment4(t, 9, 3, false), 44, 0,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoUDP, Fragment: true, FragID: 9},
		},
		{
			"ICMP", icmp4(t), 36, 16,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoICMP, NoOptions: true},
		},
		{
			"another protocol", with(udp4(t), func(f []byte) { f[23] = ProtoIGMP }), 33, 13,
			Packet{EtherType: EtherTypeIPv4, Src: v4a, Dst: v4b, Proto: ProtoIGMP, NoOptions: true},
		},
		{
			"UDP over IPv6", udp6(t), 53, 13,
			Packet{EtherType: EtherTypeIPv6, Src: v6a, Dst: v6b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53, NoOptions: true},
		},
		{
			"ICMPv6", icmp6(t, 128), 64, 24,
			Packet{EtherType: EtherTypeIPv6, Src: v6a, Dst: v6b, Proto: ProtoICMPv6, NoOptions: true},
		},
		{
			"extension headers", extend(t, hopByHop, destOpts, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0), 69, 13,
			Packet{EtherType: EtherTypeIPv6, Src: v6a, Dst: v6b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53},
		},
		{
			"IPv6 fragment", extend(t, fragment, 17, 0, 0, 1, 1, 2, 3, 4), 61, 0,
			Packet{EtherType: EtherTypeIPv6, Src: v6a, Dst: v6b, Proto: ProtoFragment, Fragment: true, FragID: 0x01020304},
		},
		{
			"atomic fragment, RFC 6946", extend(t, fragment, 17, 0, 0, 0, 1, 2, 3, 4), 61, 13,
			Packet{EtherType: EtherTypeIPv6, Src: v6a, Dst: v6b, Proto: ProtoUDP, SrcPort: 1234, DstPort: 53},
		},
		{
			"ARP request", arp(t, 1, v4a, v4b), 0, 0,
			Packet{EtherType: EtherTypeARP, ARPOp: ARPRequest},
		},
		{
			"ARP announcement, RFC 5227", arp(t, 1, v4a, v4a), 0, 0,
			Packet{EtherType: EtherTypeARP, ARPOp: ARPRequest, ARPAnnounce: true},
		},
		{
			"another EtherType", serialize(t, eth(layers.EthernetTypeLinkLayerDiscovery)), 0, 0,
			Packet{EtherType: 0x88cc},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := Packet{FragID: 99, Fragment: true, NoOptions: true} // of the frame before
			if !p.Parse(c.frame) {
				t.Fatal("Parse refuses the frame")
			}
			if (p.L4 == nil) != (c.l4 == 0) || len(p.L4) != c.l4 {
				t.Errorf("transport part has %d bytes, want %d", len(p.L4), c.l4)
			}
			if c.ip != 0 && p.IPPacketLen() != c.ip {
				t.Errorf("IP packet has %d bytes, want %d", p.IPPacketLen(), c.ip)
			}
			if p.Frame, p.L4 = nil, nil; !reflect.DeepEqual(p, c.want) {
				t.Errorf("parsed as\n%+v, want\n%+v", p, c.want)
			}
		})
	}
}

func TestParseRefusesLies(t *testing.T) {
	tcp, udp := tcp4(t), udp4(t)
	var nine []byte // one extension header more than are walked
	for range maxExtensionHeaders {
		nine = append(nine, ProtoDestOpts, 0, 1, 4, 0, 0, 0, 0)
	}
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"empty", nil},
		{"half an Ethernet header", tcp[:13]},
		{"half an IPv4 header", tcp[:30]},
		{"IPv4 version 5", with(tcp, func(f []byte) { f[14] = 0x55 })},
		{"IHL of 16 bytes", with(tcp, func(f []byte) { f[14] = 0x44 })},
		{"total length beyond the frame", with(tcp, func(f []byte) { f[16] = 0x7f })},
		{"total length below the header", with(tcp, func(f []byte) { f[16], f[17] = 0, 19 })},
		{"cut TCP header", with(tcp, func(f []byte) { f[16], f[17] = 0, 39 })},
		{"TCP data offset below 20", with(tcp, func(f []byte) { f[46] = 0x40 })},
		{"TCP data offset beyond the segment", with(tcp, func(f []byte) { f[46] = 0xf0 })},
		{"cut UDP header", with(udp, func(f []byte) { f[16], f[17] = 0, 27 })},
		{"UDP length beyond the packet", with(udp, func(f []byte) { f[38] = 0x7f })},
		{"UDP length below 8", with(udp, func(f []byte) { f[38], f[39] = 0, 7 })},
		{"cut ICMP header", with(icmp4(t), func(f []byte) { f[16], f[17] = 0, 27 })},
		{"half an IPv6 header", udp6(t)[:50]},
		{"IPv6 version 4", with(udp6(t), func(f []byte) { f[14] = 0x45 })},
		{"IPv6 payload length beyond the frame", with(udp6(t), func(f []byte) { f[18] = 0x7f })},
		{"IPv6 extension header beyond the packet", with(udp6(t), func(f []byte) { f[20], f[55] = ProtoHopByHop, 200 })},
		{"cut IPv6 extension header", with(udp6(t), func(f []byte) { f[20], f[19] = ProtoHopByHop, 7 })},
		{"cut IPv6 fragment header", with(udp6(t), func(f []byte) { f[20], f[19] = ProtoFragment, 7 })},
		{"too many IPv6 extension headers", extend(t, ProtoDestOpts, nine...)},
		{"short ARP", arp(t, 1, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2})[:40]},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Packet
			if p.Parse(c.frame) {
				t.Errorf("Parse takes the frame: %+v", p)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	tcp, udp, udpV6 := tcp4(t), udp4(t), udp6(t)
	partial := func(frame []byte, field int) []byte {
		return with(frame, func(f []byte) {
			var p Packet
			p.Parse(f)
			sum := PseudoSum(p.Proto, len(p.L4), p.Src, p.Dst)
			p.L4[field], p.L4[field+1] = byte(sum>>8), byte(sum)
		})
	}
	for _, c := range []struct {
		name    string
		frame   []byte
		partial bool
		want    ChecksumState
	}{
		{"good TCP", tcp, false, ChecksumGood},
		{"good UDP", udp, false, ChecksumGood},
		{"good UDP over IPv6", udpV6, false, ChecksumGood},
		{"good TCP with Ethernet padding", padded(tcp), false, ChecksumGood},
		{"bad TCP payload", with(tcp, func(f []byte) { f[len(f)-1] ^= 1 }), true, ChecksumBad},
		{"bad UDP payload", with(udp, func(f []byte) { f[42] ^= 1 }), true, ChecksumBad},
		{"bad IPv4 header", with(tcp, func(f []byte) { f[22]-- }), true, ChecksumBad},
		{"partial TCP on veth", partial(tcp, 16), true, ChecksumGood},
		{"partial UDP on veth", partial(udp, 6), true, ChecksumGood},
		{"partial UDP over IPv6 on veth", partial(udpV6, 6), true, ChecksumGood},
		{"partial TCP on a wire", partial(tcp, 16), false, ChecksumBad},
		{"UDP without checksum", with(udp, func(f []byte) { f[40], f[41] = 0, 0 }), false, ChecksumGood},
		{"UDP over IPv6 without checksum", with(udpV6, func(f []byte) { f[60], f[61] = 0, 0 }), true, ChecksumBad},
		{"fragment", fragment4(t, 1, 0, true), false, ChecksumUnknown},
		{"fragment with a bad IPv4 header", with(fragment4(t, 1, 0, true), func(f []byte) { f[22]-- }), false, ChecksumBad},
		{"ICMP", icmp4(t), false, ChecksumUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Packet
			if !p.Parse(c.frame) {
				t.Fatal("Parse refuses the frame")
			}
			if got := p.Verify(c.partial); got != c.want {
				t.Errorf("Verify says %d, want %d", got, c.want)
			}
		})
	}
}

func TestMayChangeNeighbors(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"ARP request", arp(t, 1, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2}), true},
		{"echo request", icmp6(t, 128), false},
		{"MLD report", icmp6(t, 132), false},
		{"router solicitation", icmp6(t, 133), true},
		{"redirect", icmp6(t, 137), true},
		{"node information", icmp6(t, 139), false},
		{"UDP", udp6(t), false},
		{"a protocol of IPv4 with ICMPv6's number", with(icmp4(t), func(f []byte) { f[23], f[34] = ProtoICMPv6, ICMPv6NeighborAdvert }), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Packet
			if !p.Parse(c.frame) || p.MayChangeNeighbors() != c.want {
				t.Errorf("reports %v, want %v", p.MayChangeNeighbors(), c.want)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		name     string
		frame    []byte
		from, to string
	}{
		{"IPv4", tcp4(t), "198.18.0.1:1234", "198.18.0.2:80"},
		{"IPv6", udp6(t), "[2001:db8::1]:1234", "[2001:db8::2]:53"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Packet
			p.Parse(c.frame)
			if p.Source() != netip.MustParseAddrPort(c.from) || p.Destination() != netip.MustParseAddrPort(c.to) {
				t.Errorf("from %v to %v, want %s to %s", p.Source(), p.Destination(), c.from, c.to)
			}
			src, dst := Addresses(c.frame[EthernetLen:])
			if !bytes.Equal(src, p.Src) || !bytes.Equal(dst, p.Dst) {
				t.Errorf("Addresses returns %v and %v, want %v and %v", src, dst, p.Src, p.Dst)
			}
		})
	}
}
