package steer

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver/wire"
	"shardnet/stack/internal/frametest"
)

func TestAddresses(t *testing.T) {
	own := NewAddresses([]netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.1.2/31"), netip.MustParsePrefix("2001:db8::2/64"),
	})
	for addr, want := range map[string]bool{
		"198.18.0.2": true, "198.18.1.2": true, "2001:db8::2": true,
		"198.18.0.1": false, "198.18.0.255": false, "2001:db8::1": false, "::ffff:198.18.0.2": false,
	} {
		if got := own.Own(netip.MustParseAddr(addr)); got != want {
			t.Errorf("Own(%s) is %v", addr, got)
		}
	}
}

// TestFastPathEligible is the table of what may bypass netstack's IP.
func TestFastPathEligible(t *testing.T) {
	own := NewAddresses([]netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("198.18.1.2/31"), netip.MustParsePrefix("2001:db8::2/64"),
	})
	udp4 := func(change func(e *layers.Ethernet, ip *layers.IPv4, udp *layers.UDP)) []byte {
		e, ip, udp := frametest.Ethernet(layers.EthernetTypeIPv4), frametest.IPv4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 1234, DstPort: 53}
		change(e, ip, udp)
		return frametest.Serialize(t, e, ip, udp, gopacket.Payload("hello"))
	}
	from4 := func(a, b, c, d byte) []byte {
		return udp4(func(_ *layers.Ethernet, ip *layers.IPv4, _ *layers.UDP) { ip.SrcIP = net.IP{a, b, c, d} })
	}
	to4 := func(a, b, c, d byte) []byte {
		return udp4(func(_ *layers.Ethernet, ip *layers.IPv4, _ *layers.UDP) { ip.DstIP = net.IP{a, b, c, d} })
	}
	udp6 := func(src, dst string) []byte {
		ip := frametest.IPv6(layers.IPProtocolUDP)
		ip.SrcIP, ip.DstIP = net.ParseIP(src).To16(), net.ParseIP(dst)
		return frametest.Serialize(t, frametest.Ethernet(layers.EthernetTypeIPv6), ip, &layers.UDP{SrcPort: 1234, DstPort: 53}, gopacket.Payload("hello"))
	}
	for _, c := range []struct {
		name  string
		frame []byte
		want  bool
	}{
		{"TCP", frametest.TCP4(t, 80, nil), true},
		{"UDP", frametest.UDP4(t, 53), true},
		{"UDP over IPv6", frametest.UDP6(t, 53), true},
		{"to an address of a subnet without broadcast", to4(198, 18, 1, 2), true},
		{"from the other of two", udp4(func(_ *layers.Ethernet, ip *layers.IPv4, _ *layers.UDP) {
			ip.SrcIP, ip.DstIP = net.IP{198, 18, 1, 3}, net.IP{198, 18, 1, 2}
		}), true},
		{"to a group's MAC address", udp4(func(e *layers.Ethernet, _ *layers.IPv4, _ *layers.UDP) {
			e.DstMAC = net.HardwareAddr{1, 0, 0x5e, 0, 0, 1}
		}), false},
		{"to all", udp4(func(e *layers.Ethernet, _ *layers.IPv4, _ *layers.UDP) {
			e.DstMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		}), false},
		{"from a group's MAC address", udp4(func(e *layers.Ethernet, _ *layers.IPv4, _ *layers.UDP) { e.SrcMAC = net.HardwareAddr{3, 0, 0, 0, 0, 1} }), false},
		{"from port 0", udp4(func(_ *layers.Ethernet, _ *layers.IPv4, udp *layers.UDP) { udp.SrcPort = 0 }), false},
		{"options", udp4(func(_ *layers.Ethernet, ip *layers.IPv4, _ *layers.UDP) {
			ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
		}), false},
		{"fragment", frametest.Fragment4(t, 1, 0, true), false},
		{"from 0.0.0.0", from4(0, 0, 0, 0), false},
		{"from loopback", from4(127, 0, 0, 1), false},
		{"from multicast", from4(224, 0, 0, 1), false},
		{"from broadcast", from4(255, 255, 255, 255), false},
		{"from the subnet's broadcast", from4(198, 18, 0, 255), false},
		{"from ourselves", from4(198, 18, 0, 2), false},
		{"to another", to4(198, 18, 0, 3), false},
		{"to the subnet's broadcast", to4(198, 18, 0, 255), false},
		{"to multicast", to4(224, 0, 0, 1), false},
		{"IPv6, from the unspecified address", udp6("::", "2001:db8::2"), false},
		{"IPv6, from loopback", udp6("::1", "2001:db8::2"), false},
		{"IPv6, from multicast", udp6("ff02::1", "2001:db8::2"), false},
		{"IPv6, from a mapped address", udp6("::ffff:198.18.0.1", "2001:db8::2"), false},
		{"IPv6, from ourselves", udp6("2001:db8::2", "2001:db8::2"), false},
		{"IPv6, to another", udp6("2001:db8::1", "2001:db8::3"), false},
		{"IPv6, to multicast", udp6("2001:db8::1", "ff02::1"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p wire.Packet
			if !p.Parse(c.frame) {
				t.Fatal("Parse refuses the frame")
			}
			if got := own.FastPathEligible(&p); got != c.want {
				t.Errorf("eligible: %v, want %v", got, c.want)
			}
		})
	}
}
