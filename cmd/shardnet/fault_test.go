package main

import (
	"os/exec"
	"strings"
	"testing"
)

// faultsOf sums a kind of fault over the shards of a summary, in one direction.
func faultsOf(stop map[string]any, direction, kind string) (n float64) {
	for _, s := range stop["shards"].([]any) {
		n += s.(map[string]any)[direction+"_faults"].(map[string]any)[kind].(float64)
	}
	return n
}

// TestFaultMemory serves on a cable that loses and reorders: every answer comes all
// the same, and the summary says what happened to the frames.
func TestFaultMemory(t *testing.T) {
	for _, args := range [][]string{
		{"echo", "--tcp", "netstack"}, {"echo", "--tcp", "fast"}, {"echo", "--tcp", "fast", "--api", "conn"},
		{"memcached", "--udp", "--tcp", "fast"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			t.Parallel() // it waits for timeouts, mostly
			r := run(t, (*exec.Cmd).Start, append(args, "--driver", "mem", "--json", "--fault", "drop=1%, reorder=5%,dup=1%,seed=7")...)
			if r.code != 0 || r.stderr != "" {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			events := report(t, r.stdout)
			if got, want := events["serving"][0]["faults"], "drop=0.01,dup=0.01,reorder=0.05,dir=both,seed=7"; got != want {
				t.Errorf("start-up line has faults %v, want %v", got, want)
			}
			stop := events["stopped"][0]
			for _, dir := range []string{"rx", "tx"} {
				frames := faultsOf(stop, dir, "frames")
				for _, kind := range []string{"dropped", "duplicated", "reordered"} {
					if n := faultsOf(stop, dir, kind); n == 0 || n > frames/5 {
						t.Errorf("%s: %v of %v frames %s", dir, n, frames, kind)
					}
				}
				if n := faultsOf(stop, dir, "corrupted"); n != 0 {
					t.Errorf("%s: %v frames corrupted, which nobody asked for", dir, n)
				}
			}
			retransmits := 0.0
			for _, s := range stop["shards"].([]any) {
				retransmits += s.(map[string]any)["retransmits"].(float64)
			}
			if retransmits == 0 {
				t.Error("nothing was sent again")
			}
		})
	}
}

// Without faults nothing is said of them, and those of one direction leave the other
// alone.
func TestFaultDirection(t *testing.T) {
	r := run(t, (*exec.Cmd).Start, "echo", "--driver", "mem")
	if r.code != 0 || strings.Contains(r.stdout, "fault") {
		t.Errorf("exit code %d, says %s", r.code, r.stdout)
	}
	r = run(t, (*exec.Cmd).Start, "echo", "--driver", "mem", "--fault", "dup=5%,dir=rx")
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	for _, want := range []string{"fault=dup=0.05,dir=rx,seed=0", "shard 0 faults: in ", "duplicated ", "; out 0 frames\n"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("lacks %q: %s", want, r.stdout)
		}
	}
}
