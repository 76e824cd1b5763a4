//go:build linux

package wire

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/driver/netlab"
)

// theme is the scripts of one file.
type theme struct {
	name    string
	scripts []script
}

var themes = []theme{
	{"handshake", handshakeScripts},
	{"listen", listenScripts},
	{"options", optionScripts},
	{"window", windowScripts},
	{"reassembly", reassemblyScripts},
	{"sack", sackScripts},
	{"loss", lossScripts},
	{"close", closeScripts},
	{"reset", resetScripts},
	{"icmp", icmpScripts},
	{"ip", ipScripts},
	{"soak", soakScripts},
}

// atOnce is how many conversations go on at a time. They wait, for the most part.
const atOnce = "48"

func TestMain(m *testing.M) {
	flag.Parse()
	if !given("test.parallel") {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	go stalls.watch()
	os.Exit(m.Run())
}

func given(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// TestWire holds every script against every target.
func TestWire(t *testing.T) {
	netlab.Test(t) // skips without root
	soak := os.Getenv("SHARDNET_SOAK") != ""
	for _, name := range targets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, name)
			// A group, so that the target outlives the scripts, which run at once.
			t.Run("", func(t *testing.T) {
				for _, th := range themes {
					for _, s := range th.scripts {
						if s.soak && !soak {
							continue
						}
						t.Run(th.name+"/"+strings.ReplaceAll(s.name, " ", "_"), func(t *testing.T) {
							t.Parallel()
							if err := s.hold(t, g); err != nil {
								t.Fatal(err)
							}
						})
					}
				}
			})
		})
	}
}

// hold holds the script against a target; and if a difference is listed, the
// script as others have it, which must fail then.
func (s *script) hold(t *testing.T, g *target) error {
	steps, err := s.steps(g.name, true)
	if err != nil {
		return err
	}
	if err := attempt(t, g, s.v6, steps); err != nil {
		return fmt.Errorf("RFC %s: %w", s.rfc, err)
	}
	if !s.differsOn(g.name) {
		return nil
	}
	if steps, err = s.steps(g.name, false); err != nil {
		return err
	}
	if converse(g, s.v6, steps) == nil {
		return fmt.Errorf("%s does what the others do: its difference is gone, and to be taken off the list", g.name)
	}
	return nil
}

// attempts is how often a conversation is tried that the machine disturbed.
const attempts = 5

// attempt holds a conversation. One that failed while the machine stood still, as it
// does when others use it, says nothing about the target, and is held again.
func attempt(t *testing.T, g *target, v6 bool, steps []step) error {
	for i := 1; ; i++ {
		began := time.Now()
		err := converse(g, v6, steps)
		if err == nil {
			return nil
		}
		stood := stalls.since(began)
		if stood < stallLimit || i == attempts {
			return err
		}
		t.Logf("tried again (the machine stood still for %v): %v", stood, err)
	}
}

// stallLimit is a stall that may change what is said: retransmission timeouts are
// 200 ms, reordering and delayed ACKs less.
const stallLimit = 15 * time.Millisecond

// stallWatch knows when goroutines did not run although they should have.
type stallWatch struct {
	mu   sync.Mutex
	seen []stall
}

type stall struct {
	end time.Time
	d   time.Duration
}

var stalls stallWatch

func (w *stallWatch) watch() {
	const tick = 2 * time.Millisecond
	for {
		began := time.Now()
		time.Sleep(tick)
		end := time.Now()
		if d := end.Sub(began) - tick; d >= stallLimit {
			w.mu.Lock()
			w.seen = append(w.seen, stall{end, d})
			w.mu.Unlock()
		}
	}
}

// since is the longest stall that ended after t.
func (w *stallWatch) since(t time.Time) (longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := len(w.seen) - 1; i >= 0 && w.seen[i].end.After(t); i-- {
		longest = max(longest, w.seen[i].d)
	}
	return longest
}
