package tcp

import (
	"net/netip"
	"testing"
	"time"
)

// fuzzer drives an engine by bytes: each few of them are a segment, a call, or time
// that passes. After each the engine's invariants are checked.
type fuzzer struct {
	t     *testing.T
	b     []byte
	e     *Engine
	w     *watcher
	l     *Listener
	now   int64
	conns []*Conn // the application's
	out   []byte
	last  [4]Segment // the last sent to each of the peers
	short bool
}

func (z *fuzzer) Frame(_ *Conn, _ *Tuple, n int) []byte {
	if z.short {
		return nil
	}
	return z.out[:n]
}

func (z *fuzzer) Send(c *Conn, b []byte) {
	var s Segment
	src, dst := simAddr[1].AsSlice(), simAddr[0].AsSlice()
	if err := ParseSegment(&s, b, src, dst); err != nil || !VerifyChecksum(b, src, dst) {
		z.t.Fatalf("sent a bad segment: %v", err)
	}
	if len(b) > 1480 {
		z.t.Fatalf("sent a segment of %d bytes", len(b))
	}
	if c != nil {
		if err := z.w.sending(c, &s); err != nil {
			z.t.Fatalf("%v, %d bytes before the end: %v", c.state, len(z.b), err)
		}
	}
	s.Payload = nil
	z.last[s.LocalPort%4] = s
}

func (z *fuzzer) byte() byte {
	if len(z.b) == 0 {
		return 0
	}
	v := z.b[0]
	z.b = z.b[1:]
	return v
}

// near is a number around one that matters: itself, close to it, or anything.
func (z *fuzzer) near(n seqNum) seqNum {
	switch v := z.byte(); {
	case v < 128:
		return n
	case v < 200:
		return n + seqNum(v-164)*seqNum(z.byte())
	case v < 240:
		return n + seqNum(v-220)<<uint(z.byte()&31)
	default:
		return seqNum(v)<<24 | seqNum(z.byte())<<13
	}
}

func (z *fuzzer) tuple(i byte) Tuple {
	return MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(simAddr[0], 1024+uint16(i%4)))
}

// honest is a segment to the engine as a peer would send it: it opens a connection, or
// takes all that came and has some text.
func (z *fuzzer) honest(i byte) {
	t := z.tuple(i)
	var c *Conn
	if ref := z.e.flows.find(t.hash(&z.e.flowKey), &t); ref != 0 && ref&waitRef == 0 {
		c = z.e.conns.at(ref)
	}
	form := z.byte()
	s := Segment{Tuple: t, Flags: FlagSYN, Seq: seqNum(form) << 24, Window: 65535}
	s.TSVal = uint32(z.now / int64(time.Millisecond))
	switch {
	case c == nil:
	case c.state == StateSynSent:
		s.Flags, s.Ack, s.TSEcr = FlagSYN|FlagACK, c.snd.nxt, c.timestamp()
	default:
		s.Flags, s.Seq, s.Ack, s.HasTS = FlagACK, c.rcv.nxt, c.snd.nxt, c.flags&flagTS != 0
		s.TSVal, s.TSEcr = c.ts.recent, c.timestamp()
		if form&8 != 0 && c.flight.head != 0 { // the oldest segment is missing, others arrived
			s.Ack = c.snd.una
			if g := z.e.segs.at(c.flight.head); g.next != 0 && c.flags&flagSack != 0 {
				s.Blocks, s.Sack[0] = 1, SackBlock{g.end, c.snd.nxt}
			}
		}
		if form&16 != 0 {
			s.Seq += seqNum(1000 * uint32(form>>5)) // text ahead of RCV.NXT
		}
		if form&7 > 2 {
			s.Payload = fillPattern(z.out[:min(c.rcv.adv.sub(c.rcv.nxt), 300*uint32(form&7))], s.Seq)
		}
	}
	if s.Flags&FlagSYN != 0 {
		s.HasMSS, s.MSS, s.HasScale, s.Scale = true, 1460, form&1 != 0, 4
		s.SackOK, s.HasTS = form&6 != 0, form&12 != 0
	}
	if z.e.Input(z.now, &s) == NoConnection {
		z.e.Reject(&s)
	}
}

