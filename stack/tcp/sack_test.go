package tcp

import (
	"net/netip"
	"testing"
	"time"
)

// discard is an Output that forgets.
type discard struct{ b []byte }

func (d *discard) Frame(_ *Conn, _ *Tuple, n int) []byte { return d.b[:n] }
func (d *discard) Send(*Conn, []byte)                    {}

// sackedConn is a connection with n full segments in flight.
func sackedConn(t testing.TB, n int) (*Engine, *Conn, int64) {
	t.Helper()
	now := int64(time.Hour)
	e, err := New(now, Config{Output: &discard{make([]byte, 2048)}, SendBuffer: 16 << 20, MaxSendBuffer: 16 << 20, Burst: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Dial(now, MakeTuple(netip.AddrPortFrom(simAddr[0], 1000), netip.AddrPortFrom(simAddr[1], 80)))
	if err != nil {
		t.Fatal(err)
	}
	e.Flush(now)
	now += int64(10 * time.Millisecond)
	s := Segment{Tuple: *c.Tuple(), Seq: 5000, Ack: c.snd.nxt, Flags: FlagSYN | FlagACK, Window: 65535}
	s.HasMSS, s.MSS, s.HasScale, s.Scale, s.SackOK = true, 1460, true, 14, true
	e.Input(now, &s)
	e.Flush(now)
	s = Segment{Tuple: *c.Tuple(), Seq: 5001, Ack: c.snd.nxt, Flags: FlagACK, Window: 65535}
	e.Input(now, &s)
	c.cc.cwnd = 1 << 29
	if _, err := c.Write(make([]byte, n*1460)); err != nil {
		t.Fatal(err)
	}
	e.Flush(now)
	if got := int(c.snd.nxt.sub(c.snd.una)) / 1460; got != n {
		t.Fatalf("%d segments are in flight, want %d", got, n)
	}
	c.cc.cwnd = 1460 // nothing is sent again meanwhile
	return e, c, now
}

// sackOne has segment i reported, with the block below the second hole and the first.
func sackOne(e *Engine, c *Conn, now int64, i, hole uint32) {
	s := Segment{Tuple: c.tuple, Seq: c.rcv.nxt, Ack: c.snd.una, Flags: FlagACK, Window: 65535}
	una := c.snd.una
	s.Blocks = 1
	s.Sack[0] = SackBlock{una + 1460, una.add((i + 1) * 1460)}
	if i > hole {
		s.Blocks = 2
		s.Sack[0] = SackBlock{una.add((hole + 1) * 1460), una.add((i + 1) * 1460)}
		s.Sack[1] = SackBlock{una + 1460, una.add(hole * 1460)}
	}
	e.Input(now, &s)
}

// TestSackedRuns holds what is marked by blocks that grow, join and come twice.
func TestSackedRuns(t *testing.T) {
	const n, hole = 300, 120
	e, c, now := sackedConn(t, n)
	step := func(want int) {
		t.Helper()
		if err := e.check(); err != nil {
			t.Fatal(err)
		}
		if int(c.flight.sackedSegs) != want {
			t.Fatalf("%d segments are SACKed, want %d", c.flight.sackedSegs, want)
		}
	}
	for i := uint32(1); i < n; i++ {
		if i == hole {
			continue
		}
		sackOne(e, c, now, i, hole)
		step(int(i) - int(b2u(i > hole)))
	}
	// The second hole fills, from a segment that came late.
	s := Segment{Tuple: c.tuple, Seq: c.rcv.nxt, Ack: c.snd.una, Flags: FlagACK, Window: 65535}
	s.Blocks, s.Sack[0] = 1, SackBlock{c.snd.una + 1460, c.snd.una + n*1460}
	e.Input(now, &s)
	step(n - 1)
	if end := c.runEnd(c.flight.sackHint); e.segs.at(end).end != c.snd.nxt {
		t.Errorf("the run ends at %d, want %d", e.segs.at(end).end, c.snd.nxt)
	}
	s = Segment{Tuple: c.tuple, Seq: c.rcv.nxt, Ack: c.snd.nxt, Flags: FlagACK, Window: 65535}
	e.Input(now, &s)
	step(0)
}

// TestSmallSegments: however little each Write has, segments in flight are bounded.
func TestSmallSegments(t *testing.T) {
	e, c, now := sackedConn(t, 1)
	c.cc.cwnd = 1 << 29
	for range maxSegs + 1000 {
		if n, err := c.Write([]byte{1}); n != 1 {
			t.Fatal(err)
		}
		e.Flush(now)
	}
	if c.flight.segs != maxSegs || c.unsent() != 1001 {
		t.Errorf("%d segments are in flight, %d bytes are left", c.flight.segs, c.unsent())
	}
	s := Segment{Tuple: c.tuple, Seq: c.rcv.nxt, Ack: c.snd.nxt, Flags: FlagACK, Window: 65535}
	e.Input(now, &s)
	e.Flush(now)
	if c.flight.segs != 1 || c.unsent() != 0 {
		t.Errorf("%d segments are in flight, %d bytes are left", c.flight.segs, c.unsent())
	}
	if err := e.check(); err != nil {
		t.Error(err)
	}
}

// BenchmarkSack is an ACK that has one segment more SACKed, in a window of so many.
func BenchmarkSack(b *testing.B) {
	for _, n := range []uint32{100, 1000, 10000} {
		b.Run(map[uint32]string{100: "window=100", 1000: "window=1000", 10000: "window=10000"}[n], func(b *testing.B) {
			var e *Engine
			var c *Conn
			var now int64
			i := n
			for b.Loop() {
				if i == n {
					b.StopTimer()
					e, c, now = sackedConn(b, int(n))
					i = 1
					b.StartTimer()
				}
				if i != n/2 {
					sackOne(e, c, now, i, n/2)
				}
				i++
			}
		})
	}
}
