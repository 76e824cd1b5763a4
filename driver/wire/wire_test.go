package wire

import (
	"bytes"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// TestPut compares what the Put functions write with what gopacket writes.
func TestPut(t *testing.T) {
	src, dst := [6]byte(testSrcMAC), [6]byte(testDstMAC)
	v4, v6 := ip4(0), ip6(0)
	a4, b4, a6, b6 := []byte(v4.SrcIP), []byte(v4.DstIP), []byte(v6.SrcIP), []byte(v6.DstIP)
	tcp := &layers.TCP{
		SrcPort: 1234, DstPort: 80, Seq: 0x01020304, Ack: 0xfffefdfc, SYN: true, ACK: true, CWR: true, Window: 0xabcd,
		Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 8, OptionData: make([]byte, 6)}},
	}
	_ = tcp.SetNetworkLayerForChecksum(v4)
	for _, c := range []struct {
		name string
		put  func(b []byte)
		want []byte
	}{
		{"Ethernet", func(b []byte) { PutEthernet(b, &dst, &src, EtherTypeIPv6) }, serialize(t, eth(layers.EthernetTypeIPv6))[:EthernetLen]},
		{
			"IPv4", func(b []byte) { PutIPv4(b, 0x2e, 120, 77, DontFragment, 63, ProtoTCP, a4, b4) },
			serialize(t, &layers.IPv4{
				Version: 4, TOS: 0x2e, Id: 77, Flags: layers.IPv4DontFragment, TTL: 63, Protocol: layers.IPProtocolTCP, SrcIP: v4.SrcIP, DstIP: v4.DstIP,
			}, gopacket.Payload(make([]byte, 100)))[:IPv4Len],
		},
		{
			"IPv4 fragment", func(b []byte) { PutIPv4(b, 0, 28, 77, MoreFragments|185, DefaultTTL, ProtoUDP, a4, b4) },
			serialize(t, &layers.IPv4{
				Version: 4, Id: 77, Flags: layers.IPv4MoreFragments, FragOffset: 185, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: v4.SrcIP, DstIP: v4.DstIP,
			}, gopacket.Payload(make([]byte, 8)))[:IPv4Len],
		},
		{
			"IPv6", func(b []byte) { PutIPv6(b, 0x2e, 100, ProtoUDP, 255, a6, b6) },
			serialize(t, &layers.IPv6{
				Version: 6, TrafficClass: 0x2e, HopLimit: 255, NextHeader: layers.IPProtocolUDP, SrcIP: v6.SrcIP, DstIP: v6.DstIP,
			}, gopacket.Payload(make([]byte, 100)))[:IPv6Len],
		},
		{"IPv6 fragment", func(b []byte) { PutIPv6Fragment(b, ProtoUDP, 1448, true, 0x01020304) }, []byte{17, 0, 0x05, 0xa9, 1, 2, 3, 4}},
		{"last IPv6 fragment", func(b []byte) { PutIPv6Fragment(b, ProtoUDP, 1448, false, 1) }, []byte{17, 0, 0x05, 0xa8, 0, 0, 0, 1}},
		{
			"ARP", func(b []byte) { PutARP(b, ARPRequest, testSrcMAC, a4, make([]byte, 6), b4) },
			arp(t, 1, v4.SrcIP, v4.DstIP)[EthernetLen:][:ARPLen],
		},
		{
			"TCP with options", func(b []byte) { PutTCP(b, 1234, 80, 0x01020304, 0xfffefdfc, 28, SYN|ACK|CWR, 0xabcd) },
			with(serialize(t, tcp)[:TCPLen], func(b []byte) { b[16], b[17] = 0, 0 }),
		},
		{"UDP", func(b []byte) { PutUDP(b, 1234, 53, 1000) }, []byte{0x04, 0xd2, 0, 53, 0x03, 0xf0, 0, 0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Repeat([]byte{0xaa}, len(c.want)+1)
			if c.put(b); !bytes.Equal(b, append(c.want, 0xaa)) {
				t.Errorf("wrote\n%x, want\n%xaa", b, c.want)
			}
		})
	}
}

