//go:build linux

package afxdp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/driver/netlab"
	"shardnet/driver/wire"
)

// segmentSpec is a TCP segment of a test.
type segmentSpec struct {
	v6      bool
	port    uint16
	seq     uint32
	flags   uint8 // wire.ACK and others
	size    int
	window  uint16
	options []layers.TCPOption
}

// frame makes s a frame from one interface to another.
func (s segmentSpec) frame(t testing.TB, from, to net.HardwareAddr) []byte {
	t.Helper()
	eth := &layers.Ethernet{SrcMAC: from, DstMAC: to, EthernetType: layers.EthernetTypeIPv4}
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.port), DstPort: 80, Seq: s.seq, Ack: 77, Window: s.window, Options: s.options,
		ACK: s.flags&wire.ACK != 0, PSH: s.flags&wire.PSH != 0, FIN: s.flags&wire.FIN != 0,
	}
	var ip gopacket.SerializableLayer
	if s.v6 {
		eth.EthernetType = layers.EthernetTypeIPv6
		l := &layers.IPv6{Version: 6, NextHeader: layers.IPProtocolTCP, HopLimit: 64, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2")}
		_ = tcp.SetNetworkLayerForChecksum(l)
		ip = l
	} else {
		l := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment, SrcIP: net.IP{198, 18, 0, 1}, DstIP: net.IP{198, 18, 0, 2}}
		_ = tcp.SetNetworkLayerForChecksum(l)
		ip = l
	}
	payload := make([]byte, s.size)
	for i := range payload {
		payload[i] = byte(s.seq + uint32(i))
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, eth, ip, tcp, gopacket.Payload(payload)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

var timestamps = []layers.TCPOption{
	{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
	{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 1, 2, 0, 0, 3, 4}},
}

// TestSegmentRun: what may be one packet, and what may not.
func TestSegmentRun(t *testing.T) {
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	base := segmentSpec{port: 1000, seq: 1 << 31, flags: wire.ACK, size: 1000, window: 500, options: timestamps}
	for _, v6 := range []bool{false, true} {
		next := func(change func(s *segmentSpec)) segmentSpec {
			s := base
			s.v6 = v6
			s.seq += 1000
			change(&s)
			return s
		}
		first := base
		first.v6 = v6
		for _, c := range []struct {
			name   string
			second segmentSpec
			edit   func(b []byte)
			joins  bool
		}{
			{"the next", next(func(*segmentSpec) {}), nil, true},
			{"the last, shorter", next(func(s *segmentSpec) { s.size, s.flags = 5, wire.ACK|wire.PSH|wire.FIN }), nil, true},
			{"longer", next(func(s *segmentSpec) { s.size++ }), nil, false},
			{"empty", next(func(s *segmentSpec) { s.size = 0 }), nil, false},
			{"a gap", next(func(s *segmentSpec) { s.seq++ }), nil, false},
			{"the same again", next(func(s *segmentSpec) { s.seq -= 1000 }), nil, false},
			{"another connection", next(func(s *segmentSpec) { s.port++ }), nil, false},
			{"another family", next(func(s *segmentSpec) { s.v6 = !s.v6 }), nil, false},
			{"another window", next(func(s *segmentSpec) { s.window++ }), nil, false},
			{"other timestamps", next(func(*segmentSpec) {}), func(b []byte) { b[len(b)-1001]++ }, false},
			{"a RST", next(func(*segmentSpec) {}), func(b []byte) { b[len(b)-1000-32+13] |= 4 }, false},
			{"urgent data", next(func(*segmentSpec) {}), func(b []byte) { b[len(b)-1000-32+18] = 1 }, false},
			{"another MAC address", next(func(*segmentSpec) {}), func(b []byte) { b[0] ^= 4 }, false},
			{"another traffic class", next(func(*segmentSpec) {}), func(b []byte) { b[15] ^= 16 }, false},
			{"another hop limit", next(func(*segmentSpec) {}), func(b []byte) {
				if v6 {
					b[21]--
				} else {
					b[22]--
				}
			}, false},
			{"trailing bytes", next(func(*segmentSpec) {}), func(b []byte) {
				if v6 {
					b[19]--
				} else {
					b[17]--
				}
			}, false},
		} {
			t.Run(fmt.Sprintf("v6=%v/%s", v6, c.name), func(t *testing.T) {
				var r segmentRun
				if !r.begin(first.frame(t, mac, mac)) {
					t.Fatal("the first segment does not begin a run")
				}
				b := c.second.frame(t, mac, mac)
				if c.edit != nil {
					c.edit(b)
				}
				if got := r.add(b); got != c.joins {
					t.Errorf("joins: %v", got)
				}
				if c.joins && c.second.size < 1000 && !r.closed {
					t.Error("more may follow what was the last")
				}
			})
		}
		for name, s := range map[string]segmentSpec{
			"a pure ACK": next(func(s *segmentSpec) { s.size = 0 }),
			"a FIN":      next(func(s *segmentSpec) { s.flags |= wire.FIN }),
			"a PSH":      next(func(s *segmentSpec) { s.flags |= wire.PSH }),
		} {
			var r segmentRun
			if r.begin(s.frame(t, mac, mac)) {
				t.Errorf("%s begins a run", name)
			}
		}
	}
	var r segmentRun
	for _, b := range [][]byte{nil, make([]byte, 14), make([]byte, 53), make([]byte, 200)} {
		if r.begin(b) {
			t.Errorf("%d bytes of nothing begin a run", len(b))
		}
	}
}

// TestTransmitSegments sends connections' segments among other frames, in runs and
// without, and compares what the peer gets, byte by byte. A virtual link leaves
// the checksum to nobody, so that is compared apart.
func TestTransmitSegments(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprintf("mtu=%d", mtu), func(t *testing.T) { testTransmitSegments(t, mtu) })
	}
}

