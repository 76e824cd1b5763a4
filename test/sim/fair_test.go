package sim

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack/tcp"
	"shardnet/test/testutil"
)

const (
	fairRate  = 10e6 // bit/s
	fairTime  = 40 * time.Second
	shortSize = 100 << 10
	shorts    = 20
)

// fairWorld is a bottleneck with a queue of one product of rate and round trip.
func fairWorld(t *testing.T, rtt time.Duration, algorithm string) *world {
	queue := max(int(fairRate*rtt.Seconds()/8/1514), 8)
	path := fault.Config{Seed: 1, Delay: rtt / 2, Rate: fairRate, Queue: queue}
	make := anEngine(tcp.Config{Congestion: algorithm})
	// A few acknowledgements are late by a millisecond at most: flows that meet the
	// queue in step for ever are not of this world.
	return newWorld(t, [2]fault.Config{path, {Seed: 2, Delay: rtt / 2, Reorder: 0.001, Hold: time.Millisecond}}, [2]maker{make, make})
}

// flow has host 0 send size bytes to host 1.
func flow(t *testing.T, w *world, size int) (dst *app) {
	dst = newApp(w.hosts[1].sock(t, false), 1, 0, size, 1<<14)
	newApp(w.hosts[0].sock(t, true), 0, size, 0, 1<<14)
	return dst
}

// pass lets time go by.
func (w *world) pass(t *testing.T, d time.Duration) {
	w.run(t, d, func() bool { return false })
}

// jain is Jain's index: 1 for equal shares, 1/n if one has all.
func jain(shares []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, r := range shares {
		sum += r
		squares += r * r
	}
	return sum * sum / (float64(len(shares)) * squares)
}

// used is what part of the bottleneck that many bytes of text in a time are, in percent.
func used(bytes int, d time.Duration) float64 {
	return 100 * float64(bytes) * 8 / (fairRate * d.Seconds())
}

// TestFairness holds the table of testdata/fairness.md: long flows that begin one
// after the other, and short ones beside a long one.
func TestFairness(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "Flows of the engine through a bottleneck of %.0f Mbit/s with a queue of one bandwidth-delay product.\n", fairRate/1e6)
	fmt.Fprintf(&table, "Long flows begin a second apart; Jain's index of what each got in the second half of %v, use of the bottleneck, timeouts.\n", fairTime)
	fmt.Fprintf(&table, "Short flows: %d of %d KiB, one each half second, beside a long one: Jain's index of their rates, use, the slowest in seconds.\n\n", shorts, shortSize>>10)
	table.WriteString("| algorithm | RTT | flows | result |\n|---|---|---|---|\n")
	rtts := []time.Duration{5 * time.Millisecond, 20 * time.Millisecond, 80 * time.Millisecond}
	if testutil.RaceEnabled {
		rtts = rtts[1:2]
	}
	for _, algorithm := range []string{"cubic", "reno"} {
		for _, rtt := range rtts {
			for _, n := range []int{2, 4} {
				if testutil.RaceEnabled && n > 2 {
					continue
				}
				index, use, timeouts := longFlows(t, rtt, algorithm, n)
				if index < 0.9 || use < 85 {
					t.Errorf("%s, %v, %d flows: index %.3f, %.1f %% used", algorithm, rtt, n, index, use)
				}
				fmt.Fprintf(&table, "| %s | %v | %d long | %.3f, %.1f %%, %d |\n", algorithm, rtt, n, index, use, timeouts)
			}
			index, use, slowest := shortFlows(t, rtt, algorithm)
			if index < 0.6 || use < 80 || slowest > 5 {
				t.Errorf("%s, %v, short flows: index %.3f, %.1f %% used, the slowest %.2f s", algorithm, rtt, index, use, slowest)
			}
			fmt.Fprintf(&table, "| %s | %v | %d short | %.3f, %.1f %%, %.2f |\n", algorithm, rtt, shorts, index, use, slowest)
		}
	}
	golden(t, "fairness.md", table.String(), func(int) bool { return true })
}

func longFlows(t *testing.T, rtt time.Duration, algorithm string, n int) (index, use float64, timeouts uint64) {
	w := fairWorld(t, rtt, algorithm)
	flows := make([]*app, n)
	for i := range flows {
		flows[i] = flow(t, w, 1<<30)
		w.pass(t, time.Second)
	}
	w.pass(t, fairTime/2-time.Duration(n)*time.Second)
	from := make([]int, n)
	for i, f := range flows {
		from[i] = f.got
	}
	w.pass(t, fairTime/2)
	shares, sum := make([]float64, n), 0
	for i, f := range flows {
		if f.err != nil {
			t.Fatal(f.err)
		}
		shares[i] = float64(f.got - from[i])
		sum += f.got - from[i]
	}
	_, _, timeouts = w.hosts[0].counts()
	return jain(shares), used(sum, fairTime/2), timeouts
}

func shortFlows(t *testing.T, rtt time.Duration, algorithm string) (index, use, slowest float64) {
	w := fairWorld(t, rtt, algorithm)
	long := flow(t, w, 1<<30)
	w.pass(t, 3*time.Second)
	begin, before := w.clock.read(), long.got
	rates := make([]float64, shorts)
	left := shorts
	for i := range rates {
		began := w.clock.read()
		flow(t, w, shortSize).onDone = func() {
			took := float64(w.clock.read()-began) / 1e9
			rates[i] = shortSize / took
			slowest = max(slowest, took)
			left--
		}
		w.pass(t, 500*time.Millisecond)
	}
	if !w.run(t, time.Minute, func() bool { return left == 0 }) {
		t.Fatalf("%d short flows do not end", left)
	}
	took := time.Duration(w.clock.read() - begin)
	return jain(rates), used(long.got-before+shorts*shortSize, took), slowest
}
