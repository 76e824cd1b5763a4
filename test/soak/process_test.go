package soak

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"shardnet/test/testutil"
)

// process is what this process takes of the machine.
type process struct {
	heap uint64 // bytes that are reachable
	rss  uint64 // bytes of memory; 0 where /proc does not tell
}

// measure gives back what is free, and looks at what is left. It does so for a while
// and takes the least: timers keep the last world from being collected at once.
func measure() process {
	least := sample()
	for range 20 {
		time.Sleep(100 * time.Millisecond) // that while
		p := sample()
		least = process{min(least.heap, p.heap), min(least.rss, p.rss)}
	}
	return least
}

func sample() (p process) {
	debug.FreeOSMemory() // also collects
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.heap = m.HeapAlloc
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return p
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			p.rss = kib << 10
		}
	}
	return p
}

// exceeds says whether p is more than q by what neither chance nor the pools of a
// runtime account for.
func (p process) exceeds(q process) bool {
	return p.heap > q.heap*5/4+4<<20 || !testutil.RaceEnabled && p.rss > q.rss*5/4+16<<20
}

func (p process) String() string {
	return fmt.Sprintf("heap %.1f MB, RSS %.1f MB", float64(p.heap)/1e6, float64(p.rss)/1e6)
}
