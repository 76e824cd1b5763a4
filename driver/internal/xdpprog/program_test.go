//go:build linux

package xdpprog

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"shardnet/driver/netlab"
)

const (
	xdpPass = 2
)

var (
	ours4, other4 = net.IP{198, 18, 0, 2}, net.IP{198, 18, 0, 3}
	ours6, other6 = net.ParseIP("2001:db8::2"), net.ParseIP("2001:db8::3")
)

func frame(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func eth(typ layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, EthernetType: typ}
}

func ip4(dst net.IP) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IP{198, 18, 0, 1}, DstIP: dst}
}

func ip6(dst net.IP, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: next, SrcIP: net.ParseIP("2001:db8::1"), DstIP: dst}
}

func arp(op uint16, target net.IP) *layers.ARP {
	return &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: make([]byte, 6), SourceProtAddress: net.IP{198, 18, 0, 1}, DstHwAddress: make([]byte, 6), DstProtAddress: target.To4(),
	}
}

// solicited is the solicited-node group of ip.
func solicited(ip net.IP) net.IP {
	g := net.ParseIP("ff02::1:ff00:0")
	copy(g[13:], ip.To16()[13:])
	return g
}

func neighbor(typ uint8, target net.IP) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{gopacket.Payload(append([]byte{typ, 0, 0, 0, 0, 0, 0, 0}, target.To16()...))}
}

// TestRules runs the program in the kernel on crafted frames: what is the stack's
// is counted as such, everything passes to the kernel as no socket is there.
func TestRules(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loading an XDP program needs root")
	}
	p := new(Program)
	if err := loadBpfObjects(&p.objs, nil); err != nil {
		t.Fatal(err)
	}
	defer p.objs.Close()
	for _, a := range []string{"198.18.0.2", "2001:db8::2"} {
		if err := p.own(netip.MustParseAddr(a)); err != nil {
			t.Fatal(err)
		}
	}
	fragment := ip4(ours4)
	fragment.FragOffset = 100
	udp := gopacket.Payload("12345678payload")
	ns := func(dst, target net.IP) []byte {
		return frame(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv6), ip6(dst, layers.IPProtocolICMPv6)}, neighbor(135, target)...)...)
	}
	vlan := &layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetTypeIPv4}
	badARP := frame(t, eth(layers.EthernetTypeARP), arp(1, ours4))
	binary.BigEndian.PutUint16(badARP[16:], 0x86dd)
	for _, c := range []struct {
		name  string
		frame []byte
		ours  bool
	}{
		{"IPv4 to us", frame(t, eth(layers.EthernetTypeIPv4), ip4(ours4), udp), true},
		{"IPv4 fragment to us", frame(t, eth(layers.EthernetTypeIPv4), fragment, udp), true},
		{"IPv4 to the host", frame(t, eth(layers.EthernetTypeIPv4), ip4(other4), udp), false},
		{"IPv4 broadcast", frame(t, eth(layers.EthernetTypeIPv4), ip4(net.IPv4bcast), udp), false},
		{"IPv4 multicast", frame(t, eth(layers.EthernetTypeIPv4), ip4(net.IP{224, 0, 0, 1}), udp), false},
		{"IPv4 to us in a VLAN", frame(t, eth(layers.EthernetTypeDot1Q), vlan, ip4(ours4), udp), false},
		{"IPv6 to us", frame(t, eth(layers.EthernetTypeIPv6), ip6(ours6, layers.IPProtocolUDP), udp), true},
		{"IPv6 to the host", frame(t, eth(layers.EthernetTypeIPv6), ip6(other6, layers.IPProtocolUDP), udp), false},
		{"ARP request for us", frame(t, eth(layers.EthernetTypeARP), arp(1, ours4)), true},
		{"ARP reply to us", frame(t, eth(layers.EthernetTypeARP), arp(2, ours4)), true},
		{"ARP request for the host", frame(t, eth(layers.EthernetTypeARP), arp(1, other4)), false},
		{"ARP not for IPv4", badARP, false},
		{"neighbor solicitation for us", ns(solicited(ours6), ours6), true},
		{"neighbor solicitation for us, unicast", ns(ours6, ours6), true},
		{"neighbor solicitation for the host", ns(solicited(other6), other6), false},
		{"neighbor solicitation for another of our group", ns(solicited(ours6), net.ParseIP("2001:db8:1::2")), false},
		{"neighbor solicitation to a wrong group", ns(solicited(other6), ours6), false},
		{"neighbor advertisement to us", frame(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv6), ip6(ours6, layers.IPProtocolICMPv6)}, neighbor(136, other6)...)...), true},
		{"router advertisement to all nodes", frame(t, append([]gopacket.SerializableLayer{eth(layers.EthernetTypeIPv6), ip6(net.ParseIP("ff02::1"), layers.IPProtocolICMPv6)}, neighbor(134, other6)...)...), false},
		{"unknown EtherType", frame(t, eth(0x88b5), udp), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// Cut anywhere, it is never taken for more than it is.
			for n := 14; n <= len(c.frame); n++ {
				before, err := p.Counts()
				if err != nil {
					t.Fatal(err)
				}
				ret, _, err := p.objs.ShardnetXdp.Test(c.frame[:n])
				if err != nil {
					t.Fatal(err)
				}
				if ret != xdpPass {
					t.Fatalf("action is %d", ret)
				}
				after, err := p.Counts()
				if err != nil {
					t.Fatal(err)
				}
				ours := after.Unbound-before.Unbound == 1
				if !ours && after.Passed-before.Passed != 1 {
					t.Fatalf("counted %+v after %+v", after, before)
				}
				if n == len(c.frame) && ours != c.ours {
					t.Errorf("taken for ours: %v, want %v", ours, c.ours)
				}
				if ours && !c.ours {
					t.Errorf("the first %d bytes are taken for ours", n)
				}
			}
		})
	}
}

