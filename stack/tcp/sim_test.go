package tcp

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// A simulation: two engines, a wire with faults between them, and a clock that is
// moved to whatever comes next. Equal seeds give equal runs.

// path is what the wire does in one direction.
type path struct {
	delay   time.Duration
	jitter  time.Duration // each packet is delayed by up to so much more
	loss    float64
	dup     float64
	corrupt float64
	reorder float64       // packets held back by 'held'
	held    time.Duration //
	rate    float64       // bytes a second; 0 is without bound
	queue   int           // bytes the bottleneck holds
}

type packet struct {
	at    int64
	order uint64
	to    int
	b     []byte
}

type packets []packet

func (p packets) Len() int { return len(p) }
func (p packets) Less(i, j int) bool {
	return p[i].at < p[j].at || p[i].at == p[j].at && p[i].order < p[j].order
}
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *packets) Push(x any)   { *p = append(*p, x.(packet)) }
func (p *packets) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

type sim struct {
	now     int64
	rng     *rand.Rand
	hosts   [2]*simHost
	paths   [2]path // from host i
	free    [2]int64
	wire    packets
	order   uint64
	frames  float64 // probability that a frame is refused
	checked bool    // invariants after every step
	addrs   [2]netip.Addr
	strip   []byte // options taken out of every segment
}

// simHost is an engine and the end of the wire it writes to.
type simHost struct {
	sim   *sim
	index int
	e     *Engine
	buf   []byte
	frame []byte
	ready func(c *Conn, ev Events)
}

func (h *simHost) Frame(_ *Conn, _ *Tuple, n int) []byte {
	if h.sim.frames > 0 && h.sim.rng.Float64() < h.sim.frames {
		return nil
	}
	h.frame = h.buf[:n]
	for i := range h.frame {
		h.frame[i] = 0xaa // whatever was in the frame before
	}
	return h.frame
}

func (h *simHost) Send(_ *Conn, seg []byte) { h.sim.transmit(h.index, seg) }

var simAddr = [2]netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}

func newSim(t testing.TB, seed uint64, cfg ...Config) *sim {
	t.Helper()
	s := &sim{now: int64(time.Hour), rng: rand.New(rand.NewPCG(seed, 1)), checked: true, addrs: simAddr}
	for i := range s.hosts {
		h := &simHost{sim: s, index: i, buf: make([]byte, 1<<16)}
		var c Config
		if len(cfg) > 0 {
			c = cfg[min(i, len(cfg)-1)]
		}
		c.Output = h
		for k := range c.Secret {
			c.Secret[k] = byte(s.rng.Uint32())
		}
		e, err := New(s.now, c)
		if err != nil {
			t.Fatal(err)
		}
		h.e = e
		s.hosts[i] = h
		s.paths[i] = path{delay: 10 * time.Millisecond}
	}
	return s
}

// transmit puts a segment on the wire.
func (s *sim) transmit(from int, seg []byte) {
	p := &s.paths[from]
	if s.rng.Float64() < p.loss {
		return
	}
	at := s.now
	if p.rate > 0 {
		backlog := max(0, s.free[from]-s.now)
		if int(float64(backlog)/1e9*p.rate)+len(seg) > p.queue {
			return
		}
		at = max(at, s.free[from]) + int64(float64(len(seg)+40)/p.rate*1e9)
		s.free[from] = at
	}
	at += int64(p.delay)
	if p.jitter > 0 {
		at += s.rng.Int64N(int64(p.jitter))
	}
	if p.reorder > 0 && s.rng.Float64() < p.reorder {
		at += int64(p.held)
	}
	copies := 1
	if s.rng.Float64() < p.dup {
		copies = 2
	}
	for range copies {
		b := append([]byte(nil), seg...)
		if len(s.strip) > 0 {
			s.stripOptions(from, b)
		}
		if s.rng.Float64() < p.corrupt {
			b[s.rng.IntN(len(b))] ^= 1 << s.rng.IntN(8)
		}
		s.order++
		heap.Push(&s.wire, packet{at, s.order, 1 - from, b})
	}
}

// stripOptions writes no-operations over options, as some middleboxes do.
func (s *sim) stripOptions(from int, b []byte) {
	o := b[headerLen : int(b[12]>>4)*4]
	for len(o) > 0 {
		if o[0] == optNop {
			o = o[1:]
			continue
		}
		if o[0] == optEnd {
			break
		}
		n := int(o[1])
		if bytes.IndexByte(s.strip, o[0]) >= 0 {
			for i := range o[:n] {
				o[i] = optNop
			}
		}
		o = o[n:]
	}
	b[16], b[17] = 0, 0
	t := MakeTuple(netip.AddrPortFrom(s.addrs[from], 0), netip.AddrPortFrom(s.addrs[1-from], 0))
	setChecksum(b, t.pseudoSum())
}

// step moves the clock to what comes next, and works it off. It returns false if
// nothing ever comes, or not before until.
func (s *sim) step(until int64) (bool, error) {
	next := int64(-1)
	if len(s.wire) > 0 {
		next = s.wire[0].at
	}
	for _, h := range s.hosts {
		if at, ok := h.e.NextTimer(); ok && (next < 0 || at < next) {
			next = at
		}
		if h.e.Pending() {
			next = s.now + int64(10*time.Microsecond) // frames are short, or turns
		}
	}
	if next < 0 || next > until {
		return false, nil
	}
	s.now = max(s.now, next)
	for _, h := range s.hosts {
		h.e.Advance(s.now)
	}
	for len(s.wire) > 0 && s.wire[0].at <= s.now {
		p := heap.Pop(&s.wire).(packet)
		s.deliver(p)
		if err := s.check(); err != nil {
			return false, err
		}
	}
	return true, s.settle()
}

// settle lets applications run and engines send.
func (s *sim) settle() error {
	for _, h := range s.hosts {
		for c, ev := h.e.NextReady(); c != nil; c, ev = h.e.NextReady() {
			if h.ready != nil {
				h.ready(c, ev)
			}
		}
		if err := s.check(); err != nil {
			return err
		}
		h.e.Flush(s.now)
		if err := s.check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *sim) check() error {
	if !s.checked {
		return nil
	}
	for i, h := range s.hosts {
		if err := h.e.check(); err != nil {
			return fmt.Errorf("host %d: %w", i, err)
		}
	}
	return nil
}

func (s *sim) deliver(p packet) {
	src, dst := s.addrs[1-p.to].AsSlice(), s.addrs[p.to].AsSlice()
	if !VerifyChecksum(p.b, src, dst) {
		return
	}
	var seg Segment
	if ParseSegment(&seg, p.b, src, dst) != nil {
		return
	}
	h := s.hosts[p.to]
	if h.e.Input(s.now, &seg) == NoConnection {
		h.e.Reject(&seg)
	}
}

// run steps until done returns true, and fails if that takes longer than limit of
// simulated time.
func (s *sim) run(t testing.TB, limit time.Duration, done func() bool) {
	t.Helper()
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	end := s.now + int64(limit)
	for !done() {
		more, err := s.step(end)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			t.Fatalf("not done after %v: host 0 %+v, host 1 %+v", limit, s.hosts[0].e.Stats(), s.hosts[1].e.Stats())
		}
	}
}

// idle runs for some time.
func (s *sim) idle(t testing.TB, d time.Duration) {
	t.Helper()
	if err := s.settle(); err != nil {
		t.Fatal(err)
	}
	end := s.now + int64(d)
	for {
		more, err := s.step(end)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			s.now = end
			return
		}
	}
}
