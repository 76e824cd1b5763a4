package tcp

import (
	"net/netip"
	"shardnet/test/testutil"
	"testing"
	"time"
)

// flows has n connections send from host 0 to host 1 for some time, the k-th from k
// times stagger on, and returns what each has delivered in the second half.
func flows(t *testing.T, s *sim, n int, d, stagger time.Duration) []float64 {
	t.Helper()
	s.checked = false
	l, err := s.hosts[1].e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, n)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<16)
	got := make([]int, n)
	from := make([]int, n)
	s.hosts[0].ready = func(c *Conn, _ Events) {
		for {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}
	s.hosts[1].ready = func(c *Conn, ev Events) {
		if ev&Accepted != 0 {
			if c, err = l.Accept(); err != nil {
				t.Fatal(err)
			}
		}
		for {
			k, err := c.Read(data)
			if err != nil {
				return
			}
			got[c.RemoteAddr().Port()-1000] += k
		}
	}
	for i := range n {
		if _, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(simAddr[0], uint16(1000+i)), netip.AddrPortFrom(simAddr[1], 80))); err != nil {
			t.Fatal(err)
		}
		s.idle(t, stagger)
	}
	s.idle(t, d/2)
	copy(from, got)
	s.idle(t, d/2)
	rates := make([]float64, n)
	for i := range rates {
		rates[i] = float64(got[i]-from[i]) / (d.Seconds() / 2)
	}
	return rates
}

// TestGoodput holds what a connection gets out of a path, and what it costs.
func TestGoodput(t *testing.T) {
	bottleneck := func(rate float64, rtt time.Duration, bdps float64) [2]path {
		return [2]path{
			{delay: rtt / 2, rate: rate, queue: int(rate * rtt.Seconds() * bdps)},
			{delay: rtt / 2},
		}
	}
	cases := []struct {
		name   string
		cfg    Config
		paths  [2]path
		time   time.Duration
		min    float64 // bytes a second
		resent float64 // of what is sent, at most
	}{
		{"cubic, a buffer of one BDP", Config{}, bottleneck(1.25e6, 40*time.Millisecond, 1), 8 * time.Second, 1.1e6, 0.02},
		{"cubic, a buffer of a quarter", Config{}, bottleneck(2.5e6, 40*time.Millisecond, 0.25), 4 * time.Second, 1.8e6, 0.02},
		{"reno, a buffer of one BDP", Config{Congestion: "reno"}, bottleneck(1.25e6, 40*time.Millisecond, 1), 8 * time.Second, 1.1e6, 0.02},
		{"a long fat path", Config{}, bottleneck(12.5e6, 100*time.Millisecond, 1), 2400 * time.Millisecond, 9e6, 0.17},
		// Mathis et al. give 0.87 MSS / (RTT sqrt(p)) for a receiver that delays its
		// acknowledgements: 0.63 MB/s.
		{"one percent lost", Config{}, [2]path{{delay: 10 * time.Millisecond, loss: 0.01}, {delay: 10 * time.Millisecond}}, 8 * time.Second, 0.45e6, 0.015},
		{"reordering", Config{}, [2]path{{delay: 10 * time.Millisecond, reorder: 0.02, held: 3 * time.Millisecond, rate: 2.5e6, queue: 50000}, {delay: 10 * time.Millisecond}}, 4 * time.Second, 1.8e6, 0.025},
		{"lost acknowledgements", Config{}, [2]path{{delay: 10 * time.Millisecond, rate: 2.5e6, queue: 50000}, {delay: 10 * time.Millisecond, loss: 0.2}}, 4 * time.Second, 1.9e6, 0.025},
	}
	if testutil.RaceEnabled {
		cases = cases[:3] // one goroutine, at a tenth of the speed: there are no races to find
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			s := newSim(t, 3, tc.cfg)
			s.paths = tc.paths
			rate := flows(t, s, 1, tc.time, 0)[0]
			st := s.hosts[0].e.Stats()
			resent := float64(st.Retransmitted) / float64(st.Sent)
			t.Logf("%.2f MB/s, %.2f %% sent again, %d recoveries, %d timeouts, %d undone", rate/1e6, 100*resent, st.Recoveries, st.Timeouts, st.Undone)
			if rate < tc.min {
				t.Errorf("%.2f MB/s, want %.2f", rate/1e6, tc.min/1e6)
			}
			if resent > tc.resent {
				t.Errorf("%.2f %% sent again, want at most %.2f", 100*resent, 100*tc.resent)
			}
		})
	}
}

// TestSlowStartHeedsRoundTrips: growing round trips end slow start before it has sent
// twice what the path holds (RFC 9406). Without that 1489 segments are sent again here.
func TestSlowStartHeedsRoundTrips(t *testing.T) {
	s := newSim(t, 1, Config{RecvBuffer: 4 << 20})
	s.paths = [2]path{{delay: 50 * time.Millisecond, rate: 2.5e6, queue: 750000}, {delay: 50 * time.Millisecond}}
	rate := flows(t, s, 1, 4*time.Second, 0)[0]
	if st := s.hosts[0].e.Stats(); st.Retransmitted > 400 || rate < 2.2e6 {
		t.Errorf("%.2f MB/s, %d segments sent again", rate/1e6, st.Retransmitted)
	}
}

// TestFairness has flows share a bottleneck, the second beginning when the first has
// taken all of it.
func TestFairness(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  Config
		n    int
	}{{"cubic", Config{}, 2}, {"reno", Config{Congestion: "reno"}, 3}} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSim(t, 5, tc.cfg)
			s.paths = [2]path{{delay: 10 * time.Millisecond, jitter: 100 * time.Microsecond, rate: 1.25e6, queue: 25000}, {delay: 10 * time.Millisecond}}
			rates := flows(t, s, tc.n, 8*time.Second, time.Second)
			sum, squares := 0.0, 0.0
			for _, r := range rates {
				sum += r
				squares += r * r
			}
			// Jain's index: 1 for equal shares, 1/n if one has all.
			jain := sum * sum / (float64(len(rates)) * squares)
			t.Logf("%.2f MB/s each, index %.3f", rates, jain)
			if jain < 0.9 || sum < 1.1e6 {
				t.Errorf("rates %.0f: index %.3f, together %.0f", rates, jain, sum)
			}
		})
	}
}
