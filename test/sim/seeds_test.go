package sim

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/driver/memnic"
	"shardnet/stack/tcp"
	"shardnet/test/testutil"
)

// TestSeeds is that nothing hangs: each seed makes a path, two hosts and some
// transfers, all as bad as they may be; every byte must arrive, every connection end,
// and nothing be left. SHARDNET_SEEDS says how many, SHARDNET_SEED which one alone.
func TestSeeds(t *testing.T) {
	first, n := uint64(0), 200
	if testutil.RaceEnabled {
		n = 8
	}
	if v, err := strconv.Atoi(os.Getenv("SHARDNET_SEEDS")); err == nil && v > 0 {
		n = v
	}
	if v, err := strconv.ParseUint(os.Getenv("SHARDNET_SEED"), 10, 64); err == nil {
		first, n = v, 1
	}
	failed := 0
	for i := range uint64(n) {
		seed := first + i
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) { runSeed(t, seed) })
		if !ok {
			if failed++; failed == 20 {
				t.Fatal("further seeds are left out")
			}
		}
	}
}

// scenario is what a seed makes.
type scenario struct {
	path     [2]fault.Config
	cfg      [2]tcp.Config
	netstack int // which host is one, or -1
	nic      memnic.End
	flows    []transferSpec
}

type transferSpec struct {
	there, back int // bytes
	most        [2]int
	after       time.Duration
}

func makeScenario(seed uint64) scenario {
	rng := rand.New(rand.NewPCG(seed, 0x5eed))
	pick := func(of ...float64) float64 { return of[rng.IntN(len(of))] }
	s := scenario{netstack: -1, nic: plenty}
	rtt := time.Duration(pick(0.2, 2, 20, 100, 600) * float64(time.Millisecond))
	for i := range s.path {
		s.path[i] = fault.Config{
			Seed: seed<<1 | uint64(i), Delay: rtt/2 + time.Duration(rng.Int64N(int64(rtt))),
			Drop: pick(0, 0, 0.001, 0.02, 0.1, 0.2), Duplicate: pick(0, 0, 0.01, 0.2), Corrupt: pick(0, 0, 0.01, 0.05),
			Reorder: pick(0, 0, 0.02, 0.3), Distance: 1 + rng.IntN(20), Hold: time.Duration(pick(0.1, 3, 50, 700) * float64(time.Millisecond)),
		}
		if rng.IntN(2) == 0 {
			s.path[i].Rate, s.path[i].Queue = int64(pick(1e5, 1e6, 2e7)), 2+rng.IntN(60)
		}
		s.cfg[i] = tcp.Config{
			RecvBuffer: int(pick(2048, 5000, 65536)), SendBuffer: int(pick(2048, 20000, 65536)),
			Memory: int64(pick(1<<20, 64<<20)), Congestion: []string{"reno", "cubic", "cubic"}[rng.IntN(3)], MTU: int(pick(576, 1280, 1500, 1500)),
			Burst: 1 + rng.IntN(40), TimeWait: time.Second, FinWait2: 10 * time.Second,
		}
		s.cfg[i].MaxRecvBuffer = s.cfg[i].RecvBuffer << rng.IntN(6)
		s.cfg[i].MaxSendBuffer = s.cfg[i].SendBuffer << rng.IntN(6)
	}
	for range 1 + rng.IntN(3) {
		f := transferSpec{there: 1 + rng.IntN(1<<rng.IntN(18)), back: rng.IntN(1 << rng.IntN(17)), after: time.Duration(rng.Int64N(int64(time.Second)))}
		f.most = [2]int{1 + rng.IntN(1<<rng.IntN(16)), 1 + rng.IntN(1<<rng.IntN(16))}
		s.flows = append(s.flows, f)
	}
	if rng.IntN(6) == 0 {
		s.nic = scarce
	}
	if rng.IntN(8) == 0 {
		// One way at a time: with both buffers full a netstack may stand still. And
		// its corner cases are not what is under test here.
		s.netstack = rng.IntN(2)
		for i := range s.path {
			s.path[i].Drop, s.path[i].Reorder, s.path[i].Duplicate = min(s.path[i].Drop, 0.02), 0, 0
		}
		for i := range s.flows {
			s.flows[i].back, s.flows[i].most = 0, [2]int{1 << 14, 1 << 14}
		}
	}
	return s
}

func runSeed(t *testing.T, seed uint64) {
	s := makeScenario(seed)
	makers := [2]maker{anEngine(s.cfg[0]), anEngine(s.cfg[1])}
	if s.netstack >= 0 {
		makers[s.netstack] = aNetstack("reno")
	}
	w := newWorldOf(t, s.nic, s.path, makers)
	var apps []*app
	for _, f := range s.flows {
		apps = append(apps,
			newApp(w.hosts[1].sock(t, false), 1, f.back, f.there, f.most[1]),
			newApp(w.hosts[0].sock(t, true), 0, f.there, f.back, f.most[0]))
		w.pass(t, f.after)
	}
	done := func() bool {
		for _, a := range apps {
			if !a.closed {
				return false
			}
		}
		return true
	}
	report := func() {
		for i, a := range apps {
			t.Logf("end %d: sent %d of %d, got %d of %d, shut %v, eof %v, closed %v, %v", i, a.sent, a.toSend, a.got, a.want, a.shut, a.eof, a.closed, a.err)
		}
		for i, h := range w.hosts {
			if e, ok := h.(*engineHost); ok {
				t.Logf("host %d: %+v", i, e.e.Stats())
			}
		}
		t.Logf("%+v", s)
	}
	if !w.run(t, 4*time.Hour, done) {
		report()
		t.Fatal("stands still")
	}
	for _, a := range apps {
		if a.err != nil {
			report()
			t.Fatal(a.err)
		}
	}
	for _, h := range w.hosts {
		if e, ok := h.(*engineHost); ok && e.l != nil {
			e.l.Close()
		}
	}
	w.pass(t, time.Hour)
	for i, h := range w.hosts {
		if e, ok := h.(*engineHost); ok {
			if st := e.e.Stats(); st.Conns != 0 || st.TimeWaits != 0 || st.HalfOpen != 0 || st.Memory != 0 {
				report()
				t.Fatalf("host %d has something left", i)
			}
		}
	}
}
