package memcached

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

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
