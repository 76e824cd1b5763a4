package soak

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// soaking says that tests are to take their time.
var soaking = os.Getenv("SHARDNET_SOAK") != ""

// soakTime is for how long.
func soakTime(t *testing.T) time.Duration {
	s := os.Getenv("SHARDNET_SOAK_TIME")
	if s == "" {
		return 10 * time.Minute
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("SHARDNET_SOAK_TIME: %v", err)
	}
	return d
}

// cables are what the worlds of a churn are made of, in turn.
var cables = []struct {
	shards int
	loss   fault.Config
}{
	{2, fault.Config{}},
	{1, fault.Config{Drop: 0.01, Reorder: 0.02}},
	{2, fault.Config{Drop: 0.005, Duplicate: 0.01, Corrupt: 0.005, Reorder: 0.01, Delay: time.Millisecond}},
	{1, fault.Config{}},
}

// TestChurn makes one world after the other, and ends each of them in order or in
// the midst of its conversations. Nothing may be left in the end, and no more memory
// be needed than after the first few.
func TestChurn(t *testing.T) {
	for _, tc := range []struct {
		transport flow.Transport
		share     time.Duration // of the soak: it is about our own TCP
	}{{flow.TransportNetstack, 10}, {flow.TransportFast, 1}} {
		t.Run("tcp="+tc.transport.String(), func(t *testing.T) {
			total, round := 2*time.Second, 150*time.Millisecond
			if soaking {
				total, round = soakTime(t)/tc.share, 3*time.Second
			}
			before := testutil.Count()
			var talks [numKinds]int64
			var visits int64
			var early process
			began := time.Now()
			rounds := 0
			for ; rounds < 2*len(cables) || time.Since(began) < total; rounds++ {
				if soaking && early == (process{}) && rounds >= len(cables) && time.Since(began) >= total/5 {
					early = measure()
				}
				cable := cables[rounds%len(cables)]
				cable.loss.Seed = rand.Uint64()
				w := newWorld(t, tc.transport, cable.shards, cable.loss)
				// Where resets get lost, an end in order may take a minute.
				inOrder := rounds%3 == 0 && (soaking || cable.loss.Drop == 0)
				w.run(round/2+rand.N(round), inOrder)
				for k := range talks {
					talks[k] += w.talks[k].Load()
				}
				visits += w.visits.Load()
				if t.Failed() {
					t.Fatalf("in round %d, %v, after %v", rounds, w.name, time.Since(began))
				}
			}
			t.Logf("%d rounds, conversations by kind %v, %d with handlers", rounds, talks, visits)
			for k, n := range talks {
				if n == 0 && soaking {
					t.Errorf("no conversation of kind %d", k)
				}
			}
			if soaking {
				late := measure()
				t.Logf("%v after the first fifth, %v in the end", early, late)
				if late.exceeds(early) {
					t.Error("that is growth")
				}
			}
			before.Check(t)
		})
	}
}
