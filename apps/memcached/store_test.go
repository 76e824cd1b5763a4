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

// TestMemoryLimit stores ten times what the limit allows: the process's heap
// stays within limit and index, and what was stored last is there.
func TestMemoryLimit(t *testing.T) {
	for _, size := range []int{0, 100, 1000, 100_000} {
		t.Run(fmt.Sprintf("size=%d", size), func(t *testing.T) {
			const limit = 2 << 20
			before := heap()
			st := newStore(t, &StoreConfig{MemoryLimit: limit, MaxItemSize: 200 << 10})
			value := bytes.Repeat([]byte("v"), size)
			n := 10 * limit / (size + 64)
			peak := int64(0)
			for i := range n {
				if err := st.Set(strconv.AppendInt(nil, int64(i), 10), value, 0, 0); err != nil {
					t.Fatal(err)
				}
				if i%(n/20) == 0 {
					peak = max(peak, heap()-before)
				}
			}
			s := st.Stats()
			t.Logf("%d items, %d evictions, %.1f MiB used, %.1f allocated, %.1f index, peak of the heap %.1f MiB",
				s.Items, s.Evictions, mib(s.Bytes), mib(s.Allocated), mib(s.IndexBytes), mib(peak))
			if s.Bytes > limit || s.Allocated > limit || s.MemoryLimit > limit {
				t.Errorf("limit %d: %+v", limit, s)
			}
			if most := int64(limit + limit/16 + 512<<10); peak > most {
				t.Errorf("the heap grew by %d, more than %d", peak, most)
			}
			if uint64(s.Items)+s.Evictions != uint64(n) || s.Evictions < uint64(n)*8/10 {
				t.Errorf("%d items stored, %d there, %d evicted", n, s.Items, s.Evictions)
			}
			if s.EvictedUnfetched != s.Evictions {
				t.Errorf("%d of %d evicted items were not fetched, and nothing was", s.EvictedUnfetched, s.Evictions)
			}
			if _, _, ok := st.Get(nil, strconv.AppendInt(nil, int64(n-1), 10)); !ok {
				t.Error("the last item is not there")
			}
			// An item costs what was said of it, and all of it comes back.
			for i := range n {
				st.Delete(strconv.AppendInt(nil, int64(i), 10))
			}
			if s := st.Stats(); s.Items != 0 || s.Bytes != 0 {
				t.Errorf("empty, and %d items, %d bytes are in use", s.Items, s.Bytes)
			}
			runtime.KeepAlive(st)
		})
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// heap is the number of bytes in live or not yet swept objects, after a
// collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOverhead holds what is said of an item's memory: its header, half a unit on
// average, and nothing else.
func TestOverhead(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 1})
	for _, test := range []struct{ key, value, bytes int }{
		{1, 0, 64}, {10, 0, 64}, {11, 0, 96}, {10, 64, 128}, {10, 65, 160}, {250, 1000, 1312}, {4, 200_000, 200_064},
	} {
		before := st.Stats().Bytes
		if err := st.Set(bytes.Repeat([]byte("k"), test.key), make([]byte, test.value), 0, 0); err != nil {
			t.Fatal(err)
		}
		if got := st.Stats().Bytes - before; got != int64(test.bytes) {
			t.Errorf("key of %d, value of %d bytes: %d bytes, want %d", test.key, test.value, got, test.bytes)
		}
		st.Delete(bytes.Repeat([]byte("k"), test.key))
	}
}

