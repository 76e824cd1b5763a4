package rawload

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"

	"shardnet/driver/memnic"

	"shardnet/driver/wire"
)

// FuzzParse holds that whatever is received is taken apart within its bounds.
func FuzzParse(f *testing.F) {
	for _, frame := range sampleFrames(f) {
		f.Add(frame, true)
		f.Add(frame, false)
	}
	f.Fuzz(func(t *testing.T, frame []byte, partial bool) {
		frame = frame[:len(frame):len(frame)]
		var p packet
		switch c := p.parse(frame, partial); c {
		case isUDP, isTCP:
			if len(p.Src) != len(p.Dst) || len(p.Src) != 4 && len(p.Src) != 16 || len(p.payload) > len(p.L4) {
				t.Fatalf("class %d: %+v", c, p)
			}
			if c == isTCP {
				if o := p.options(); o.shift > 14 || o.shift < -1 {
					t.Fatalf("options %+v", o)
				}
			}
		case isICMPv6:
			if isNDP(&p) {
				for kind := range byte(3) {
					if mac := linkAddress(p.L4, kind); mac != nil && len(mac) != 6 {
						t.Fatalf("link-layer address %x", mac)
					}
				}
			}
		case isARP:
			wire.IsIPv4ARP(p.Frame[wire.EthernetLen:])
		}
	})
}

// FuzzReflect gives the reflector frames: what it makes of them stays in its room,
// and if the question had good checksums, so has the answer.
func FuzzReflect(f *testing.F) {
	for _, frame := range sampleFrames(f) {
		f.Add(frame)
	}
	_, server := cable(f, 0)
	r, err := newReflector(server.Queue(0), server.Info(), []netip.Addr{families[0].server, families[1].server})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		room := min(len(frame)+512, 2048)
		if len(frame) > wire.EthernetLen+1500 {
			return
		}
		b := make([]byte, room)
		copy(b, frame)
		var p packet
		before := p.parse(b[:len(frame)], false)
		n := r.answer(b[:len(frame)], room)
		if n < 0 || n > room || n == 0 || before == damaged || before == unknown {
			return
		}
		if after := p.parse(b[:n], false); after != before {
			t.Fatalf("a packet of class %d is answered by one of class %d: %x", before, after, b[:n])
		}
	})
}

// FuzzSegments drives connections in every state by segments with good checksums,
// whose numbers lie about where they count.
func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, 0x12, 0, 1, 0, 1, 0x18, 0, 0, 64, 1, 0x11, 0, 1, 0})
	f.Add([]byte{2, 0x12, 0, 1, 0, 2, 0x14, 0, 0, 0, 3, 0x18, 5, 255, 9})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		program := make([]byte, 500)
		for i := range program {
			program[i] = byte(rng.Uint32())
			if i%5 == 1 {
				program[i] = []byte{wire.ACK, wire.ACK, wire.SYN | wire.ACK, wire.FIN | wire.ACK, wire.RST, byte(rng.Uint32())}[rng.IntN(6)]
			} else if i%5 > 1 && rng.IntN(3) > 0 {
				program[i] &= 64
			}
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		end := memnic.End{RxRing: 64, TxRing: 64}
		client, server, err := memnic.NewPair(&memnic.Config{A: end, B: end})
		if err != nil {
			t.Fatal(err)
		}
		g := generate(t, client, families[0], 1, echoPort)
		g.spin = -1
		g.result = newResult()
		to := netip.AddrPortFrom(families[0].server, echoPort)
		g.target = target{addr: to.Addr(), ip: to.Addr().AsSlice(), heard: make([]bool, 1)}
		g.setTarget(to)
		tcp := g.newTCPLoad(4)
		a := newRequester(tcp, &echoProtocol{payload: 64, pattern: pattern()}, 2)
		tcp.app = a
		a.m.from, a.m.to = 0, math.MaxInt64
		for i := range tcp.conns {
			tcp.open(i)
		}
		tcp.turn()
		g.link.flush()
		frame := make([]byte, 2048)
		for step := 0; len(program) >= 5; step++ {
			op := program[:5]
			program = program[5:]
			i := int(op[0] & 3)
			c := &tcp.conns[i]
			if c.state == open && op[0]&0x10 != 0 && c.tail-c.head < 2 {
				a.ask(i, c, g.now)
			}
			if op[0]&0x20 != 0 {
				g.now += 300e6 // time for timeouts
			}
			if op[0]&0x40 != 0 && c.state == open {
				tcp.close(i)
			}
			n := int(op[3])
			put := segmentTo(frame, families[0], c, c.rcv+uint32(int8(op[4])), c.max+uint32(int8(op[2])), op[1], n)
			g.input(tcp, frame[:put])
			tcp.turn()
			g.link.flush()
			check(t, tcp, a)
			drain(server.Queue(0))
		}
		g.ending, tcp.resetting = true, true
		for i := range tcp.conns {
			if tcp.conns[i].state == open || tcp.conns[i].state == opening {
				tcp.abort(i)
			}
		}
		tcp.turn()
		if tcp.live != 0 || tcp.pending != 0 || a.outstanding != 0 || g.ports.free != g.ports.size() {
			t.Fatalf("in the end %d live, %d pending, %d outstanding, %d ports", tcp.live, tcp.pending, a.outstanding, g.ports.free)
		}
	})
}

// check holds what must be true of connections between turns.
func check(t *testing.T, tcp *tcpLoad, a *requester) {
	t.Helper()
	live, pending, outstanding := 0, 0, 0
	for i := range tcp.conns {
		c := &tcp.conns[i]
		if c.state == closed {
			continue
		}
		live++
		if c.state == opening {
			pending++
		}
		outstanding += int(c.tail - c.head)
		if int32(c.nxt-c.una) < 0 || int32(c.max-c.nxt) < 0 || int32(c.limit()-c.max) < 0 || c.tail-c.head > 2 || int(c.mark) >= 64 {
			t.Fatalf("connection %d: %+v", i, c)
		}
	}
	if live != tcp.live || pending != tcp.pending || outstanding != a.outstanding {
		t.Fatalf("%d live, %d pending, %d outstanding; counted %d, %d, %d", live, pending, outstanding, tcp.live, tcp.pending, a.outstanding)
	}
}
