package memcached

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/test/testutil"
)

func TestNewStoreRefuses(t *testing.T) {
	for name, cfg := range map[string]StoreConfig{
		"item too small":        {MaxItemSize: 100},
		"item too large":        {MaxItemSize: 2 << 30, MemoryLimit: 64 << 30},
		"memory below an item":  {MemoryLimit: 1 << 20},
		"negative memory":       {MemoryLimit: -1},
		"odd shards":            {Shards: 3},
		"negative shards":       {Shards: -4},
		"too many shards":       {Shards: 1 << 13, MemoryLimit: 1 << 40},
		"shards too small":      {Shards: 64},
		"memory beyond a shard": {Shards: 1, MemoryLimit: 1 << 40},
	} {
		t.Run(name, func(t *testing.T) {
			if st, err := NewStore(&cfg); err == nil {
				st.Close()
				t.Errorf("%+v was accepted", cfg)
			} else {
				t.Log(err)
			}
		})
	}
}

func TestChooseShards(t *testing.T) {
	for _, limit := range []int64{8 << 20, 64 << 20, 1 << 30, 64 << 30} {
		st := newStore(t, &StoreConfig{MemoryLimit: limit})
		n := len(st.shards)
		if n > 4*2*runtime.GOMAXPROCS(0) || int64(n)*int64(st.shards[0].maxSegs)*segSize > limit {
			t.Errorf("%d MiB: %d shards of %d segments", limit>>20, n, st.shards[0].maxSegs)
		}
		t.Logf("%d MiB: %d shards", limit>>20, n)
	}
}

// TestStoreAgainstModel runs random operations in a store so small that it
// always evicts, and chains extents. A value that is found must be the one last
// stored; every invariant must hold.
func TestStoreAgainstModel(t *testing.T) {
	for _, test := range []struct {
		name          string
		largest, keys int
		chained       bool // items of several extents are to be seen
	}{
		{"small", 200, 10000, false},
		{"mixed", 20000, 400, true},
		{"large", 300000, 80, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := newFakeClock()
			st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: max(1<<20, int64(8*test.largest)), MaxItemSize: max(1024, test.largest*5/4), Now: clock.now})
			sh := &st.shards[0]
			rng := rand.New(rand.NewPCG(1, uint64(test.largest)))
			model := map[string]string{}
			dies := map[string]uint32{} // on the store's clock
			var chains, hits int
			operations := 40000
			if test.largest > 100000 {
				operations = 3000
			}
			for i := range operations {
				k := rng.IntN(test.keys)
				key := "key" + strconv.Itoa(k) + strings.Repeat("k", k*7%240)
				value := bytes.Repeat([]byte{byte('a' + i%26)}, int(float64(test.largest)*rng.Float64()*rng.Float64()))
				q := storing{key: []byte(key)}
				if rng.IntN(3) == 0 {
					q.expiry = st.clock.now() + uint32(1+rng.IntN(operations/20))
				}
				found, _, ok := st.Get(nil, q.key)
				if want, stored := model[key]; ok && (!stored || string(found) != want) {
					t.Fatalf("operation %d: found %.50q, stored was %.50q, %v", i, found, want, stored)
				}
				if at := dies[key]; ok && at != 0 && at <= st.clock.now() {
					t.Fatalf("operation %d: found what expired at %d, now is %d", i, at, st.clock.now())
				}
				if ok {
					hits++
				} else {
					delete(model, key)
				}
				switch n := rng.IntN(20); {
				case n < 10:
					if got, _ := st.store(&q, value); got != stored {
						t.Fatalf("operation %d: %v", i, got)
					}
					model[key], dies[key] = string(value), q.expiry
				case n < 15:
					// In pieces, with whatever happens between them.
					rv, result := st.reserve(&q, len(value))
					if result != stored {
						t.Fatalf("operation %d: %v", i, result)
					}
					for rest := value; len(rest) > 0; {
						m := min(len(rest), 1+rng.IntN(3000))
						rv.fill(rest[:m])
						rest = rest[m:]
						other := storing{key: []byte("other" + strconv.Itoa(rng.IntN(50)))}
						st.store(&other, value[:min(len(value), 500)])
					}
					if n == 10 {
						rv.cancel()
						break
					}
					if got, _ := st.commit(&q, &rv); got != stored {
						t.Fatalf("operation %d: %v", i, got)
					}
					model[key], dies[key] = string(value), q.expiry
				case n < 17:
					value = value[:min(len(value), 100)]
					if q.mode = modeAppend; n == 16 {
						q.mode = modePrepend
					}
					// The item may be evicted by now, or have no room to grow.
					switch got, _ := st.store(&q, value); {
					case got == notStored:
					case n == 16:
						model[key] = string(value) + model[key]
					default:
						model[key] += string(value)
					}
				case n < 18:
					if st.delete(q.key) != ok {
						t.Fatalf("operation %d: delete: %v", i, !ok)
					}
					delete(model, key)
				default:
					clock.advance(time.Second)
					if r := sh.newest; r != 0 {
						if _, n := sh.capacity(r); n > 1 {
							chains++
						}
					}
				}
				if i%500 == 0 {
					if err := sh.check(); err != nil {
						t.Fatalf("operation %d: %v", i, err)
					}
				}
			}
			s := st.Stats()
			t.Logf("%d items, %d hits, %d evictions, %d reclaimed, %d of the sampled items in chains, %.1f %% of memory used",
				s.Items, hits, s.Evictions, s.Reclaimed, chains, 100*float64(s.Bytes)/float64(s.MemoryLimit))
			if s.Evictions < 500 || s.Reclaimed < 5 || hits < operations/20 || test.chained && chains == 0 {
				t.Errorf("%d evictions, %d hits, %d chains: not what was to be tested", s.Evictions, hits, chains)
			}
			if s.Bytes < s.MemoryLimit*8/10 {
				t.Errorf("only %d of %d bytes are used", s.Bytes, s.MemoryLimit)
			}
		})
	}
}

