package netstack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/internal/frametest"
	"shardnet/stack/internal/txq"
)

// frameStock is a driver.Queue of which a txq.Queue needs no more than this: it lends
// frames of one capacity, and keeps the bytes of those that are sent.
type frameStock struct {
	driver.Queue
	stock []driver.Frame
	sent  [][]byte
}

func (q *frameStock) Alloc(fs []driver.Frame) int {
	n := copy(fs, q.stock)
	q.stock = q.stock[n:]
	return n
}

func (q *frameStock) Transmit(fs []driver.Frame) (int, error) {
	for _, f := range fs {
		q.sent = append(q.sent, bytes.Clone(f.Data))
	}
	return len(fs), nil
}

func (q *frameStock) Flush() error { return nil }

// writerRig is a transmit queue with frames of capacity size to fill.
type writerRig struct {
	t     testing.TB
	tx    *txq.Queue
	queue frameStock
}

func newWriterRig(t testing.TB, frames, size int) *writerRig {
	t.Helper()
	r := &writerRig{t: t}
	for range frames {
		// What was there before.
		b := bytes.Repeat([]byte{0xee}, size)
		r.queue.stock = append(r.queue.stock, driver.Frame{Data: b[:0:size]})
	}
	r.tx = txq.New(&r.queue, func() {})
	r.tx.Backlogged() // so that flush takes free frames
	r.flush()
	return r
}

// flush sends what is filled, and takes free frames.
func (r *writerRig) flush() {
	r.t.Helper()
	if _, err := r.tx.Flush(); err != nil {
		r.t.Fatal(err)
	}
}

// left is how many frames are still to be filled.
func (r *writerRig) left() int { return r.tx.Free() + len(r.queue.stock) }

// cursorOf cuts b into views of the given sizes, with skip bytes before the first.
func cursorOf(b []byte, skip int, sizes ...int) viewCursor {
	b = append(make([]byte, skip), b...)
	var buf buffer.Buffer
	for _, n := range sizes {
		n = min(n, len(b))
		buf.Append(buffer.NewViewWithData(b[:n]))
		b = b[n:]
	}
	if len(b) > 0 {
		buf.Append(buffer.NewViewWithData(b))
	}
	views := buf.AsViewList()
	return viewCursor{v: views.Front(), at: skip}
}

// wantSegments makes with gopacket what the writer is to make.
func wantSegments(t testing.TB, v6 bool, df bool, id uint16, tcp layers.TCP, payload []byte, mss int) (want [][]byte) {
	e := &layers.Ethernet{DstMAC: []byte{1, 2, 3, 4, 5, 6}, SrcMAC: []byte{2, 2, 2, 2, 2, 2}, EthernetType: layers.EthernetTypeIPv4}
	for i := 0; i == 0 || i*mss < len(payload); i++ {
		part := payload[i*mss : min(len(payload), (i+1)*mss)]
		s := tcp
		s.Seq += uint32(i * mss)
		if (i+1)*mss < len(payload) {
			s.PSH, s.FIN = false, false
		}
		var ip gopacket.NetworkLayer
		if v6 {
			e.EthernetType = layers.EthernetTypeIPv6
			ip = &layers.IPv6{Version: 6, HopLimit: 33, TrafficClass: 0x48, NextHeader: layers.IPProtocolTCP, SrcIP: netip.MustParseAddr("2001:db8::2").AsSlice(), DstIP: netip.MustParseAddr("2001:db8::1").AsSlice()}
		} else {
			v4 := &layers.IPv4{Version: 4, TTL: 33, TOS: 0x48, Protocol: layers.IPProtocolTCP, SrcIP: []byte{198, 18, 0, 2}, DstIP: []byte{198, 18, 0, 1}}
			if df {
				v4.Flags = layers.IPv4DontFragment
			} else {
				v4.Id = id + uint16(i)
			}
			ip = v4
		}
		if err := s.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
		b := frametest.Serialize(t, e, ip.(gopacket.SerializableLayer), &s, gopacket.Payload(part))
		var p wire.Packet
		if !p.Parse(b) {
			t.Fatal("gopacket made a packet that can't be parsed")
		}
		want = append(want, b[:wire.EthernetLen+p.IPPacketLen()]) // gopacket pads
	}
	return want
}

