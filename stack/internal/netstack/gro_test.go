package netstack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver/wire"
	"shardnet/stack/internal/frametest"
)

// groSegment describes a segment of a test.
type groSegment struct {
	flow    int
	v6      bool
	seq     uint32
	payload []byte
	change  func(*layers.TCP, *layers.IPv4, *layers.IPv6)
	pad     int // bytes behind the IP packet
}

var groOptions = []layers.TCPOption{
	{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
	{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, 1, 0, 0, 0, 2}},
}

func (s *groSegment) frame(t testing.TB) []byte {
	tcp := &layers.TCP{SrcPort: layers.TCPPort(1000 + s.flow), DstPort: 7, Seq: s.seq, Ack: 77, ACK: true, Window: 500, Options: groOptions}
	v4 := &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP, SrcIP: []byte{198, 18, 0, 1}, DstIP: []byte{198, 18, 0, 2}}
	v6 := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: bytes.Repeat([]byte{0x20}, 16), DstIP: bytes.Repeat([]byte{0x21}, 16)}
	if s.change != nil {
		s.change(tcp, v4, v6)
	}
	var ip gopacket.NetworkLayer = v4
	typ := layers.EthernetTypeIPv4
	if s.v6 {
		ip, typ = v6, layers.EthernetTypeIPv6
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return append(frametest.Serialize(t, frametest.Ethernet(typ), ip.(gopacket.SerializableLayer), tcp, gopacket.Payload(s.payload)), make([]byte, s.pad)...)
}

// groRuns merges frames as InputSegment does and returns what would be delivered.
func groRuns(t testing.TB, frames [][]byte) (delivered [][]byte, merged int) {
	t.Helper()
	var g groRun
	flush := func() {
		if g.n > 0 {
			b := g.merged()
			delivered = append(delivered, b.Flatten())
			merged += g.n - 1
		}
		g.n = 0
	}
	for _, f := range frames {
		var p wire.Packet
		if !p.Parse(f) || !p.NoOptions {
			t.Fatalf("not a plain segment: %x", f)
		}
		if g.add(&p) {
			continue
		}
		if g.n > 0 {
			flush()
			if g.add(&p) {
				continue
			}
		}
		delivered = append(delivered, f[:wire.EthernetLen+p.IPPacketLen()])
	}
	flush()
	return delivered, merged
}

// withoutSums decodes a frame and encodes it again, so that its lengths and
// checksums are right whatever they were.
func withoutSums(t testing.TB, b []byte) []byte {
	t.Helper()
	b = bytes.Clone(b)
	frametest.FixChecksums(b)
	return b
}

