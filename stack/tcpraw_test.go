package stack_test

import (
	"bytes"
	"cmp"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// segmentPeer is one end of a TCP connection, made by hand.
type segmentPeer struct {
	*datagramRig
	src, dst netip.Addr
	seq, ack uint32
	mss      uint16
	port     layers.TCPPort // segmentPort, if 0
}

const segmentPort = 40001

// frame is a segment at seq.
func (p *segmentPeer) frame(set func(*layers.TCP), payload []byte) []byte {
	tcp := &layers.TCP{SrcPort: cmp.Or(p.port, segmentPort), DstPort: 7, Seq: p.seq, Ack: p.ack, ACK: true, Window: 65535}
	if set != nil {
		set(tcp)
	}
	if p.dst.Is4() {
		return frameOf(p.t, p.eth(layers.EthernetTypeIPv4),
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}, tcp, gopacket.Payload(payload))
	}
	return frameOf(p.t, p.eth(layers.EthernetTypeIPv6),
		&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: p.src.AsSlice(), DstIP: p.dst.AsSlice()}, tcp, gopacket.Payload(payload))
}

// data is a segment with payload; seq goes on.
func (p *segmentPeer) data(payload []byte) []byte {
	f := p.frame(func(t *layers.TCP) { t.PSH = true }, payload)
	p.seq += uint32(len(payload))
	return f
}

// batch has the stack receive frames in one turn: they come in while its loop
// stands.
func (p *segmentPeer) batch(frames ...[]byte) {
	onLoop(p.st.Shard(0), func() {
		for _, f := range frames {
			p.send(f)
		}
	})
}

// segments takes the TCP segments received since, after the stack has sent all it
// is going to: a turn's packets are on their way before the next one's tasks run.
func (p *segmentPeer) segments() (got []gopacket.Packet) {
	for range 3 {
		onLoop(p.st.Shard(0), func() {})
		p.poll()
	}
	for _, b := range p.got {
		pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
		if pkt.Layer(layers.LayerTypeTCP) != nil {
			got = append(got, pkt)
		}
	}
	p.got = p.got[:0]
	return got
}

func tcpOf(pkt gopacket.Packet) *layers.TCP { return pkt.Layer(layers.LayerTypeTCP).(*layers.TCP) }

// connect makes a connection with port 7, of which serve gets the stack's end.
func connectSegments(t *testing.T, tr flow.Transport, v6 bool, mss uint16, serve func(sh *stack.Shard, f flow.Flow)) *segmentPeer {
	t.Helper()
	r := newDatagramRigOn(t, tr, nil)
	r.keep = 1 << 16
	sh := r.st.Shard(0)
	l, err := sh.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l.Serve(taskFunc(func() {
		for {
			f, err := l.Accept()
			if err != nil {
				return
			}
			serve(sh, f)
		}
	}))
	p := &segmentPeer{datagramRig: r, src: clientAddr4, dst: serverAddr4, seq: 1000, mss: mss}
	if v6 {
		p.src, p.dst = clientAddr6, serverAddr6
	}
	r.learn(p.src)
	p.send(p.frame(func(t *layers.TCP) {
		t.SYN, t.ACK = true, false
		t.Options = []layers.TCPOption{
			{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(mss >> 8), byte(mss)}},
			{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
			{OptionType: layers.TCPOptionKindNop},
		}
	}, nil))
	synAck := tcpOf(p.await("SYN-ACK", func(pkt gopacket.Packet) bool {
		s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		return ok && s.SYN && s.ACK
	}))
	p.seq++
	p.ack = synAck.Seq + 1
	p.batch(p.frame(nil, nil))
	t.Cleanup(func() { p.send(p.frame(func(t *layers.TCP) { t.RST = true }, nil)) })
	if got := p.segments(); len(got) > 0 {
		t.Fatalf("the handshake's last ACK was answered: %v", got)
	}
	return p
}