func testTransmitSegments(t *testing.T, mtu int) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: 1, MTU: mtu})
	open := func(i *netlab.Interface, addr string, plain bool) (dev *Device) {
		t.Helper()
		if err := i.Host.Do(func() (err error) {
			dev, err = Open(&Config{Interface: i.Name, Addresses: addresses(addr, "2001:db8::"+addr[len(addr)-1:]), Mode: Copy, NoSegmentation: plain})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		return dev
	}
	peer := open(b, "198.18.0.2", false)
	size := mtu - 80
	var want [][]byte
	for _, v6 := range []bool{false, true} {
		s := segmentSpec{v6: v6, port: 1000, seq: 1<<32 - 3000, flags: wire.ACK, size: size, window: 500, options: timestamps}
		other := segmentSpec{v6: v6, port: 2000, flags: wire.ACK, window: 1}
		want = append(want, other.frame(t, a.MAC, b.MAC))
		for i := range 100 { // more than a packet holds
			if i == 90 {
				s.flags |= wire.PSH
			}
			if i == 91 {
				s.flags &^= wire.PSH
			}
			if i == 99 {
				s.size, s.flags = 7, s.flags|wire.FIN|wire.PSH
			}
			want = append(want, s.frame(t, a.MAC, b.MAC))
			s.seq += uint32(s.size)
		}
		want = append(want, other.frame(t, a.MAC, b.MAC))
	}
	for _, plain := range []bool{false, true} {
		dev := open(a, "198.18.0.1", plain)
		q, to := dev.Queue(0), peer.Queue(0)
		fs := make([]driver.Frame, len(want))
		if n := q.Alloc(fs); n != len(fs) {
			t.Fatalf("%d frames", n)
		}
		for i, w := range want {
			fs[i].Data = append(fs[i].Data[:0], w...)
		}
		if n, err := q.Transmit(fs); n != len(fs) || err != nil {
			t.Fatal(n, err)
		}
		if err := q.Flush(); err != nil {
			t.Fatal(err)
		}
		got := 0
		rx := make([]driver.Frame, 64)
		for deadline := time.Now().Add(5 * time.Second); got < len(want) && time.Now().Before(deadline); {
			n, err := to.Receive(rx)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range rx[:n] {
				if got < len(want) {
					compareSegment(t, got, f.Data, want[got])
				}
				got++
			}
			to.Release(rx[:n])
			if n == 0 {
				_ = to.Wait(10 * time.Millisecond)
			}
		}
		if got != len(want) {
			t.Fatalf("plain %v: the peer got %d of %d frames", plain, got, len(want))
		}
		st := q.Stats()
		if st.TxPackets != uint64(len(want)) || st.TxErrors != 0 || st.Lent != 0 {
			t.Errorf("plain %v: %+v", plain, st)
		}
		if joined := st.TxJoined > 180; joined == plain {
			t.Errorf("plain %v: %d of %d segments left in larger packets", plain, st.TxJoined, len(want))
		}
		if err := dev.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// compareSegment compares frames. TCP's checksum may be the right one or that of the
// pseudo-header.
func compareSegment(t *testing.T, i int, got, want []byte) {
	t.Helper()
	l4 := 34
	if want[12] == 0x86 {
		l4 = 54
	}
	if len(got) != len(want) {
		t.Errorf("frame %d has %d bytes, want %d", i, len(got), len(want))
		return
	}
	var sum uint32
	if l4 == 34 {
		sum = addSum(0, got[26:34])
	} else {
		sum = addSum(0, got[22:54])
	}
	partial := foldSum(sum + 6 + uint32(len(got)-l4))
	if c := binary.BigEndian.Uint16(got[l4+16:]); c != binary.BigEndian.Uint16(want[l4+16:]) && c != partial {
		t.Errorf("frame %d: TCP checksum %#x, want %#x, or %#x of the pseudo-header", i, c, binary.BigEndian.Uint16(want[l4+16:]), partial)
	}
	g, w := bytes.Clone(got), bytes.Clone(want)
	clear(g[l4+16 : l4+18])
	clear(w[l4+16 : l4+18])
	if l4 == 34 { // the kernel counts the IPv4 id up; with DF it means nothing
		clear(g[18:20])
		clear(g[24:26])
		clear(w[18:20])
		clear(w[24:26])
		if s := foldSum(addSum(0, got[14:34])); s != 0xffff {
			t.Errorf("frame %d: IPv4 header sums to %#x", i, s)
		}
	}
	if !bytes.Equal(g, w) {
		t.Errorf("frame %d differs:\n%x\n%x", i, g[:min(len(g), 80)], w[:min(len(w), 80)])
	}
}

// addSum adds the 16-bit words of b, of even length, to sum. Like foldSum it is written
// apart from driver/wire, which it checks.
func addSum(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	return sum
}

func foldSum(sum uint32) uint16 {
	sum = sum&0xffff + sum>>16
	return uint16(sum + sum>>16)
}