func TestGRORun(t *testing.T) {
	long := func(b byte, n int) []byte { return bytes.Repeat([]byte{b}, n) }
	psh := func(tcp *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { tcp.PSH = true }
	tests := []struct {
		name string
		in   []groSegment
		want []int // how many of in are in each packet delivered
	}{
		{"one", []groSegment{{seq: 1, payload: long('a', 1000)}}, []int{1}},
		{"three", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 1000)}, {seq: 2001, payload: long('c', 1000)}}, []int{3}},
		{"shorter ends", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 999)}, {seq: 2000, payload: long('c', 999)}}, []int{2, 1}},
		{"one byte ends", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 1)}, {seq: 1002, payload: long('c', 1)}}, []int{2, 1}},
		{"longer", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 1001)}}, []int{1, 1}},
		{"PSH ends", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 1000), change: psh}, {seq: 2001, payload: long('c', 1000)}}, []int{2, 1}},
		{"PSH first", []groSegment{{seq: 1, payload: long('a', 1000), change: psh}, {seq: 1001, payload: long('b', 1000)}}, []int{1, 1}},
		{"gap", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1002, payload: long('b', 1000)}}, []int{1, 1}},
		{"repeated", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1, payload: long('a', 1000)}}, []int{1, 1}},
		{"wrap", []groSegment{{seq: 0xffffff00, payload: long('a', 1000)}, {seq: 0xffffff00 + 1000 - 1<<32, payload: long('b', 1000)}}, []int{2}},
		{"short", []groSegment{{seq: 1, payload: long('a', 511)}, {seq: 512, payload: long('b', 511)}}, []int{1, 1}},
		{"pure ACK after", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001}}, []int{1, 1}},
		{"padded", []groSegment{{seq: 1, payload: long('a', 1000), pad: 7}, {seq: 1001, payload: long('b', 600), pad: 400}}, []int{2}},
		{"other flow between", []groSegment{{seq: 1, payload: long('a', 1000)}, {flow: 1, seq: 1001, payload: long('b', 1000)}, {seq: 1001, payload: long('c', 1000)}}, []int{1, 1, 1}},
	}
	differ := map[string]func(*layers.TCP, *layers.IPv4, *layers.IPv6){
		"FIN":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.FIN = true },
		"SYN":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.SYN = true },
		"RST":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.RST = true },
		"URG":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.URG = true },
		"ECE":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.ECE = true },
		"CWR":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.CWR = true },
		"NS":        func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.NS = true },
		"no ACK":    func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.ACK = false },
		"ack":       func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.Ack++ },
		"window":    func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.Window++ },
		"port":      func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.DstPort++ },
		"source":    func(_ *layers.TCP, a *layers.IPv4, b *layers.IPv6) { a.SrcIP[3]++; b.SrcIP[15]++ },
		"dest":      func(_ *layers.TCP, a *layers.IPv4, b *layers.IPv6) { a.DstIP[3]++; b.DstIP[0]++ },
		"TTL":       func(_ *layers.TCP, a *layers.IPv4, b *layers.IPv6) { a.TTL--; b.HopLimit-- },
		"ECN, DSCP": func(_ *layers.TCP, a *layers.IPv4, b *layers.IPv6) { a.TOS = 3; b.TrafficClass = 3 },
		"DF, label": func(_ *layers.TCP, a *layers.IPv4, b *layers.IPv6) { a.Flags = 0; b.FlowLabel = 9 },
		"timestamp": func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) {
			o := groOptions[2]
			o.OptionData = []byte{0, 0, 0, 2, 0, 0, 0, 2}
			t.Options = []layers.TCPOption{groOptions[0], groOptions[1], o}
		},
		"options": func(t *layers.TCP, _ *layers.IPv4, _ *layers.IPv6) { t.Options = nil },
	}
	for name, change := range differ {
		tests = append(tests, struct {
			name string
			in   []groSegment
			want []int
		}{name + " differs", []groSegment{{seq: 1, payload: long('a', 1000)}, {seq: 1001, payload: long('b', 1000), change: change}}, []int{1, 1}})
	}
	many := func(n, size int) (in []groSegment) {
		for i := range n {
			in = append(in, groSegment{seq: uint32(i * size), payload: long(byte(i), size)})
		}
		return in
	}
	// 54+12 bytes of headers: 65535 holds 45 payloads of 1448, over IPv6 as well.
	tests = append(tests, struct {
		name string
		in   []groSegment
		want []int
	}{"as long as IP has it", many(50, 1448), []int{45, 5}}, struct {
		name string
		in   []groSegment
		want []int
	}{"as many as a batch", many(maxRun, 600), []int{maxRun}})

	for _, tt := range tests {
		for _, v6 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/v6=%v", tt.name, v6), func(t *testing.T) {
				var frames, want [][]byte
				for i := range tt.in {
					tt.in[i].v6 = v6
					frames = append(frames, tt.in[i].frame(t))
				}
				at := 0
				for _, n := range tt.want {
					whole := tt.in[at]
					whole.pad, whole.payload = 0, nil
					for _, s := range tt.in[at : at+n] {
						whole.payload = append(whole.payload, s.payload...)
					}
					if n > 1 {
						whole.change = tt.in[at+n-1].change // PSH, if it has it
					}
					want = append(want, whole.frame(t))
					at += n
				}
				got, _ := groRuns(t, frames)
				if len(got) != len(want) {
					t.Fatalf("%d packets are delivered, want %d", len(got), len(want))
				}
				for i := range got {
					if tt.want[i] == 1 && !bytes.Equal(got[i], want[i]) {
						t.Errorf("a segment alone is changed: \n%x, want\n%x", got[i], want[i])
					}
					if g := withoutSums(t, got[i]); !bytes.Equal(g, want[i]) {
						t.Errorf("packet %d, sums aside:\n%x, want\n%x", i, g[:80], want[i][:80])
					}
				}
			})
		}
	}
}

