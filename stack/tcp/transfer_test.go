package tcp

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"
)

var seeds = flag.Int("seeds", 0, "seeds of each simulation; SHARDNET_SEEDS, else a few")

// simSeeds is how many seeds a simulation runs with: few in an ordinary test run.
func simSeeds(few int) int {
	if *seeds > 0 {
		return *seeds
	}
	if n, err := strconv.Atoi(os.Getenv("SHARDNET_SEEDS")); err == nil && n > 0 {
		return n
	}
	return few
}

// peer sends a stream of random bytes of a known length, and reads the other's to
// its end. Bytes are made from seeds, so that both ends can hash them.
type peer struct {
	c        *Conn
	rng      *rand.Rand
	toSend   int
	sent     int
	received int
	eof      bool
	closed   bool
	err      error
	out, in  interface {
		io.Writer
		Sum64() uint64
	}
	slow bool // reads little at a time
}

func newPeer(c *Conn, seed uint64, toSend int) *peer {
	return &peer{c: c, rng: rand.New(rand.NewPCG(seed, 2)), toSend: toSend, out: fnv.New64a(), in: fnv.New64a()}
}

func (p *peer) work(ev Events) {
	if p.closed {
		return
	}
	buf := make([]byte, 40000)
	for p.sent < p.toSend {
		b := buf[:min(1+p.rng.IntN(len(buf)), p.toSend-p.sent)]
		for i := range b {
			b[i] = byte(p.sent + i*7 + p.rng.IntN(2))
		}
		n, err := p.c.Write(b)
		p.out.Write(b[:n])
		p.sent += n
		if errors.Is(err, ErrWouldBlock) {
			break
		}
		if err != nil {
			p.fail(err)
			return
		}
		if p.sent == p.toSend {
			if err := p.c.CloseWrite(); err != nil {
				p.fail(err)
				return
			}
		}
	}
	for !p.eof {
		b := buf
		if p.slow {
			b = b[:1+p.rng.IntN(3000)]
		}
		n, err := p.c.Read(b)
		p.in.Write(b[:n])
		p.received += n
		if err == io.EOF {
			p.eof = true
		} else if errors.Is(err, ErrWouldBlock) {
			break
		} else if err != nil {
			p.fail(err)
			return
		}
	}
	if p.eof && p.sent == p.toSend {
		p.closed = true
		p.c.Close()
	}
}

func (p *peer) fail(err error) {
	p.err, p.closed = err, true
	p.c.Close()
}

// transfer has host 0 dial host 1, and both send.
func transfer(t testing.TB, s *sim, bytes0, bytes1 int, limit time.Duration) (a, b *peer) {
	t.Helper()
	l, err := s.hosts[1].e.Listen(netip.AddrPortFrom(s.addrs[1], 80), false, 16)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(s.addrs[0], 40000), netip.AddrPortFrom(s.addrs[1], 80)))
	if err != nil {
		t.Fatal(err)
	}
	a = newPeer(c, 1, bytes0)
	s.hosts[0].ready = func(_ *Conn, ev Events) { a.work(ev) }
	s.hosts[1].ready = func(_ *Conn, ev Events) {
		if ev&Accepted != 0 {
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			b = newPeer(c, 2, bytes1)
		}
		b.work(ev)
	}
	s.run(t, limit, func() bool { return a.closed && b != nil && b.closed })
	for _, p := range []*peer{a, b} {
		if p.err != nil {
			t.Fatal(p.err)
		}
	}
	if a.sent != b.received || b.sent != a.received || a.out.Sum64() != b.in.Sum64() || b.out.Sum64() != a.in.Sum64() {
		t.Fatalf("sent %d and %d, received %d and %d, or the bytes differ", a.sent, b.sent, b.received, a.received)
	}
	l.Close()
	// Nothing is left in the end.
	s.idle(t, 10*time.Minute)
	for i, h := range s.hosts {
		if st := h.e.Stats(); st.Conns != 0 || st.TimeWaits != 0 || st.Memory != 0 || h.e.chunks.bytes != 0 || h.e.segs.live != 0 {
			t.Fatalf("host %d has something left: %+v, %d bytes of chunks, %d segments", i, st, h.e.chunks.bytes, h.e.segs.live)
		}
	}
	return a, b
}

func TestTransfer(t *testing.T) {
	s := newSim(t, 1)
	transfer(t, s, 1<<20, 300000, time.Minute)
	for i, h := range s.hosts {
		if st := h.e.Stats(); st.Retransmitted+st.Timeouts != 0 {
			t.Errorf("host %d sent again what was not lost: %+v", i, st)
		}
	}
}

