package sim

import (
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack/tcp"
	"shardnet/test/testutil"
)

// The matrix: one transfer over each path, by each pair of TCPs.
const (
	matrixSize = 4 << 20
	matrixRate = 50e6 // bit/s
)

var (
	matrixRTTs   = []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}
	matrixLosses = []float64{0, 0.001, 0.01, 0.03}
	matrixQueues = []int{16, 64, 256}
	matrixPairs  = []struct {
		name  string
		hosts [2]maker
		exact bool // else netstack's, in whose hands it is not to change
	}{
		{"ours", [2]maker{anEngine(tcp.Config{}), anEngine(tcp.Config{})}, true},
		{"ours to netstack", [2]maker{anEngine(tcp.Config{}), aNetstack("cubic")}, false},
		{"netstack to ours", [2]maker{aNetstack("cubic"), anEngine(tcp.Config{})}, false},
		{"netstack", [2]maker{aNetstack("cubic"), aNetstack("cubic")}, false},
	}
)

// result is what a transfer took.
type result struct {
	took        time.Duration
	sent, again uint64
	timeouts    uint64
}

// transfer has host 0 send size bytes to host 1.
func transfer(t testing.TB, w *world, size int, limit time.Duration) result {
	t.Helper()
	dst := newApp(w.hosts[1].sock(t, false), 1, 0, size, 1<<16)
	src := newApp(w.hosts[0].sock(t, true), 0, size, 0, 1<<16)
	if !w.run(t, limit, func() bool { return dst.closed || src.closed && src.err != nil }) {
		t.Fatalf("stands still after %d of %d bytes", dst.got, size)
	}
	for _, a := range []*app{dst, src} {
		if a.err != nil {
			t.Fatal(a.err)
		}
	}
	r := result{took: time.Duration(w.clock.read() - epoch)}
	r.sent, r.again, r.timeouts = w.hosts[0].counts()
	return r
}

// goodput is in Mbit/s.
func (r result) goodput() float64 { return matrixSize * 8 / r.took.Seconds() / 1e6 }

// TestMatrix holds the table of testdata/matrix.md.
func TestMatrix(t *testing.T) {
	var table strings.Builder
	fmt.Fprintf(&table, "A transfer of %d MiB over a bottleneck of %.0f Mbit/s: goodput in Mbit/s, segments sent again of all, timeouts.\n", matrixSize>>20, matrixRate/1e6)
	table.WriteString("Both directions lose; queue in frames. CUBIC on both, netstack without its RACK, which takes delayed ACKs for\n" +
		"losses; and its CUBIC rounds a growth of less than a segment down to none.\n\n| RTT | loss | queue |")
	for _, p := range matrixPairs {
		fmt.Fprintf(&table, " %s |", p.name)
	}
	table.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(matrixPairs)) + "\n")
	for i, rtt := range matrixRTTs {
		for _, loss := range matrixLosses {
			for _, queue := range matrixQueues {
				if testutil.RaceEnabled && (i != 1 || queue != 64) {
					continue // one goroutine at a time: there is little to find
				}
				fmt.Fprintf(&table, "| %v | %v %% | %d |", rtt, 100*loss, queue)
				for _, p := range matrixPairs {
					if !p.exact && queue != 64 && !*update && os.Getenv("SHARDNET_SOAK") == "" {
						table.WriteString(" - |") // netstack takes its time
						continue
					}
					path := fault.Config{Seed: 7, Drop: loss, Delay: rtt / 2, Rate: matrixRate, Queue: queue}
					back := fault.Config{Seed: 8, Drop: loss, Delay: rtt / 2}
					r := transfer(t, newWorld(t, [2]fault.Config{path, back}, p.hosts), matrixSize, time.Hour)
					fmt.Fprintf(&table, " %.2f, %.2f %%, %d |", r.goodput(), 100*float64(r.again)/float64(r.sent), r.timeouts)
				}
				table.WriteString("\n")
			}
		}
	}
	golden(t, "matrix.md", table.String(), func(column int) bool { return column < 3 || matrixPairs[column-3].exact })
}

// near compares two cells number by number: netstack's may change a little with
// what goroutines do when.
func near(a, b string) bool {
	var x, y [3]float64
	const form = "%f, %f %%, %f"
	if _, err := fmt.Sscanf(a, form, &x[0], &x[1], &x[2]); err != nil {
		return false
	}
	if _, err := fmt.Sscanf(b, form, &y[0], &y[1], &y[2]); err != nil {
		return false
	}
	return math.Abs(x[0]-y[0]) <= 0.15*y[0] && math.Abs(x[1]-y[1]) <= 1+0.3*y[1] && math.Abs(x[2]-y[2]) <= 2+0.3*y[2]
}
