package rawload

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// mirror is a queue whose far end is reflected by its own goroutine, in Flush: so
// that one core's time is all there is, and is the same every time.
type mirror struct {
	driver.Queue
	r *reflector
}

func (q *mirror) Flush() error {
	if err := q.Queue.Flush(); err != nil {
		return err
	}
	for {
		n, err := q.r.link.q.Receive(q.r.rx[:])
		if n == 0 || err != nil {
			return err
		}
		if err := q.r.turn(n); err != nil {
			return err
		}
	}
}

func mirrored(t testing.TB, f family) (*Generator, *mirror) {
	client, server := cable(t, 0)
	r, err := newReflector(server.Queue(0), server.Info(), f.own())
	if err != nil {
		t.Fatal(err)
	}
	g := generate(t, client, f, 4, echoPort)
	m := &mirror{Queue: client.Queue(0), r: r}
	g.link.q = m
	return g, m
}

var costs = []Work{
	{Kind: UDPEcho, Conns: 64, Window: 64},
	{Kind: MemcachedUDP, Conns: 64, Window: 64, Keys: 10000},
	{Kind: TCPEcho, Conns: 1},
	{Kind: TCPEcho, Conns: 64},
	{Kind: TCPEcho, Conns: 512},
	{Kind: MemcachedTCP, Conns: 64, Keys: 10000},
	{Kind: TCPConnect, Conns: 64},
}

// BenchmarkGenerate is the cost of a request to the generator, the reflector and
// the cable between them, all on one core: the generator can't make less load than
// that says. Allocations are over all of a Run, by request.
func BenchmarkGenerate(b *testing.B) {
	for _, w := range costs {
		b.Run(fmt.Sprintf("%v/conns=%d", w.Kind, w.Conns), func(b *testing.B) {
			g, _ := mirrored(b, families[0])
			w.Duration, w.Warmup = 200*time.Millisecond, 10*time.Millisecond
			var requests uint64
			var elapsed time.Duration
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for b.Loop() {
				r := run(b, g, w)
				faultless(b, r)
				requests += r.Requests
				elapsed += r.Elapsed
			}
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(elapsed.Nanoseconds())/float64(requests), "ns/request")
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/float64(requests), "allocs/request")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkReflect is the cost of an answer to the reflector alone.
func BenchmarkReflect(b *testing.B) {
	for _, payload := range []int{64, 1400} {
		b.Run(fmt.Sprintf("udp/size=%d", payload), func(b *testing.B) {
			g, m := mirrored(b, families[0])
			w := Work{Kind: UDPEcho, Conns: 1, Payload: payload, Duration: time.Millisecond}
			run(b, g, w)
			frame := make([]byte, 2048)
			u := g.newUDPLoad(&Work{Window: 1}, []udpFlow{{0, firstPort}}, &echoDatagrams{payload: payload, pattern: pattern()})
			n := u.d.encode(frame[wire.EthernetLen+wire.IPv4Len+wire.UDPLen:], 0, &u.slots[0])
			size := u.templates[0].udp(frame, firstPort, echoPort, n)
			ask := append([]byte(nil), frame[:size]...)
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				copy(frame, ask[:wire.EthernetLen+wire.IPv4Len+wire.UDPLen])
				if m.r.answer(frame[:size], len(frame)) != size {
					b.Fatal("no answer")
				}
			}
		})
	}
}

// TestAllocations holds a Run to the allocations of its beginning and end: none is
// a request's.
func TestAllocations(t *testing.T) {
	for _, w := range costs {
		t.Run(fmt.Sprintf("%v/conns=%d", w.Kind, w.Conns), func(t *testing.T) {
			g, _ := mirrored(t, families[0])
			allocations := func(d time.Duration) (mallocs, requests uint64) {
				w.Duration = d
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				r, err := g.Run(context.Background(), w)
				runtime.ReadMemStats(&after)
				if err != nil {
					t.Fatal(err)
				}
				return after.Mallocs - before.Mallocs, r.Requests
			}
			allocations(10 * time.Millisecond)
			mallocs, requests := allocations(60 * time.Millisecond)
			if requests < 100 || mallocs > 300+requests/200 {
				t.Errorf("%d allocations in %d requests", mallocs, requests)
			}
		})
	}
}