// TestIndexGrowth: many items, each found, while the index splits under them.
func TestIndexGrowth(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 2, MemoryLimit: 64 << 20})
	const n = 100_000
	key := func(i int) []byte { return strconv.AppendInt(nil, int64(i), 36) }
	for i := range n {
		if err := st.Set(key(i), key(i), uint32(i), 0); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if v, flags, ok := st.Get(nil, key(i)); !ok || flags != uint32(i) || string(v) != string(key(i)) {
			t.Fatalf("%s: %q, %d, %v", key(i), v, flags, ok)
		}
	}
	for i := range st.shards {
		sh := &st.shards[i]
		if sh.buckets() < sh.items {
			t.Errorf("%d buckets for %d items", sh.buckets(), sh.items)
		}
	}
	checkStore(t, st)
}

// TestConcurrentUse hammers few keys from many goroutines. A value tells its key
// and its length, so a torn one is seen; counters must add up.
func TestConcurrentUse(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 4, MemoryLimit: 4 << 20, MaxItemSize: 100 << 10})
	srv := NewServer(st, nil)
	const workers, rounds = 8, 1500
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			s := srv.NewSession()
			defer s.Close()
			for range rounds {
				k := rng.IntN(20)
				body := strings.Repeat(string(rune('a'+k)), rng.IntN(20000))
				in := fmt.Sprintf("set k%d %d 0 %d\r\n%s\r\n", k, len(body), len(body), body)
				if rng.IntN(3) == 0 {
					converseInPieces(s, []byte(in), func(left int) int { return min(left, 3000) })
				} else {
					converse(s, []byte(in))
				}
				k = rng.IntN(20)
				out, _, _ := converse(s, fmt.Appendf(nil, "get k%d\r\n", k))
				if string(out) == "END\r\n" {
					continue
				}
				var flags, n int
				var name string
				if _, err := fmt.Sscanf(string(out), "VALUE %s %d %d\r\n", &name, &flags, &n); err != nil || flags != n {
					t.Errorf("%.60q: %v", out, err)
					return
				}
				_, rest, _ := bytes.Cut(out, []byte("\r\n"))
				if want := strings.Repeat(string(rune('a'+k)), n) + "\r\nEND\r\n"; string(rest) != want {
					t.Errorf("%.60q: torn value", out)
					return
				}
				converse(s, []byte("incr counter 1\r\nadd counter 0 0 1\r\n0\r\n"))
				if rng.IntN(100) == 0 {
					converse(s, []byte("stats\r\n"))
				}
			}
		})
	}
	wg.Wait()
	s := st.Stats()
	if s.CmdSet < workers*rounds || s.GetHits+s.GetMisses != workers*rounds {
		t.Errorf("%+v", s)
	}
}

func TestClock(t *testing.T) {
	st := newStore(t, nil)
	first := st.clock.now()
	if first < clockBegin {
		t.Errorf("begins at %d", first)
	}
	if !testutil.Poll(func() bool { return st.clock.now() > first }) {
		t.Error("the clock stands still")
	}
	if d := time.Now().Unix() - st.clock.unix(st.clock.now()); d < -1 || d > 2 {
		t.Errorf("%d seconds behind", d)
	}
	st.Close() // twice, with newStore's cleanup
}