// TestChurn opens and closes many connections at once over a bad path, in all the
// ways there are, and looks that nothing is left of them.
func TestChurn(t *testing.T) {
	for seed := range simSeeds(2) {
		s := newSim(t, uint64(seed), Config{TimeWait: 2 * time.Second, FinWait2: 5 * time.Second})
		s.paths = [2]path{{delay: 5 * time.Millisecond, jitter: 3 * time.Millisecond, loss: 0.05, dup: 0.02}, {delay: 5 * time.Millisecond, loss: 0.05}}
		s.frames = 0.02
		l, err := s.hosts[1].e.Listen(netip.AddrPortFrom(s.addrs[1], 80), false, 8)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 5000)
		open := 0
		work := func(c *Conn, ev Events) {
			if ev&Accepted != 0 {
				if c, err = l.Accept(); err != nil {
					return
				}
				open++
			}
			_, err := c.Read(buf)
			switch k := s.rng.IntN(10); {
			case k == 0:
				open--
				c.Abort()
			case k < 3 || err != nil && !errors.Is(err, ErrWouldBlock):
				open--
				c.Close()
			case k == 3:
				_ = c.CloseWrite()
			case k == 4:
				c.CloseRead()
			default:
				_, _ = c.Write(buf[:s.rng.IntN(len(buf))])
			}
		}
		s.hosts[0].ready, s.hosts[1].ready = work, work
		for i := range 200 {
			if _, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(s.addrs[0], uint16(1000+i%150)), netip.AddrPortFrom(s.addrs[1], 80))); err == nil {
				open++
			} else if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatal(err)
			}
			s.idle(t, time.Duration(s.rng.IntN(20))*time.Millisecond)
		}
		// What is still open has nothing to say to each other; close it.
		for _, h := range s.hosts {
			h.ready = nil
			h.e.All(func(c *Conn) bool { open--; c.Close(); return true })
		}
		if open != 0 {
			t.Errorf("seed %d: %d more connections were open than were told of", seed, open)
		}
		l.Close()
		s.idle(t, time.Hour)
		for i, h := range s.hosts {
			if st := h.e.Stats(); st.Conns != 0 || st.TimeWaits != 0 || st.HalfOpen != 0 || st.Memory != 0 || h.e.chunks.bytes != 0 {
				t.Errorf("seed %d: host %d has something left: %+v", seed, i, st)
			}
		}
	}
}

// TestTransferUnderFaults is completion and integrity over bad paths.
func TestTransferUnderFaults(t *testing.T) {
	lossy := path{delay: 10 * time.Millisecond, loss: 0.02}
	for _, tc := range []struct {
		name  string
		there path
		back  path
		cfg   Config
		slow  bool
		short float64
		strip []byte
		v6    bool
	}{
		{name: "loss", there: lossy, back: lossy},
		{name: "heavy loss", there: path{delay: 5 * time.Millisecond, loss: 0.15}, back: path{delay: 5 * time.Millisecond, loss: 0.15}},
		{name: "reordering", there: path{delay: 5 * time.Millisecond, jitter: 5 * time.Millisecond}, back: lossy},
		{name: "duplicates", there: path{delay: 5 * time.Millisecond, dup: 0.2, jitter: time.Millisecond}, back: path{delay: 5 * time.Millisecond, dup: 0.2}},
		{name: "corruption", there: path{delay: time.Millisecond, corrupt: 0.05}, back: path{delay: time.Millisecond, corrupt: 0.05}},
		{name: "bottleneck", there: path{delay: 20 * time.Millisecond, rate: 1e6, queue: 20000}, back: path{delay: 20 * time.Millisecond}},
		{name: "everything", there: path{delay: 8 * time.Millisecond, jitter: 4 * time.Millisecond, loss: 0.03, dup: 0.03, corrupt: 0.01, rate: 2e6, queue: 30000},
			back: path{delay: 8 * time.Millisecond, jitter: 2 * time.Millisecond, loss: 0.03, dup: 0.03, corrupt: 0.01}, short: 0.05},
		{name: "reno", there: lossy, back: lossy, cfg: Config{Congestion: "reno"}},
		{name: "slow reader", there: lossy, back: lossy, slow: true, cfg: Config{RecvBuffer: 4096, MaxRecvBuffer: 8192}},
		{name: "little memory", there: lossy, back: lossy, cfg: Config{Memory: 120 << 10}},
		{name: "no SACK", there: lossy, back: lossy, strip: []byte{optSackOK}},
		{name: "no timestamps", there: lossy, back: lossy, strip: []byte{optTimestamps}},
		{name: "no options", there: path{delay: 5 * time.Millisecond, loss: 0.08, dup: 0.05, jitter: 3 * time.Millisecond}, back: lossy,
			strip: []byte{optSackOK, optTimestamps, optScale, optMSS}},
		{name: "no window scale", there: lossy, back: lossy, strip: []byte{optScale}},
		{name: "IPv6", there: lossy, back: lossy, v6: true},
		{name: "short of frames", there: path{}, back: path{}, short: 0.3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for seed := range simSeeds(2) {
				t.Run(fmt.Sprint(seed), func(t *testing.T) {
					s := newSim(t, uint64(seed), tc.cfg)
					s.paths, s.frames, s.strip = [2]path{tc.there, tc.back}, tc.short, tc.strip
					if tc.v6 {
						s.addrs = [2]netip.Addr{netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")}
					}
					transfer(t, s, 200000, 60000, 30*time.Minute)
					if testing.Verbose() {
						t.Logf("%v: %+v; %+v", time.Duration(s.now)-time.Hour, s.hosts[0].e.Stats(), s.hosts[1].e.Stats())
					}
				})
			}
		})
	}
}