func TestAttach(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	attached := func() bool {
		link, err := a.Host.Netlink().LinkByName(a.Name)
		if err != nil {
			t.Fatal(err)
		}
		x := link.Attrs().Xdp
		return x != nil && x.Attached
	}
	for _, mode := range []Mode{Native, Generic} {
		err := a.Host.Do(func() error {
			p, err := Attach(a.Index, mode, false, nil)
			if err != nil {
				return err
			}
			if !attached() {
				t.Errorf("%v: no program on the interface", mode)
			}
			if second, err := Attach(a.Index, mode, false, nil); !errors.Is(err, ErrBusy) {
				if err == nil {
					second.Close()
				}
				t.Errorf("%v: second Attach gives %v, want %v", mode, err, ErrBusy)
			}
			return p.Close()
		})
		if err != nil {
			t.Errorf("%v: %v", mode, err)
		}
		if attached() {
			t.Errorf("%v: the program stays after Close", mode)
		}
	}
	err := a.Host.Do(func() error {
		_, err := Attach(1<<20, Native, false, nil)
		return err
	})
	if err == nil {
		t.Error("Attach to no interface succeeds")
	}
}

// A program set by somebody else, with ip link, is left alone.
func TestAttachLeavesAnothersProgram(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	err := a.Host.Do(func() error {
		var theirs bpfObjects
		if err := loadBpfObjects(&theirs, nil); err != nil {
			return err
		}
		defer theirs.Close()
		link, err := netlink.LinkByName(a.Name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetXdpFd(link, theirs.ShardnetXdp.FD()); err != nil {
			return err
		}
		if p, err := Attach(a.Index, Native, false, nil); !errors.Is(err, ErrBusy) {
			if err == nil {
				p.Close()
			}
			t.Errorf("Attach gives %v, want %v", err, ErrBusy)
		}
		link, err = netlink.LinkByName(a.Name)
		if err != nil {
			return err
		}
		if x := link.Attrs().Xdp; x == nil || !x.Attached {
			t.Error("the other program is gone")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The interface listens to the groups that neighbor solicitations for the
// stack's addresses come on, while the program is attached and no longer.
func TestAttachJoinsSolicitedNodeGroups(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	addrs := []netip.Prefix{
		netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("2001:db8::12:3456/64"),
		netip.MustParsePrefix("2001:db8:1::12:3456/64"), netip.MustParsePrefix("2001:db8::ab:cdef/64"),
	}
	groups := []string{"3333ff123456", "3333ffabcdef"}
	joined := func() (macs []string) {
		t.Helper()
		table, err := os.ReadFile("/proc/thread-self/net/dev_mcast") // index, name, users, global users, address
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(table)) {
			if f := strings.Fields(line); len(f) == 5 && f[1] == a.Name && slices.Contains(groups, f[4]) {
				macs = append(macs, f[4])
			}
		}
		slices.Sort(macs)
		return macs
	}
	err := a.Host.Do(func() error {
		p, err := Attach(a.Index, Native, false, addrs)
		if err != nil {
			return err
		}
		if got := joined(); !slices.Equal(got, groups) {
			t.Errorf("member of %v, want %v", got, groups)
		}
		if err := p.Close(); err != nil {
			return err
		}
		if got := joined(); len(got) != 0 {
			t.Errorf("still member of %v after Close", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A large MTU takes a program for frames in several buffers, and is refused
// without.
func TestAttachFrags(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{MTU: 9000})
	err := a.Host.Do(func() error {
		if p, err := Attach(a.Index, Native, false, nil); !errors.Is(err, ErrUnsupported) {
			if err == nil {
				p.Close()
			}
			t.Errorf("Attach without frags at MTU 9000 gives %v, want %v", err, ErrUnsupported)
		}
		p, err := Attach(a.Index, Native, true, nil)
		if err != nil {
			return err
		}
		return p.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
}