// segment is one to the engine, mostly such that it fits the last one from it.
func (z *fuzzer) segment() {
	i := z.byte()
	if i >= 96 {
		z.honest(i)
		return
	}
	i %= 4
	last := &z.last[i]
	s := Segment{Tuple: z.tuple(i), Flags: z.byte() & 0x3f, Window: uint16(z.byte()) << (z.byte() & 15)}
	if z.byte() < 180 {
		s.Flags = s.Flags&^(FlagSYN|FlagRST) | FlagACK
	}
	s.Seq = z.near(last.Ack)
	if s.Flags&FlagACK != 0 {
		s.Ack = z.near(last.Seq.add(last.length()))
	}
	if o := z.byte(); o < 200 {
		s.HasTS = last.HasTS || o < 40
		s.TSVal = uint32(z.near(seqNum(last.TSEcr + uint32(z.byte()&3))))
		s.TSEcr = uint32(z.near(seqNum(last.TSVal)))
		if s.Flags&FlagSYN != 0 {
			s.HasMSS, s.MSS = o&1 != 0, uint16(z.byte())<<4
			s.HasScale, s.Scale = o&2 != 0, min(z.byte(), maxScale)
			s.SackOK = o&4 != 0
		} else if o&8 != 0 {
			s.Blocks = min(z.byte()%5, 4)
			for k := range s.Sack[:s.Blocks] {
				s.Sack[k].Start = z.near(s.Ack)
				s.Sack[k].End = s.Sack[k].Start.add(uint32(z.byte()) * 16)
			}
		}
	}
	s.Payload = fillPattern(z.out[:int(z.byte())*int(z.byte()&7)], s.Seq.add(b2u(s.Flags&FlagSYN != 0)))
	if z.e.Input(z.now, &s) == NoConnection {
		z.e.Reject(&s)
	}
}

func (z *fuzzer) call() {
	op := z.byte()
	if op&7 == 7 || len(z.conns) == 0 {
		switch op >> 3 & 31 {
		case 31:
			z.e.AbortAll()
		case 0, 4, 8, 12:
			if c, err := z.e.Dial(z.now, z.tuple(z.byte())); err == nil {
				z.conns = append(z.conns, c)
			}
		case 1, 5:
			z.l.Close()
			z.l, _ = z.e.ListenShared(netip.AddrPortFrom(simAddr[1], 80), false, 2)
		default:
			if c, err := z.l.Accept(); err == nil {
				z.conns = append(z.conns, c)
			}
		}
		return
	}
	i := int(z.byte()) % len(z.conns)
	c := z.conns[i]
	gone := false
	switch op >> 3 & 15 {
	case 0, 1, 2:
		z.w.write(c, z.out[:int(z.byte())<<(z.byte()&7)])
	case 3, 4:
		if err := z.w.read(c, z.out[:int(z.byte())<<(z.byte()&7)]); err != nil {
			z.t.Fatalf("read: %v", err)
		}
	case 5:
		if p, err := c.Peek(); err == nil {
			if err := checkPattern(p, z.w.firstBuffered(c)); err != nil {
				z.t.Fatalf("peeked: %v", err)
			}
			c.Discard(min(len(p), int(z.byte())))
		}
	case 6:
		_ = c.CloseWrite()
	case 7:
		c.Close()
		gone = true
	case 8:
		c.Abort()
		gone = true
	case 9:
		c.CloseRead()
	case 10:
		c.SetNoDelay(op&1 != 0)
	case 11:
		c.SetKeepAlive(op&1 != 0, time.Second, time.Second, 2)
	case 12:
		z.e.ICMP(z.now, c.Tuple(), uint32(z.near(z.last[c.tuple.RemotePort%4].Seq)), ICMPKind(op&1), int(z.byte())*8)
	case 13:
		c.SetReadBuffer(int(z.byte()) << 9)
	case 14:
		c.SetWriteBuffer(int(z.byte()) << 9)
	}
	if gone {
		z.conns = append(z.conns[:i], z.conns[i+1:]...)
	}
}

