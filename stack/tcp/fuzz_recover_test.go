package tcp

import (
	"io"
	"net/netip"
	"testing"
	"time"
)

// FuzzInput is any segments, as bytes, to a connection in any state. After each the
// engine's invariants hold, numbers have not gone back, and text is where it belongs. In the
// end the peer keeps to the rules, and the connection must end by them, too.
func FuzzInput(f *testing.F) {
	for seed := range uint64(4 * rogueStates) {
		b := fuzzSeed(seed+7000, 400)
		b[0] = byte(seed)
		f.Add(b)
	}
	f.Fuzz(fuzzInput)
}

func fuzzInput(t *testing.T, b []byte) {
	if len(b) < 2 || len(b) > 1<<13 {
		return
	}
	z := &rogue{t: t, b: b[2:], opts: b[1], now: int64(time.Hour), buf: make([]byte, 1<<16), out: make([]byte, 1<<16)}
	cfg := Config{Output: z, Memory: 1 << 20, RecvBuffer: 16 << 10, MaxRecvBuffer: 64 << 10, TimeWait: time.Second, FinWait2: 5 * time.Second,
		Congestion: renoOr(z.opts&rogueReno != 0)}
	if z.opts&rogueInline != 0 {
		cfg.OnData = func(c *Conn, p []byte) int {
			if err := checkPattern(p, c.rcv.nxt.add(-uint32(len(p)))); err != nil {
				t.Fatalf("OnData: %v", err)
			}
			return len(p) - int(p[0])%2*len(p)/2
		}
	}
	var err error
	if z.e, err = New(z.now, cfg); err != nil {
		t.Fatal(err)
	}
	z.w = newWatcher(z.e)
	if z.l, err = z.e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, 2); err != nil {
		t.Fatal(err)
	}
	z.begin(State(b[0] % rogueStates))
	z.run()
	z.recover()
	z.end()
}

// recover is a peer that takes everything the connection believes for true, and keeps to the
// rules from now on: with it all that was written must arrive, and both sides close.
func (z *rogue) recover() {
	z.short = false
	z.settle()
	c := z.conn()
	if c == nil {
		return
	}
	for round := 0; !c.state.ended(); round++ {
		if round == 3000 {
			if c.snd.wl1.after(c.rcv.nxt) {
				return // text beyond its own FIN: no window update of it counts any more
			}
			z.t.Fatalf("stands still in %v: %d bytes to send, window %d, %d to read, flags %b", c.state, c.snd.queue.n, c.snd.wnd, c.rcv.queue.n, c.flags)
		}
		z.drain()
		switch {
		case c.state == StateSynSent:
			z.seq = peerISN
			z.obey(FlagSYN|FlagACK, 0)
		case c.state == StateSynReceived:
			z.send(c.rcv.nxt, c.snd.nxt, FlagACK, 65535, z.stamp(nil, 0), 0)
		case c.flags&flagRecvFin != 0:
			z.send(c.rcv.nxt, c.snd.nxt, FlagACK, 65535, z.stamp(nil, 0), 0)
		case c.flags&flagPeerFin != 0:
			z.send(c.rcv.nxt, c.snd.nxt, FlagACK|FlagFIN, 65535, z.stamp(nil, 0), int(min(c.rcv.fin.sub(c.rcv.nxt), 1000)))
		case round < 200 && !c.orphan():
			z.send(c.rcv.nxt, c.snd.nxt, FlagACK, 65535, z.stamp(nil, 0), int(min(c.rcv.adv.sub(c.rcv.nxt), 1000)))
		default:
			z.send(c.rcv.nxt, c.snd.nxt, FlagACK|FlagFIN, 65535, z.stamp(nil, 0), 0)
		}
		z.settle()
		if z.c != nil && round > 100 {
			_ = z.c.CloseWrite()
		}
		if at, ok := z.e.NextTimer(); ok {
			z.now = max(z.now, at)
		}
		z.now += int64(time.Millisecond)
		z.e.Advance(z.now)
		z.step()
	}
}

// drain reads what there is.
func (z *rogue) drain() {
	for z.c != nil && z.c.rcv.queue.n > 0 {
		if err := z.w.read(z.c, z.out); err != nil {
			z.t.Fatal(err)
		}
	}
	if z.c != nil {
		if _, err := z.c.Read(z.out); err != nil && err != io.EOF && err != ErrWouldBlock && !z.c.state.ended() {
			z.t.Fatalf("%v: %v", z.c.state, err)
		}
	}
}

// end closes all, and nothing may be left when timers have run out.
func (z *rogue) end() {
	z.l.Close()
	if z.c != nil {
		z.c.Close()
	}
	for range 1000 {
		z.settle()
		at, ok := z.e.NextTimer()
		if !ok && !z.e.Pending() {
			break
		}
		z.now = max(z.now, at)
		z.e.Advance(z.now)
	}
	if st := z.e.Stats(); st.Conns != 0 || st.Memory != 0 || st.TimeWaits != 0 || st.HalfOpen != 0 || z.e.chunks.bytes != 0 {
		z.t.Fatalf("left in the end: %+v, %d bytes of chunks", st, z.e.chunks.bytes)
	}
}

// TestFuzzedInput runs the fuzz target on many seeds, as the ordinary test run does no
// fuzzing.
func TestFuzzedInput(t *testing.T) {
	for seed := range simSeeds(600) {
		b := fuzzSeed(uint64(seed)+9000, 600)
		b[0] = byte(seed)
		fuzzInput(t, b)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