func TestFitsMTU(t *testing.T) {
	frame := func(etherType uint16, n int) []byte {
		b := make([]byte, 14+n)
		b[12], b[13] = byte(etherType>>8), byte(etherType)
		return b
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"empty", nil, false},
		{"half an Ethernet header", make([]byte, 13), false},
		{"header alone", frame(EtherTypeIPv4, 0), true},
		{"as long as the MTU", frame(EtherTypeIPv4, 1500), true},
		{"longer", frame(EtherTypeIPv4, 1501), false},
		{"with a VLAN tag", frame(EtherTypeVLAN, 1504), true},
		{"longer with a VLAN tag", frame(EtherTypeVLAN, 1505), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := FitsMTU(c.frame, 1500); got != c.want {
				t.Errorf("reports %v", got)
			}
		})
	}
}

func TestIsIPv4ARP(t *testing.T) {
	b := arp(t, 2, ip4(0).SrcIP, ip4(0).DstIP)[EthernetLen:]
	if !IsIPv4ARP(b) {
		t.Error("an ARP reply is not taken")
	}
	for i := range 6 { // types and lengths
		if IsIPv4ARP(with(b, func(b []byte) { b[i]++ })) {
			t.Errorf("taken with byte %d changed", i)
		}
	}
}

// FuzzParse reads frames, and writes and reads packets of the same bytes.
func FuzzParse(f *testing.F) {
	for _, frame := range [][]byte{
		tcp4(f), udp4(f), udp6(f), icmp4(f), icmp6(f, 135), fragment4(f, 1, 3, true), arp(f, 1, ip4(0).SrcIP, ip4(0).DstIP),
		extend(f, ProtoFragment, ProtoUDP, 0, 0, 0, 1, 2, 3, 4), padded(tcp4(f)),
	} {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var p Packet
		if p.Parse(data) && p.Src != nil {
			p.Verify(true)
			if n := p.IPPacketLen(); EthernetLen+n > len(data) {
				t.Errorf("IP packet of %d bytes in a frame of %d", n, len(data))
			}
			if len(p.L4) > p.IPPacketLen() {
				t.Errorf("transport part of %d bytes in a packet of %d", len(p.L4), p.IPPacketLen())
			}
		}
		p.MayChangeNeighbors()
		for _, v4 := range []bool{true, false} {
			for _, proto := range []uint8{ProtoUDP, ProtoTCP} {
				checkWritten(t, data, v4, proto)
			}
		}
	})
}

// checkWritten writes a frame whose addresses, ports and payload are of data, and reads
// it back.
func checkWritten(t *testing.T, data []byte, v4 bool, proto uint8) {
	t.Helper()
	var field [44]byte
	payload := data[copy(field[:], data):]
	src, dst, etherType := field[:16], field[16:32], uint16(EtherTypeIPv6)
	if v4 {
		src, dst, etherType = field[:4], field[4:8], EtherTypeIPv4
	}
	l4Len := UDPLen
	if proto == ProtoTCP {
		l4Len = TCPLen
	}
	payload = payload[:min(len(payload), MaxUDPPayload(v4)-TCPLen)]
	frame := make([]byte, EthernetLen+IPLen(v4)+l4Len+len(payload))
	n := len(frame) - EthernetLen
	PutEthernet(frame, (*[6]byte)(field[32:]), (*[6]byte)(field[38:]), etherType)
	l4 := frame[EthernetLen+IPLen(v4):]
	if v4 {
		PutIPv4(frame[EthernetLen:], field[0], n, 7, DontFragment, field[1], proto, src, dst)
	} else {
		PutIPv6(frame[EthernetLen:], field[0], len(l4), proto, field[1], src, dst)
	}
	if copy(l4[l4Len:], payload); proto == ProtoUDP {
		PutUDP(l4, 1234, 53, len(payload))
		SetUDPChecksum(l4, nil, src, dst)
	} else {
		PutTCP(l4, 1234, 53, 1, 2, TCPLen, ACK, 3)
		SetTCPChecksum(l4, src, dst)
	}

	var p Packet
	if !p.Parse(frame) || p.Verify(false) != ChecksumGood {
		t.Fatalf("%x: read as %+v, checksum state %d", frame, p, p.Verify(false))
	}
	if p.EtherType != etherType || !bytes.Equal(p.Src, src) || !bytes.Equal(p.Dst, dst) || p.Proto != proto || !p.NoOptions ||
		p.SrcPort != 1234 || p.DstPort != 53 || p.IPPacketLen() != n || !bytes.Equal(p.L4[l4Len:], payload) {
		t.Fatalf("%x: read as %+v", frame, p)
	}
	if f := frame[:EthernetLen]; !bytes.Equal(f[:6], field[32:38]) || !bytes.Equal(f[6:12], field[38:]) {
		t.Fatalf("%x: Ethernet header is wrong", f)
	}
}
