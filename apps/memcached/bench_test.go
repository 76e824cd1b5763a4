package memcached

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

func BenchmarkSession(b *testing.B) {
	for _, size := range []int{64, 1024, 100_000} {
		value := strings.Repeat("v", size)
		set := fmt.Sprintf("set key:%%07d 0 0 %d\r\n%s\r\n", size, value)
		keys := min(100_000, (48<<20)/(size+100))
		for name, request := range map[string]string{"get": "get key:%07d\r\n", "set": set} {
			b.Run(fmt.Sprintf("%s/size=%d", name, size), func(b *testing.B) {
				st := newStore(b, nil)
				s := newSession(b, st)
				out := make([]byte, 0, 256<<10)
				for i := range keys {
					s.Process(fmt.Appendf(nil, set, i), out)
				}
				in := make([][]byte, 512)
				for i := range in {
					in[i] = fmt.Appendf(nil, request, i*7919%keys)
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					s.Process(in[i%len(in)], out)
					i++
				}
			})
		}
	}
}

// BenchmarkTCP is over loopback, client included: what it is good for is
// comparison, and the allocations.
func BenchmarkTCP(b *testing.B) {
	value := strings.Repeat("v", 64)
	hit := "VALUE k 0 64\r\n" + value + "\r\nEND\r\n"
	for _, bench := range []struct {
		name, in, out string
		pipelined     int
	}{
		{"get", "get k\r\n", hit, 1},
		{"set", "set k 0 0 64\r\n" + value + "\r\n", "STORED\r\n", 1},
		{"get", "get k\r\n", hit, 32},
	} {
		b.Run(fmt.Sprintf("%s/pipelined=%d", bench.name, bench.pipelined), func(b *testing.B) {
			_, rig := start(b, newStore(b, nil), nil)
			c := rig.Dial(b, "tcp")
			_ = c.SetDeadline(time.Time{})
			fmt.Fprintf(c, "set k 0 0 64\r\n%s\r\n", value)
			if _, err := io.ReadFull(c, make([]byte, len("STORED\r\n"))); err != nil {
				b.Fatal(err)
			}
			in := bytes.Repeat([]byte(bench.in), bench.pipelined)
			out := make([]byte, len(bench.out)*bench.pipelined)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Write(in); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(c, out); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*bench.pipelined)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

func BenchmarkUDP(b *testing.B) {
	srv, rig := start(b, newStore(b, nil), nil)
	if err := srv.store.Set([]byte("k"), make([]byte, 64), 0, 0); err != nil {
		b.Fatal(err)
	}
	c := rig.Dial(b, "udp")
	_ = c.SetDeadline(time.Time{})
	in, out := []byte("\x00\x01\x00\x00\x00\x01\x00\x00get k\r\n"), make([]byte, 1500)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(in); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Read(out); err != nil {
			b.Fatal(err)
		}
	}
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