// TestLRUOrder: without reads, what leaves is exactly what came first.
func TestLRUOrder(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: 4 << 20})
	value := make([]byte, 500)
	const n = 30000
	for i := range n {
		if err := st.Set(fmt.Appendf(nil, "%06d", i), value, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	kept := st.Stats().Items
	for i := range n {
		if _, _, ok := st.Get(nil, fmt.Appendf(nil, "%06d", i)); ok != (i >= n-kept) {
			t.Fatalf("item %d of %d found: %v, with %d kept", i, n, ok, kept)
		}
	}
}

// TestLRUKeepsWhatIsUsed: items that are read, overwritten or touched while less
// than seven eighths of the cache turn over stay; the others leave in order.
func TestLRUKeepsWhatIsUsed(t *testing.T) {
	for name, use := range map[string]func(*Store, []byte) bool{
		"get":   func(st *Store, k []byte) bool { _, _, ok := st.Get(nil, k); return ok },
		"touch": func(st *Store, k []byte) bool { return st.touch(k, 0) },
		"incr":  func(st *Store, k []byte) bool { _, result := st.delta(k, false, 1); return result == stored },
		"set":   func(st *Store, k []byte) bool { return st.Set(k, []byte("1000000000"), 0, 0) == nil },
		"add": func(st *Store, k []byte) bool {
			result, _ := st.store(&storing{mode: modeAdd, key: k}, []byte("1"))
			return result == notStored
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: 1 << 20, MaxItemSize: 100 << 10})
			hot := func(i int) []byte { return fmt.Appendf(nil, "hot%03d", i) }
			const hots = 100
			for i := range hots {
				st.Set(hot(i), []byte("1000000000"), 0, 0)
			}
			filled := 0
			for st.Stats().Evictions == 0 {
				st.Set(fmt.Appendf(nil, "fill%08d", filled), []byte("1000000000"), 0, 0)
				filled++
				if filled%1000 == 0 {
					for i := range hots {
						if !use(st, hot(i)) {
							t.Fatalf("%s is gone before anything was evicted", hot(i))
						}
					}
				}
			}
			items := st.Stats().Items
			for turn := range 8 {
				for range items * 3 / 4 {
					st.Set(fmt.Appendf(nil, "fill%08d", filled), []byte("1000000000"), 0, 0)
					filled++
				}
				for i := range hots {
					if !use(st, hot(i)) {
						t.Fatalf("turn %d: %s was evicted", turn, hot(i))
					}
				}
			}
			if s := st.Stats(); s.Evictions < uint64(items)*4 {
				t.Errorf("%d evictions", s.Evictions)
			}
		})
	}
}

// TestExpiredGoFirst: a full store frees what is dead before what is alive.
func TestExpiredGoFirst(t *testing.T) {
	clock := newFakeClock()
	st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: 4 << 20, Now: clock.now})
	value := make([]byte, 400)
	n := 0
	for st.Stats().Evictions == 0 {
		exptime := int64(0)
		if n%2 == 0 {
			exptime = 10
		}
		st.Set(fmt.Appendf(nil, "k%07d", n), value, 0, exptime)
		n++
	}
	st.ResetStats()
	clock.advance(time.Minute)
	for i := range n / 3 {
		st.Set(fmt.Appendf(nil, "new%05d", i), value, 0, 0)
	}
	s := st.Stats()
	t.Logf("%d evictions, %d reclaimed", s.Evictions, s.Reclaimed)
	if s.Reclaimed < uint64(n)*8/30 || s.Evictions > uint64(n)/15 {
		t.Errorf("of %d items half are expired; %d were reclaimed, %d evicted", n, s.Reclaimed, s.Evictions)
	}
}

func TestNoEviction(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 1, MemoryLimit: 4 << 20, NoEviction: true})
	s := newSession(t, st)
	value := strings.Repeat("v", 1000)
	full := 0
	for i := range 10000 {
		switch got := say(t, s, fmt.Sprintf("add k%d 0 0 1000\r\n%s\r\n", i, value)); got {
		case "STORED\r\n":
		case "SERVER_ERROR out of memory storing object\r\n":
			full++
		default:
			t.Fatal(got)
		}
	}
	got := st.Stats()
	if got.Evictions != 0 || got.StoreNoMemory != uint64(full) || got.Items != 10000-full || got.Bytes < got.MemoryLimit*99/100 {
		t.Errorf("%d refused, %+v", full, got)
	}
	if got := say(t, s, "get k0\r\n"); !strings.HasPrefix(got, "VALUE k0 0 1000") {
		t.Errorf("%.50q", got)
	}
	// What can't be stored leaves nothing outdated behind.
	if got := say(t, s, "set k0 0 0 500000\r\n"+strings.Repeat("n", 500000)+"\r\nget k0\r\n"); got != "SERVER_ERROR out of memory storing object\r\nEND\r\n" {
		t.Errorf("%.100q", got)
	}
	if got := say(t, s, "append k1 0 0 500000\r\n"+strings.Repeat("n", 500000)+"\r\nget k1\r\n"); !strings.HasPrefix(got, "NOT_STORED\r\nVALUE k1 0 1000") {
		t.Errorf("%.100q", got)
	}
}