// groStream is what a receiver sees of a flow: every byte with its sequence number,
// in the order of arrival, and what its segment said besides.
func groStream(t testing.TB, packets [][]byte) map[string][]byte {
	t.Helper()
	streams := map[string][]byte{}
	for _, b := range packets {
		var p wire.Packet
		if !p.Parse(b) {
			t.Fatalf("what is delivered can't be parsed: %x", b)
		}
		head := int(p.L4[12]>>4) * 4
		key := fmt.Sprint(p.Src, p.Dst, p.SrcPort, p.DstPort)
		about := fmt.Sprintf("%x %x %x %x %v", p.L4[8:13], p.L4[14:16], p.L4[20:head], b[15], p.TCPFlags&^wire.PSH)
		s, seq := streams[key], binary.BigEndian.Uint32(p.L4[4:])
		payload := p.L4[head:]
		if len(payload) == 0 {
			s = fmt.Appendf(s, "|%d %s", seq, about)
		}
		for i, c := range payload {
			s = fmt.Appendf(s, "|%d=%d %s", seq+uint32(i), c, about)
		}
		if p.TCPFlags&wire.PSH != 0 {
			s = append(s, "PSH"...)
		}
		streams[key] = s
	}
	return streams
}

// FuzzGRO checks that what is delivered by merging is, byte for byte, flag for flag
// and in order, what came.
func FuzzGRO(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed, uint8(8*seed))
	}
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var seqs [3]uint32
		for i := range seqs {
			seqs[i] = rng.Uint32() | 0xfffff000*rng.Uint32N(2)
		}
		v6, flow := rng.IntN(2) == 0, 0
		var frames [][]byte
		for range n%maxRun + 1 {
			if rng.IntN(4) == 0 {
				flow = rng.IntN(len(seqs))
			}
			size := []int{600, 600, 600, 600, 0, 1, 599, 700, 512}[rng.IntN(9)]
			s := groSegment{flow: flow, v6: v6 != (flow == 2), seq: seqs[flow], payload: make([]byte, size), pad: rng.IntN(3)}
			for i := range s.payload {
				s.payload[i] = byte(rng.Uint32())
			}
			what := rng.IntN(20)
			s.change = func(tcp *layers.TCP, a *layers.IPv4, _ *layers.IPv6) {
				switch what {
				case 0, 1:
					tcp.PSH = true
				case 2:
					tcp.FIN = true
				case 3:
					tcp.Ack++
				case 4:
					tcp.Window--
				case 5:
					tcp.Options = nil
				case 6:
					a.TOS = 3
				}
			}
			seqs[flow] += uint32(size)
			if rng.IntN(10) == 0 {
				seqs[flow] -= uint32(rng.IntN(1200)) // again, or some of it
			}
			frames = append(frames, s.frame(t))
		}
		got, merged := groRuns(t, frames)
		if len(got)+merged != len(frames) {
			t.Errorf("%d packets of %d segments, %d merged", len(got), len(frames), merged)
		}
		want := groStream(t, frames)
		for key, s := range groStream(t, got) {
			if !bytes.Equal(s, want[key]) {
				t.Errorf("flow %s differs", key)
			}
		}
	})
}
