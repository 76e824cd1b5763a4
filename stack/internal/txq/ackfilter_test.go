package txq

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver"
	"shardnet/stack/internal/frametest"
)

func TestACKFilter(t *testing.T) {
	type seg struct {
		ack   uint32
		data  string
		port  uint16 // of another connection
		set   func(*layers.TCP)
		v6    bool
		gone  bool // the filter must drop it
		other bool // not TCP at all
	}
	ts := layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: make([]byte, 8)}
	sack := layers.TCPOption{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: make([]byte, 8)}
	options := func(os ...layers.TCPOption) func(*layers.TCP) { return func(h *layers.TCP) { h.Options = os } }
	for _, c := range []struct {
		name   string
		before uint32 // acknowledged in an earlier turn; 0: nothing is known
		turn   []seg
	}{
		{"ACK, then the answer", 100, []seg{{ack: 164, gone: true}, {ack: 164, data: "answer"}}},
		{"ACK, then the answer, over IPv6", 100, []seg{{ack: 164, v6: true, gone: true}, {ack: 164, data: "answer", v6: true}}},
		{"with timestamps", 100, []seg{{ack: 164, set: options(ts), gone: true}, {ack: 164, data: "answer", set: options(ts)}}},
		{"ACK, then FIN", 100, []seg{{ack: 164, gone: true}, {ack: 164, set: func(h *layers.TCP) { h.FIN = true }}}},
		{"two ACKs, the second says more", 100, []seg{{ack: 164, gone: true}, {ack: 228}}},
		{"across the end of the sequence space", 0xfffffff0, []seg{{ack: 0xfffffffe, gone: true}, {ack: 5}}},
		{"duplicate ACK of an earlier turn", 164, []seg{{ack: 164}, {ack: 164, data: "answer"}}},
		{"duplicate ACKs within the turn", 100, []seg{{ack: 164}, {ack: 164}, {ack: 164}, {ack: 164, data: "x"}}},
		{"SACK blocks", 100, []seg{{ack: 164, set: options(sack)}, {ack: 164, data: "answer"}}},
		{"nothing known of the connection", 0, []seg{{ack: 164}, {ack: 164, data: "answer"}}},
		{"another connection's answer", 100, []seg{{ack: 164}, {ack: 164, data: "answer", port: 9}}},
		{"an older ACK follows", 100, []seg{{ack: 164}, {ack: 132, data: "late"}}},
		{"ECN echo", 100, []seg{{ack: 164, set: func(h *layers.TCP) { h.ECE = true }}, {ack: 164, data: "answer"}}},
		{"RST follows", 100, []seg{{ack: 164}, {ack: 164, set: func(h *layers.TCP) { h.RST = true }}}},
		{"data is never dropped", 100, []seg{{ack: 164, data: "a"}, {ack: 228, data: "b"}}},
		{"other frames between", 100, []seg{{ack: 164, gone: true}, {other: true}, {ack: 164, data: "answer"}}},
		{"ACK alone", 100, []seg{{ack: 164}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			build := func(s seg) []byte {
				if s.other {
					return frametest.UDP4(t, 53)
				}
				tcp := &layers.TCP{SrcPort: 80, DstPort: layers.TCPPort(1000 + s.port), Seq: 7, Ack: s.ack, ACK: true, Window: 100}
				if s.set != nil {
					s.set(tcp)
				}
				buf := gopacket.NewSerializeBuffer()
				var ip interface {
					gopacket.NetworkLayer
					gopacket.SerializableLayer
				} = frametest.IPv4(layers.IPProtocolTCP)
				e := &layers.Ethernet{SrcMAC: frametest.SrcMAC, DstMAC: frametest.DstMAC, EthernetType: layers.EthernetTypeIPv4}
				if s.v6 {
					ip = frametest.IPv6(layers.IPProtocolTCP)
					e.EthernetType = layers.EthernetTypeIPv6
				}
				tcp.SetNetworkLayerForChecksum(ip)
				if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, e, ip, tcp, gopacket.Payload(s.data)); err != nil {
					t.Fatal(err)
				}
				// gopacket pads to 60 bytes; netstack does not.
				length := 14 + 20 + int(tcp.DataOffset)*4 + len(s.data)
				if s.v6 {
					length += 20
				}
				return buf.Bytes()[:length]
			}
			f := newACKFilter()
			if c.before != 0 {
				f.filter([]driver.Frame{{Data: build(seg{ack: c.before, data: "x", v6: c.turn[0].v6})}})
			}
			var frames []driver.Frame
			for i, s := range c.turn {
				frames = append(frames, driver.Frame{Data: build(s), Handle: uint64(i)})
			}
			n := f.filter(frames)
			for i, s := range c.turn {
				if gone := len(frames[i].Data) == 0; gone != s.gone {
					t.Errorf("segment %d dropped: %v, want %v", i, gone, s.gone)
				}
				if s.gone {
					n--
				}
				if frames[i].Handle != uint64(i) {
					t.Errorf("segment %d moved", i)
				}
			}
			if n != 0 {
				t.Errorf("count is off by %d", n)
			}
		})
	}
}

func BenchmarkACKFilter(b *testing.B) {
	f := newACKFilter()
	frames := make([]driver.Frame, 64)
	keep := make([][]byte, len(frames))
	for i := range keep {
		keep[i] = frametest.TCP4(b, uint16(i/2), nil)
	}
	b.ReportAllocs()
	for b.Loop() {
		for i := range frames {
			frames[i].Data = keep[i]
		}
		f.filter(frames)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(frames)), "ns/frame")
}