func TestSetMemoryLimit(t *testing.T) {
	st := newStore(t, &StoreConfig{Shards: 2, MemoryLimit: 32 << 20})
	fill := func(tag string) {
		for i := range 100_000 {
			st.Set(fmt.Appendf(nil, "%s%d", tag, i), make([]byte, 500), 0, 0)
		}
	}
	fill("a")
	full := st.Stats()
	if full.Allocated != 32<<20 {
		t.Fatalf("%+v", full)
	}
	if err := st.SetMemoryLimit(8 << 20); err != nil {
		t.Fatal(err)
	}
	low := st.Stats()
	if low.MemoryLimit != 8<<20 || low.Bytes > 8<<20 || low.Items > full.Items/3 {
		t.Errorf("lowered: %+v", low)
	}
	t.Logf("after lowering: %.1f MiB used, %.1f allocated", mib(low.Bytes), mib(low.Allocated))
	checkStore(t, st)
	fill("b")
	if s := st.Stats(); s.Bytes > 8<<20 {
		t.Errorf("filled again: %+v", s)
	}
	checkStore(t, st)
	if err := st.SetMemoryLimit(64 << 20); err != nil {
		t.Fatal(err)
	}
	fill("c")
	if s := st.Stats(); s.Allocated <= 32<<20 || s.Bytes <= 32<<20 {
		t.Errorf("raised: %+v", s)
	}
	// Everything goes, and then the memory.
	st.Flush(0)
	if err := st.SetMemoryLimit(1 << 20); err != nil {
		t.Fatal(err)
	}
	for i := range 100_000 {
		st.Delete(fmt.Appendf(nil, "c%d", i))
	}
	if s := st.Stats(); s.Allocated > 1<<20 {
		t.Errorf("empty: %+v", s)
	}
	if err := st.SetMemoryLimit(0); err == nil {
		t.Error("limit 0 was accepted")
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
	if !eventually(func() bool { return st.clock.now() > first }) {
		t.Error("the clock stands still")
	}
	if d := time.Now().Unix() - st.clock.unix(st.clock.now()); d < -1 || d > 2 {
		t.Errorf("%d seconds behind", d)
	}
	st.Close() // twice, with newStore's cleanup
}

// BenchmarkStoreParallel is what shards are for. A tenth of the operations are
// sets.
func BenchmarkStoreParallel(b *testing.B) {
	for _, shards := range []int{1, 8} {
		b.Run(fmt.Sprintf("shards=%d/size=1024", shards), func(b *testing.B) {
			st := newStore(b, &StoreConfig{Shards: shards, MemoryLimit: 256 << 20})
			const keys = 100_000
			value := make([]byte, 1024)
			for i := range keys {
				if err := st.Set(fmt.Appendf(nil, "key:%d", i), value, 0, 0); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				rng := rand.New(rand.NewPCG(rand.Uint64(), 0))
				key, out := make([]byte, 0, 20), make([]byte, 0, 4096)
				for pb.Next() {
					n := rng.IntN(keys)
					key = strconv.AppendInt(append(key[:0], "key:"...), int64(n), 10)
					if n%10 == 0 {
						_ = st.Set(key, out[:1024], 0, 0)
					} else {
						_, _, _ = st.Get(out, key)
					}
				}
			})
		})
	}
}

// BenchmarkStoreEvicting sets new keys in a store that is full.
func BenchmarkStoreEvicting(b *testing.B) {
	for name, exptime := range map[string]int64{"immortal": 0, "mortal": 1000} {
		b.Run(fmt.Sprintf("%s/size=64", name), func(b *testing.B) {
			st := newStore(b, &StoreConfig{Shards: 1, MemoryLimit: 256 << 20})
			key, value := make([]byte, 0, 20), make([]byte, 64)
			i := 0
			set := func() {
				key = strconv.AppendInt(append(key[:0], "key:"...), int64(i)*7919, 36)
				if err := st.Set(key, value, 0, exptime); err != nil {
					b.Fatal(err)
				}
				i++
			}
			for st.Stats().Evictions == 0 {
				for range 1000 {
					set()
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				set()
			}
		})
	}
}
