package memcached

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"testing"
)

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
