package socketapi

import (
	"fmt"
	"io"
	"testing"
)

// BenchmarkEcho is request and response over two stacks on a cable in memory: all
// of both ends, in one process. Its allocations are those of the stacks.
func BenchmarkEcho(b *testing.B) {
	for _, transport := range transports {
		for _, conns := range []int{1, 64} {
			b.Run(fmt.Sprintf("tcp=%v/queues=1/conns=%d/size=64", transport, conns), func(b *testing.B) {
				benchmarkEcho(b, newStackWorld(b, 1, transport), conns)
			})
		}
	}
}

func benchmarkEcho(b *testing.B, w *world, conns int) {
	g := w.listen(b, "tcp", "198.18.0.1:0")
	echo(b, g)
	start, done := make(chan int), make(chan error)
	for range conns {
		c := w.dial(b, "tcp", g.Addr().String())
		go func() {
			buf := make([]byte, 64)
			for n := range start {
				var err error
				for i := 0; i < n && err == nil; i++ {
					if _, err = c.Write(buf); err == nil {
						_, err = io.ReadFull(c, buf)
					}
				}
				done <- err
			}
		}()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range conns {
		start <- b.N/conns + 1
	}
	for range conns {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	close(start)
}

// BenchmarkEchoFake is the same without stacks: what this package and the
// scheduler cost.
func BenchmarkEchoFake(b *testing.B) {
	w := newFakeWorld(b, 1)
	g := w.listen(b, "tcp", "198.18.0.1:0")
	echo(b, g)
	c := w.dial(b, "tcp", g.Addr().String())
	buf := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAccept opens, accepts and closes connections, on fakes.
func BenchmarkAccept(b *testing.B) {
	for _, shards := range []int{1, 4} {
		b.Run(fmt.Sprintf("queues=%d", shards), func(b *testing.B) {
			w := newFakeWorld(b, shards)
			g := w.listen(b, "tcp", "198.18.0.1:0")
			address := g.Addr().String()
			b.ReportAllocs()
			for b.Loop() {
				c, err := w.tryDial("tcp", address)
				if err != nil {
					b.Fatal(err)
				}
				s, err := g.Accept()
				if err != nil {
					b.Fatal(err)
				}
				s.Close()
				c.Close()
			}
		})
	}
}
