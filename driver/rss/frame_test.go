package rss

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"shardnet/driver/wire"
)

// packet returns an Ethernet frame with the given transport protocol and ports.
func packet(src, dst netip.AddrPort, proto byte) []byte {
	l4 := binary.BigEndian.AppendUint16(nil, src.Port())
	l4 = binary.BigEndian.AppendUint16(l4, dst.Port())
	l4 = append(l4, make([]byte, 16)...)
	if src.Addr().Is4() {
		return ether(wire.EtherTypeIPv4, ipv4(src.Addr(), dst.Addr(), proto, 0, nil, l4))
	}
	return ether(wire.EtherTypeIPv6, ipv6(src.Addr(), dst.Addr(), proto, l4))
}

func ether(etherType uint16, payload []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12, 128), etherType), payload...)
}

func vlan(tpid uint16, frame []byte) []byte {
	out := append([]byte(nil), frame[:12]...)
	out = binary.BigEndian.AppendUint16(out, tpid)
	out = append(out, 0, 5)
	return append(out, frame[12:]...)
}

func ipv4(src, dst netip.Addr, proto byte, flags uint16, options, l4 []byte) []byte {
	p := make([]byte, 20, 128)
	p[0] = 0x40 | byte(5+len(options)/4)
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(options)+len(l4)))
	binary.BigEndian.PutUint16(p[6:], flags)
	p[8], p[9] = 64, proto
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	return append(append(p, options...), l4...)
}

func ipv6(src, dst netip.Addr, next byte, payload []byte) []byte {
	p := make([]byte, 40, 256)
	p[0] = 0x60
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	p[6], p[7] = next, 64
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	return append(p, payload...)
}

// ext returns an extension header of 8*(1+more) bytes, followed by rest.
func ext(next byte, more byte, rest []byte) []byte {
	h := make([]byte, 8*(1+int(more)))
	h[0], h[1] = next, more
	return append(h, rest...)
}

