package stack

import (
	"net"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

var (
	testSrcMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	testDstMAC = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// serialize builds a frame with lengths and checksums filled in.
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

func tcp4(t testing.TB, dport uint16, set func(*layers.TCP)) []byte {
	ip := ip4(layers.IPProtocolTCP)
	tcp := &layers.TCP{SrcPort: 1234, DstPort: layers.TCPPort(dport), ACK: true, Window: 1000}
	if set != nil {
		set(tcp)
	}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv4), ip, tcp, gopacket.Payload("hello!!"))
}

func udp4(t testing.TB, dport uint16) []byte {
	ip := ip4(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1234, DstPort: layers.UDPPort(dport)}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv4), ip, udp, gopacket.Payload("hello"))
}

func udp6(t testing.TB, dport uint16) []byte {
	ip := ip6(layers.IPProtocolUDP)
	udp := &layers.UDP{SrcPort: 1234, DstPort: layers.UDPPort(dport)}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv6), ip, udp, gopacket.Payload("hello"))
}

func icmp4(t testing.TB, typ uint8) []byte {
	return serialize(t, eth(layers.EthernetTypeIPv4), ip4(layers.IPProtocolICMPv4),
		&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, 0)}, gopacket.Payload("12345678"))
}

func icmp6(t testing.TB, typ uint8) []byte {
	ip := ip6(layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(t, eth(layers.EthernetTypeIPv6), ip, icmp, gopacket.Payload("12345678901234567890"))
}

func arpFrame(t testing.TB, op uint16, from, to net.IP) []byte {
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

func with(frame []byte, change func(f []byte)) []byte {
	f := append([]byte(nil), frame...)
	change(f)
	return f
}

func TestVerify(t *testing.T) {
	tcp, udp, udpV6 := tcp4(t, 80, nil), udp4(t, 53), udp6(t, 53)
	partial := func(frame []byte, field int) []byte {
		return with(frame, func(f []byte) {
			var p packet
			p.parse(f)
			sum := p.pseudoHeaderSum()
			p.l4[field], p.l4[field+1] = byte(sum>>8), byte(sum)
		})
	}
	padded := func(f []byte) []byte { return append(append([]byte(nil), f...), make([]byte, 9)...) }
	for _, c := range []struct {
		name    string
		frame   []byte
		partial bool
		want    checksumState
	}{
		{"good TCP", tcp, false, checksumGood},
		{"good UDP", udp, false, checksumGood},
		{"good UDP over IPv6", udpV6, false, checksumGood},
		{"good TCP with Ethernet padding", padded(tcp), false, checksumGood},
		{"bad TCP payload", with(tcp, func(f []byte) { f[len(f)-1] ^= 1 }), true, checksumBad},
		{"bad UDP payload", with(udp, func(f []byte) { f[42] ^= 1 }), true, checksumBad},
		{"bad IPv4 header", with(tcp, func(f []byte) { f[22]-- }), true, checksumBad},
		{"partial TCP on veth", partial(tcp, 16), true, checksumGood},
		{"partial UDP on veth", partial(udp, 6), true, checksumGood},
		{"partial UDP over IPv6 on veth", partial(udpV6, 6), true, checksumGood},
		{"partial TCP on a wire", partial(tcp, 16), false, checksumBad},
		{"UDP without checksum", with(udp, func(f []byte) { f[40], f[41] = 0, 0 }), false, checksumGood},
		{"UDP over IPv6 without checksum", with(udpV6, func(f []byte) { f[60], f[61] = 0, 0 }), true, checksumBad},
		{"fragment", fragment4(t, 1, 0, true), false, checksumUnknown},
		{"ICMP", icmp4(t, 8), false, checksumUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p packet
			if !p.parse(c.frame) {
				t.Fatal("parse refuses the frame")
			}
			if got := p.verify(c.partial); got != c.want {
				t.Errorf("verify says %d, want %d", got, c.want)
			}
		})
	}
}

func TestParseRefusesLies(t *testing.T) {
	tcp, udp := tcp4(t, 80, nil), udp4(t, 53)
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
		{"UDP length beyond the packet", with(udp, func(f []byte) { f[38] = 0x7f })},
		{"UDP length below 8", with(udp, func(f []byte) { f[38], f[39] = 0, 7 })},
		{"IPv6 payload length beyond the frame", with(udp6(t, 53), func(f []byte) { f[18] = 0x7f })},
		{"short ARP", arpFrame(t, 1, net.IP{198, 18, 0, 1}, net.IP{198, 18, 0, 2})[:40]},
		{"IPv6 extension header beyond the packet", with(udp6(t, 53), func(f []byte) { f[20], f[55] = protoHopByHop, 200 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p packet
			if p.parse(c.frame) {
				t.Errorf("parse takes the frame: %+v", p)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, frame := range [][]byte{tcp4(f, 80, nil), udp4(f, 53), udp6(f, 53), icmp4(f, 8), icmp6(f, 135), fragment4(f, 1, 3, true)} {
		f.Add(frame)
	}
	s, err := newSteering(4, 32768, 60999)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var p packet
		if !p.parse(frame) {
			return
		}
		p.verify(true)
		if o := s.owner(&p, 2); o < everyShard || o >= 4 {
			t.Fatalf("owner is %d", o)
		}
	})
}