// bothFamilies runs f on each TCP over IPv4 and IPv6.
func bothFamilies(t *testing.T, f func(t *testing.T, tr flow.Transport, v6 bool)) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		t.Run("IPv4", func(t *testing.T) { f(t, tr, false) })
		t.Run("IPv6", func(t *testing.T) { f(t, tr, true) })
	})
}

// An answer of the same turn carries the acknowledgement, and nothing else is sent.
func TestAnswerAcknowledges(t *testing.T) {
	bothFamilies(t, func(t *testing.T, tr flow.Transport, v6 bool) {
		p := connectSegments(t, tr, v6, 1460, func(sh *stack.Shard, f flow.Flow) {
			f.Serve(&echoTask{f: f, sh: sh, buf: make([]byte, 2048)})
		})
		for range 3 {
			p.batch(p.data([]byte("hello")))
			got := p.segments()
			if len(got) != 1 {
				t.Fatalf("a request was answered by %d segments: %v", len(got), got)
			}
			s := tcpOf(got[0])
			if string(s.Payload) != "hello" || s.Ack != p.seq || s.Seq != p.ack || !s.PSH || !s.ACK || s.FIN || s.RST {
				t.Fatalf("answer is %+v, want an acknowledgement of %d", s, p.seq)
			}
			p.ack += 5
		}
	})
}

// What is not answered is acknowledged once a batch, and segments that follow each
// other are merged if they are long.
func TestOneACKForABatch(t *testing.T) {
	bothFamilies(t, func(t *testing.T, tr flow.Transport, v6 bool) {
		var read []byte
		p := connectSegments(t, tr, v6, 1460, func(sh *stack.Shard, f flow.Flow) {
			buf := make([]byte, 4096)
			f.Serve(taskFunc(func() {
				for {
					n, err := f.Read(buf)
					if err != nil {
						return
					}
					read = append(read, buf[:n]...)
				}
			}))
		})
		var sent []byte
		for _, c := range []struct {
			name   string
			sizes  []int
			merged uint64
		}{
			{"two long", []int{1000, 1000}, 1},
			{"long, and a rest", []int{1000, 1000, 300}, 2},
			{"short", []int{100, 100, 100, 100, 100}, 0},
			{"one", []int{1400}, 0},
		} {
			before := p.st.Stats().Merged
			var frames [][]byte
			for i, size := range c.sizes {
				payload := bytes.Repeat([]byte{byte('a' + i)}, size)
				sent = append(sent, payload...)
				last := i == len(c.sizes)-1
				frames = append(frames, p.frame(func(t *layers.TCP) { t.PSH = last }, payload))
				p.seq += uint32(size)
			}
			p.batch(frames...)
			got := p.segments()
			if len(got) != 1 || len(tcpOf(got[0]).Payload) != 0 || tcpOf(got[0]).Ack != p.seq {
				t.Errorf("%s: answered by %d segments, want one acknowledgement of %d: %v", c.name, len(got), p.seq, got)
			}
			if tr == flow.TransportFast {
				c.merged = 0 // each is taken from its frame
			}
			if n := p.st.Stats().Merged - before; n != c.merged {
				t.Errorf("%s: %d segments were merged, want %d", c.name, n, c.merged)
			}
		}
		onLoop(p.st.Shard(0), func() {
			if !bytes.Equal(read, sent) {
				t.Errorf("read %d bytes that differ from the %d sent", len(read), len(sent))
			}
		})
	})
}

// receiveAll acknowledges what the stack sends until it is size bytes, and returns
// it. check sees every segment that is new.
func (p *segmentPeer) receiveAll(size int, check func(pkt gopacket.Packet, s *layers.TCP)) []byte {
	p.t.Helper()
	var data []byte
	deadline := time.Now().Add(testTimeout)
	for len(data) < size {
		// All that the window allows, before it is acknowledged: so the window grows.
		for seen := -1; seen != p.seen; {
			seen = p.seen
			onLoop(p.st.Shard(0), func() {})
			p.poll()
		}
		fresh := false
		for _, b := range p.got {
			pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
			s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			if !ok || len(s.Payload) == 0 || s.Seq != p.ack {
				continue
			}
			check(pkt, s)
			data = append(data, s.Payload...)
			p.ack += uint32(len(s.Payload))
			fresh = true
		}
		p.got = p.got[:0]
		if fresh {
			p.send(p.frame(nil, nil))
		} else {
			runtime.Gosched()
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d of %d bytes came: %+v", len(data), size, p.st.Stats())
		}
	}
	return data
}