// segmentCase writes payload as segments, in steps of step frames, and compares
// them with gopacket's.
func segmentCase(t testing.TB, v6, df bool, tcp layers.TCP, payload []byte, mss, step int, views ...int) {
	t.Helper()
	const id = 0xfffe // wraps
	want := wantSegments(t, v6, df, id, tcp, payload, mss)
	src, dst := netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.1")
	ipLen := wire.IPv4Len
	if v6 {
		src, dst, ipLen = netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8::1"), wire.IPv6Len
	}
	params := &stack.NetworkHeaderParams{Protocol: header.TCPProtocolNumber, TTL: 33, TOS: 0x48, DF: df}
	// What the TCP header says of checksum is netstack's partial sum: to be replaced.
	head := bytes.Clone(want[0][wire.EthernetLen+ipLen:])
	head = head[:int(head[12]>>4)*4]
	binary.BigEndian.PutUint16(head[16:], 0xabcd)
	if tcp.PSH {
		head[13] |= wire.PSH
	}
	if tcp.FIN {
		head[13] |= wire.FIN
	}
	rig := newWriterRig(t, len(want)+3, 2048)
	n := &Netstack{cfg: Config{MAC: [6]byte{2, 2, 2, 2, 2, 2}}}
	headers := make([]byte, wire.EthernetLen+ipLen)
	n.segmentHeaders(headers, &[6]byte{1, 2, 3, 4, 5, 6}, src, dst, params, id)
	for first := 0; first < len(want); first += step {
		w := segmentWriter{tx: rig.tx, mss: mss, ipLen: ipLen, head: headers}
		from := cursorOf(append(bytes.Clone(head), payload...), 9, views...)
		if !w.write(&from, len(head), len(payload), first, min(step, len(want)-first)) {
			t.Fatalf("segments from %d on were not written", first)
		}
		rig.flush()
	}
	filled := rig.queue.sent
	if len(filled) != len(want) || rig.left() != 3 {
		t.Fatalf("%d frames filled and %d left, want %d and 3", len(filled), rig.left(), len(want))
	}
	for i, f := range filled {
		if !bytes.Equal(f, want[i]) {
			t.Fatalf("segment %d of %d is\n%x, want\n%x", i, len(want), f, want[i])
		}
	}
}

func TestSegmentWriter(t *testing.T) {
	payload := make([]byte, 65535-60)
	rng := rand.NewChaCha8([32]byte{3})
	rng.Read(payload)
	ts := groOptions
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct {
			name       string
			size, mss  int
			tcp        layers.TCP
			df         bool
			step       int
			firstViews []int
		}{
			{"pure ACK", 0, 1, layers.TCP{ACK: true}, true, 1, nil},
			{"one", 1000, 1448, layers.TCP{ACK: true, PSH: true}, true, 1, []int{30}},
			{"exactly one", 1448, 1448, layers.TCP{ACK: true, PSH: true}, true, 9, []int{9, 20, 12}},
			{"one and a byte", 1449, 1448, layers.TCP{ACK: true, PSH: true, Options: ts}, true, 9, []int{9 + 20}},
			{"three whole", 3000, 1000, layers.TCP{ACK: true, PSH: true, FIN: true, Options: ts}, true, 9, []int{100, 1, 1, 1000}},
			{"ids", 5000, 1000, layers.TCP{ACK: true}, false, 9, []int{700, 700, 700}},
			{"in parts", 5001, 1000, layers.TCP{ACK: true, PSH: true}, false, 2, []int{41, 999}},
			{"all that fits", len(payload), 1448, layers.TCP{ACK: true, PSH: true, Options: ts}, true, 100, []int{4096, 4096}},
			{"single bytes", 300, 1, layers.TCP{ACK: true, PSH: true}, true, 7, []int{33}},
		} {
			t.Run(fmt.Sprintf("%s/v6=%v", c.name, v6), func(t *testing.T) {
				c.tcp.SrcPort, c.tcp.DstPort, c.tcp.Seq, c.tcp.Ack, c.tcp.Window = 7, 40000, 0xfffffc00, 5, 600
				segmentCase(t, v6, c.df, c.tcp, payload[:c.size], c.mss, c.step, c.firstViews...)
			})
		}
	}
}

// A segment longer than a frame is refused, with nothing written.
func TestSegmentWriterRefuses(t *testing.T) {
	params := &stack.NetworkHeaderParams{Protocol: header.TCPProtocolNumber, TTL: 33}
	head := make([]byte, wire.EthernetLen+wire.IPv4Len)
	new(Netstack).segmentHeaders(head, new([6]byte), netip.MustParseAddr("198.18.0.2"), netip.MustParseAddr("198.18.0.1"), params, 1)
	for _, c := range []struct{ tcpHead, mss, left int }{
		{20, 1995, 1995}, // of 2048: one too long
		{20, 3000, 6000},
		{19, 10, 10},
		{61, 10, 10},
	} {
		rig := newWriterRig(t, 4, 2048)
		w := segmentWriter{tx: rig.tx, head: head, ipLen: wire.IPv4Len, mss: c.mss}
		from := cursorOf(make([]byte, 7000), 0, 100)
		written := w.write(&from, c.tcpHead, c.left, 0, (c.left+c.mss-1)/c.mss)
		rig.flush()
		if written || rig.left() != 4 || len(rig.queue.sent) != 0 {
			t.Errorf("%+v: %d frames left, %d filled", c, rig.left(), len(rig.queue.sent))
		}
	}
}

func FuzzSegmentWriter(f *testing.F) {
	f.Add([]byte("some payload"), uint16(5), uint8(3), uint16(33), true, false, uint8(0x18))
	f.Add(make([]byte, 4000), uint16(1448), uint8(1), uint16(1000), false, true, uint8(0x19))
	f.Fuzz(func(t *testing.T, payload []byte, mss uint16, step uint8, view uint16, v6, df bool, flags uint8) {
		m := int(mss)%1448 + 1
		if len(payload) > 200*m {
			payload = payload[:200*m]
		}
		tcp := layers.TCP{SrcPort: 7, DstPort: 40000, Seq: 0xffffff00, Ack: 9, Window: 77,
			ACK: true, PSH: flags&wire.PSH != 0, FIN: flags&wire.FIN != 0, Options: groOptions}
		segmentCase(t, v6, df, tcp, payload, m, int(step)+1, int(view)+1, int(view)/2+1)
	})
}
