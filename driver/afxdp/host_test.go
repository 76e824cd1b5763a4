//go:build linux

package afxdp

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/vishvananda/netlink"

	"shardnet/driver"
	"shardnet/driver/internal/wiretest"
	"shardnet/driver/netlab"
)

// hostAndPeer is a link whose ends both have kernel addresses, 198.18.0.3 and .4,
// and whose peer knows 198.18.0.2, the stack's, as a neighbour.
func hostAndPeer(t *testing.T, peer netlab.End) (host, other *netlab.Interface) {
	t.Helper()
	peer.Addresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.4/24"), netip.MustParsePrefix("2001:db8::4/64")}
	host, other = netlab.Pair(t,
		netlab.End{Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.3/24"), netip.MustParsePrefix("2001:db8::3/64")}},
		peer, netlab.LinkConfig{Queues: 2})
	err := other.Host.Netlink().NeighAdd(&netlink.Neigh{
		LinkIndex: other.Index, IP: net.IP{198, 18, 0, 2}, HardwareAddr: host.MAC, State: netlink.NUD_PERMANENT,
	})
	if err != nil {
		t.Fatal(err)
	}
	return host, other
}

// echoFromPeer has the peer exchange a line over TCP with the host's kernel.
func echoFromPeer(t *testing.T, host, peer *netlab.Interface, address string) error {
	t.Helper()
	ln, err := host.Host.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c)
			c.Close()
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, err := peer.Host.Dial(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	sent := bytes.Repeat([]byte("kernel "), 50_000)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes came back, want %d", len(got), len(sent))
	}
	return nil
}

// TestHostKeepsItsTraffic holds that the kernel serves its own addresses, ARP and
// NDP for them included, while the stack has another on the same interface.
func TestHostKeepsItsTraffic(t *testing.T) {
	host, peer := hostAndPeer(t, netlab.End{})
	for _, mode := range []Mode{Copy, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			dev, err := openIn(host, Config{Addresses: addresses("198.18.0.2", "2001:db8::2"), Mode: mode})
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			for _, address := range []string{"198.18.0.3:0", "[2001:db8::3]:0"} {
				// As for a new neighbour.
				if err := flushNeighbours(peer); err != nil {
					t.Fatal(err)
				}
				if err := echoFromPeer(t, host, peer, address); err != nil {
					t.Errorf("the host's own %s: %v", address, err)
				}
			}
			var received uint64
			for i := range dev.Info().Queues {
				received += dev.Queue(i).Stats().RxPackets
			}
			if c, err := dev.program.Counts(); err != nil || c.Passed < 10 || c.Redirected != 0 || received != 0 {
				t.Errorf("program counts %+v (%v), queues received %d: want all passed", c, err, received)
			}
		})
	}
}

func flushNeighbours(i *netlab.Interface) error {
	nl := i.Host.Netlink()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		neighs, err := nl.NeighList(i.Index, family)
		if err != nil {
			return err
		}
		for _, n := range neighs {
			if n.State&(netlink.NUD_PERMANENT|netlink.NUD_NOARP) != 0 {
				continue
			}
			if err := nl.NeighDel(&n); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestChecksumsOfKernelPeer holds what Offloads.RxChecksumPartial says, and that
// a peer whose offload is off sends whole checksums.
func TestChecksumsOfKernelPeer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		off     bool
		partial bool
	}{{"offload on", false, true}, {"offload off", true, false}} {
		t.Run(tt.name, func(t *testing.T) {
			host, peer := hostAndPeer(t, netlab.End{NoTxChecksum: tt.off})
			dev, err := openIn(host, Config{Addresses: addresses("198.18.0.2"), Queues: 0})
			if err != nil {
				t.Fatal(err)
			}
			defer dev.Close()
			if !dev.Info().Offloads.RxChecksumPartial {
				t.Error("Info does not warn of partial checksums")
			}
			c, err := peer.Host.Dial(context.Background(), "udp", "198.18.0.2:7")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.Write([]byte("odd")); err != nil {
				t.Fatal(err)
			}
			frame := receiveAny(t, dev)
			p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
			ip, _ := p.NetworkLayer().(*layers.IPv4)
			udp, _ := p.TransportLayer().(*layers.UDP)
			if ip == nil || udp == nil || string(udp.Payload) != "odd" {
				t.Fatalf("received %v", p)
			}
			pseudo := fold(ip.SrcIP, ip.DstIP, []byte{0, byte(ip.Protocol)}, []byte{byte(udp.Length >> 8), byte(udp.Length)})
			segment := append(append([]byte(nil), udp.Contents...), udp.Payload...)
			whole := fold(ip.SrcIP, ip.DstIP, []byte{0, byte(ip.Protocol)}, []byte{byte(udp.Length >> 8), byte(udp.Length)}, segment) == 0xffff
			if partial := udp.Checksum == pseudo; partial != tt.partial || whole == tt.partial {
				t.Errorf("checksum %#04x: partial %v, whole %v", udp.Checksum, partial, whole)
			}
		})
	}
}

// fold is the ones' complement sum of RFC 1071. Parts but the last have even
// lengths.
func fold(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(binary.BigEndian.Uint16(p))
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// receiveAny waits for a frame on any queue and returns a copy.
func receiveAny(t *testing.T, dev *Device) []byte {
	t.Helper()
	fs := make([]driver.Frame, 1)
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		for i := range dev.Info().Queues {
			q := dev.Queue(i)
			n, err := q.Receive(fs)
			if err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				data := bytes.Clone(fs[0].Data)
				q.Release(fs)
				return data
			}
			if err := q.Wait(time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Fatal("nothing received within 5 s")
	return nil
}

// TestGenericExchange sends frames of all sizes both ways in generic mode.
func TestGenericExchange(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	da, db := openPair(t, a, b, Generic)
	for size := 18; size <= 1500-28; size += 97 {
		there := wiretest.UDPFrame(t, a.MAC, b.MAC, "198.18.0.1", "198.18.0.2", size)
		wiretest.Transmit(t, da.Queue(0), there)
		if got := wiretest.ReceiveOne(t, db.Queue(0)); !bytes.Equal(got, there) {
			t.Fatalf("%d bytes arrived of a frame of %d", len(got), len(there))
		}
		back := wiretest.UDPFrame(t, b.MAC, a.MAC, "198.18.0.2", "198.18.0.1", size)
		wiretest.Transmit(t, db.Queue(0), back)
		if got := wiretest.ReceiveOne(t, da.Queue(0)); !bytes.Equal(got, back) {
			t.Fatalf("%d bytes came back of a frame of %d", len(got), len(back))
		}
	}
}