// writeTask writes data, as it can, and closes.
type writeTask struct {
	f    flow.Flow
	data []byte
}

func (w *writeTask) RunOnShard() {
	n, _ := w.f.Write(w.data)
	if w.data = w.data[n:]; n > 0 && len(w.data) == 0 {
		w.f.CloseWrite()
	}
}

// What a connection sends at once leaves in segments that are as long as the peer
// takes, each the frame that gopacket would make of its fields; the last is pushed.
func TestBulkIsSegmented(t *testing.T) {
	bothFamilies(t, func(t *testing.T, tr flow.Transport, v6 bool) {
		want := make([]byte, 200_000)
		rng := rand.NewChaCha8([32]byte{1})
		rng.Read(want)
		const mss = 1001
		var fl flow.Flow
		p := connectSegments(t, tr, v6, mss, func(_ *stack.Shard, f flow.Flow) { fl = f })
		fl.Serve(&writeTask{fl, want})
		full, pushed, finished := 0, false, false
		got := p.receiveAll(len(want), func(pkt gopacket.Packet, s *layers.TCP) {
			if len(s.Payload) > mss {
				t.Fatalf("segment of %d bytes, want at most %d", len(s.Payload), mss)
			}
			if len(s.Payload) == mss {
				full++
			}
			if finished {
				t.Fatal("data after the FIN")
			}
			pushed, finished = s.PSH, s.FIN
			if s.RST || s.SYN || s.URG || s.ECE || s.CWR || !s.ACK {
				t.Fatalf("flags of a segment: %+v", s)
			}
			var ls []gopacket.SerializableLayer
			for _, l := range pkt.Layers() {
				ls = append(ls, l.(gopacket.SerializableLayer))
			}
			if again := frameOf(t, ls...); !bytes.Equal(again, pkt.Data()) {
				t.Fatalf("segment is\n%x, gopacket makes\n%x of it", pkt.Data(), again)
			}
			if ip, ok := pkt.NetworkLayer().(*layers.IPv4); ok && (ip.Flags != layers.IPv4DontFragment || ip.Id != 0) {
				t.Fatalf("IPv4 flags %v, id %d", ip.Flags, ip.Id)
			}
		})
		if !bytes.Equal(got, want) {
			t.Error("what came differs from what was written")
		}
		if full < len(want)/mss*8/10 {
			t.Errorf("%d of %d bytes came in only %d full segments", len(got), len(want), full)
		}
		if !pushed {
			t.Error("the last segment is not pushed")
		}
		if finished {
			return // the FIN came with the last data
		}
		p.await("FIN", func(pkt gopacket.Packet) bool {
			s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
			return ok && s.FIN && s.Seq == p.ack
		})
	})
}

// A peer that takes tiny segments makes of what is sent at once more frames than
// the transmitter ever holds. Its packet leaves in parts, and others are not kept
// waiting behind it.
func TestTinySegments(t *testing.T) { onTransports(t, testTinySegments) }

func testTinySegments(t *testing.T, tr flow.Transport) {
	want := make([]byte, 300_000)
	rng := rand.NewChaCha8([32]byte{2})
	rng.Read(want)
	var fl flow.Flow
	p := connectSegments(t, tr, false, 48, func(_ *stack.Shard, f flow.Flow) { fl = f })
	fl.Serve(&writeTask{fl, want})
	if got := p.receiveAll(len(want), func(gopacket.Packet, *layers.TCP) {}); !bytes.Equal(got, want) {
		t.Error("what came differs from what was written")
	}
	p.ping(1)
}