func TestHashFrame(t *testing.T) {
	var (
		src4, dst4 = netip.MustParseAddr("66.9.149.187"), netip.MustParseAddr("161.142.100.80")
		src6, dst6 = netip.MustParseAddr("3ffe:2501:200:1fff::7"), netip.MustParseAddr("3ffe:2501:200:3::1")
		l4         = append([]byte{0x0a, 0xea, 0x06, 0xe6}, make([]byte, 20)...) // ports 2794, 1766
		tcp4       = ether(wire.EtherTypeIPv4, ipv4(src4, dst4, wire.ProtoTCP, 0, nil, l4))
		tcp6       = ether(wire.EtherTypeIPv6, ipv6(src6, dst6, wire.ProtoTCP, l4))
	)
	const (
		addrs4, ports4 = 0x323e8fc2, 0x51ccc178
		addrs6, ports6 = 0x2cc18cd5, 0x40207d3d
	)
	frame4 := func(proto byte, flags uint16, options, l4 []byte) []byte {
		return ether(wire.EtherTypeIPv4, ipv4(src4, dst4, proto, flags, options, l4))
	}
	frame6 := func(next byte, payload []byte) []byte {
		return ether(wire.EtherTypeIPv6, ipv6(src6, dst6, next, payload))
	}
	with := func(frame []byte, at int, b byte) []byte {
		f := append([]byte(nil), frame...)
		f[at] = b
		return f
	}
	fourExt := ext(wire.ProtoRouting, 0, ext(wire.ProtoDestOpts, 0, ext(wire.ProtoDestOpts, 0, ext(wire.ProtoUDP, 0, l4))))
	for _, c := range []struct {
		name  string
		frame []byte
		hash  uint32
		class Class
	}{
		{"ipv4 tcp", tcp4, ports4, Ports},
		{"ipv4 udp", frame4(wire.ProtoUDP, 0, nil, l4), ports4, Ports},
		{"ipv4 udp, do not fragment", frame4(wire.ProtoUDP, 0x4000, nil, l4), ports4, Ports},
		{"ipv4 options", frame4(wire.ProtoTCP, 0, make([]byte, 40), l4), ports4, Ports},
		{"ipv4 icmp", frame4(1, 0, nil, l4), addrs4, Addresses},
		{"ipv4 first fragment", frame4(wire.ProtoUDP, 0x2000, nil, l4), addrs4, Addresses},
		{"ipv4 last fragment", frame4(wire.ProtoUDP, 0x0001, nil, l4), addrs4, Addresses},
		{"ipv4 no payload", frame4(wire.ProtoTCP, 0, nil, nil), addrs4, Addresses},
		{"ipv4 ports cut", frame4(wire.ProtoTCP, 0, nil, l4[:3]), addrs4, Addresses},
		{"ipv4 padding is no port", append(frame4(wire.ProtoTCP, 0, nil, nil), l4...), addrs4, Addresses},
		{"ipv4 header length too small", with(tcp4, 14, 0x44), addrs4, Addresses},
		{"ipv4 header length past the end", with(tcp4, 14, 0x4f), addrs4, Addresses},
		{"ipv4 cut", tcp4[:14+19], 0, NotIP},
		{"ipv4 version 6", with(tcp4, 14, 0x65), 0, NotIP},
		{"vlan", vlan(wire.EtherTypeVLAN, tcp4), ports4, Ports},
		{"vlan ipv6", vlan(wire.EtherTypeVLAN, tcp6), ports6, Ports},
		{"two vlans", vlan(wire.EtherTypeQinQ, vlan(wire.EtherTypeVLAN, tcp4)), ports4, Ports},
		{"three vlans", vlan(wire.EtherTypeVLAN, vlan(wire.EtherTypeVLAN, vlan(wire.EtherTypeVLAN, tcp4))), 0, NotIP},
		{"vlan cut", vlan(wire.EtherTypeVLAN, tcp4)[:17], 0, NotIP},
		{"ipv6 tcp", tcp6, ports6, Ports},
		{"ipv6 udp", frame6(wire.ProtoUDP, l4), ports6, Ports},
		{"ipv6 icmp", frame6(58, l4), addrs6, Addresses},
		{"ipv6 hop by hop", frame6(wire.ProtoHopByHop, ext(wire.ProtoTCP, 0, l4)), ports6, Ports},
		{"ipv6 long options", frame6(wire.ProtoDestOpts, ext(wire.ProtoTCP, 3, l4)), ports6, Ports},
		{"ipv6 four headers", frame6(wire.ProtoHopByHop, fourExt), ports6, Ports},
		{"ipv6 five headers", frame6(wire.ProtoHopByHop, ext(wire.ProtoHopByHop, 0, fourExt)), addrs6, Addresses},
		{"ipv6 fragment", frame6(44, ext(wire.ProtoUDP, 0, l4)), addrs6, Addresses},
		{"ipv6 fragment after options", frame6(wire.ProtoHopByHop, ext(44, 0, ext(wire.ProtoUDP, 0, l4))), addrs6, Addresses},
		{"ipv6 extension past the end", frame6(wire.ProtoHopByHop, ext(wire.ProtoTCP, 0, l4)[:7]), addrs6, Addresses},
		{"ipv6 lying extension", frame6(wire.ProtoHopByHop, with(ext(wire.ProtoTCP, 0, l4), 1, 255)), addrs6, Addresses},
		{"ipv6 no payload", frame6(wire.ProtoTCP, nil), addrs6, Addresses},
		{"ipv6 padding is no port", append(frame6(wire.ProtoTCP, nil), l4...), addrs6, Addresses},
		{"ipv6 cut", tcp6[:14+39], 0, NotIP},
		{"ipv6 version 4", with(tcp6, 14, 0x45), 0, NotIP},
		{"arp", ether(0x0806, make([]byte, 28)), 0, NotIP},
		{"runt", make([]byte, 13), 0, NotIP},
		{"empty", nil, 0, NotIP},
	} {
		t.Run(c.name, func(t *testing.T) {
			hash, class := hasher(t, MicrosoftKey()).HashFrame(c.frame)
			if hash != c.hash || class != c.class {
				t.Errorf("%#08x by %v, want %#08x by %v", hash, class, c.hash, c.class)
			}
		})
	}
}

func FuzzHashFrame(f *testing.F) {
	for _, v := range microsoftSuite {
		src, dst := netip.MustParseAddrPort(v.src), netip.MustParseAddrPort(v.dst)
		f.Add(packet(src, dst, wire.ProtoTCP))
		f.Add(vlan(wire.EtherTypeVLAN, packet(src, dst, wire.ProtoUDP)))
	}
	h := hasher(f, MicrosoftKey())
	f.Fuzz(func(t *testing.T, frame []byte) {
		hash, class := h.HashFrame(frame)
		if class == NotIP && hash != 0 {
			t.Errorf("%#x, though not IP", hash)
		}
		// What lies in memory past a frame's end has no say.
		longer := append(append([]byte(nil), frame...), "\x12\x34\x56\x78"...)
		if again, c := h.HashFrame(longer[:len(frame)]); again != hash || c != class {
			t.Errorf("%#x by %v, then %#x by %v", hash, class, again, c)
		}
	})
}