func (z *fuzzer) step() {
	switch op := z.byte(); {
	case op < 110:
		z.segment()
	case op < 190:
		z.call()
	case op < 205:
		z.now += int64(z.byte()) << (z.byte() & 31)
		z.e.Advance(z.now)
	case op < 215:
		z.short = !z.short
	case op < 235:
		for c, _ := z.e.NextReady(); c != nil; c, _ = z.e.NextReady() {
		}
	default:
		for range 1000 {
			if !z.e.Flush(z.now) || z.short {
				return
			}
		}
		z.t.Fatal("Flush has always more")
	}
}

// FuzzInterleavings is segments, calls, timers and shortages in any order, on several
// connections, with invariants after each step.
func FuzzInterleavings(f *testing.F) {
	for seed := range uint64(24) {
		f.Add(fuzzSeed(seed, 3000))
	}
	f.Fuzz(fuzzInterleavings)
}

// fuzzSeed is bytes by a simple generator, kept apart from the library's.
func fuzzSeed(seed uint64, n int) []byte {
	b := make([]byte, n)
	x := seed*2654435761 + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}

func fuzzInterleavings(t *testing.T, b []byte) {
	if len(b) > 1<<14 {
		return
	}
	z := &fuzzer{t: t, b: b, now: int64(time.Hour), out: make([]byte, 1<<16)}
	flags := z.byte()
	cfg := Config{Output: z, Memory: 300 << 10, RecvBuffer: 16 << 10, MaxRecvBuffer: 64 << 10, Congestion: renoOr(flags&1 != 0), TimeWait: time.Second, MaxTimeWait: 3}
	if flags&4 != 0 {
		cfg.Memory, cfg.MaxRecvBuffer = 8<<20, 1<<20
	} else if flags&8 != 0 {
		cfg.Memory = 90 << 10 // too little for what is written
	}
	if flags&2 != 0 {
		cfg.OnData = func(c *Conn, p []byte) int {
			if err := checkPattern(p, c.rcv.nxt.add(-uint32(len(p)))); err != nil {
				t.Fatalf("OnData: %v", err)
			}
			switch v := z.byte(); v & 7 {
			case 0:
				z.w.write(c, z.out[len(z.out)/2:][:len(p)])
			case 1:
				c.Close()
				z.forget(c)
			case 2:
				c.Abort()
				z.forget(c)
			case 3:
				_ = c.CloseWrite()
			case 4:
				return len(p) / 2
			}
			return len(p)
		}
	}
	e, err := New(z.now, cfg)
	if err != nil {
		t.Fatal(err)
	}
	z.e, z.w = e, newWatcher(e)
	z.l, err = e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, 2)
	if err != nil {
		t.Fatal(err)
	}
	for len(z.b) > 0 {
		z.step()
		if err := z.w.step(); err != nil {
			t.Fatalf("%d bytes before the end: %v", len(z.b), err)
		}
	}
	z.end()
}

func (z *fuzzer) forget(c *Conn) {
	for i := range z.conns {
		if z.conns[i] == c {
			z.conns = append(z.conns[:i], z.conns[i+1:]...)
			return
		}
	}
}

// end closes everything, and nothing may be left once timers have run out.
func (z *fuzzer) end() {
	z.short = false
	z.l.Close()
	for _, c := range z.conns {
		c.Close()
	}
	for range 10000 {
		for c, _ := z.e.NextReady(); c != nil; c, _ = z.e.NextReady() {
		}
		z.e.Flush(z.now)
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

// TestFuzzedInterleavings runs the fuzz target on many seeds, as the ordinary test run does
// no fuzzing.
func TestFuzzedInterleavings(t *testing.T) {
	for seed := range simSeeds(150) {
		fuzzInterleavings(t, fuzzSeed(uint64(seed)+1000, 2000))
	}
}
