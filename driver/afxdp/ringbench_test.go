package afxdp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/preflight"
)

// BenchmarkRings turns batches of packets round in place on rings in memory: the
// queue's own work, without the kernel's. The packets have been there before, so
// what gathering copies comes from the cache.
func BenchmarkRings(b *testing.B) {
	const batch = 64
	for _, c := range []struct{ mtu, size int }{{1500, 64}, {9000, 64}, {9000, 9014}} {
		b.Run(fmt.Sprintf("batch=%d/mtu=%d/size=%d", batch, c.mtu, c.size), func(b *testing.B) {
			l, err := newLayout(Config{RxRing: 1024, TxRing: 1024, Frames: 4096}, c.mtu)
			if err != nil {
				b.Fatal(err)
			}
			s := fakeSocket(l.total(), l.chunkSize, 1024, 1024)
			if n := l.total(); n&(n-1) != 0 {
				s.completion = fakeRing[uint64](1<<15, 0)
			}
			q := newQueue(s, l, c.mtu, false)
			fs := make([]driver.Frame, batch)
			b.SetBytes(int64(batch * c.size))
			for b.Loop() {
				for range batch {
					kernelDelivers(s, l, c.size)
				}
				n, err := q.Receive(fs)
				if n != batch || err != nil {
					b.Fatalf("received %d: %v", n, err)
				}
				if n, err := q.Transmit(fs); n != batch || err != nil {
					b.Fatalf("transmitted %d: %v", n, err)
				}
				kernelCompletes(s)
				q.reap()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/packet")
		})
	}
}

// kernelDelivers puts a packet of size bytes, whatever they are, in the RX ring.
func kernelDelivers(s *socket, l layout, size int) {
	for c, p := s.fill.consumer.Load(), s.rx.producer.Load(); size > 0; c, p = c+1, p+1 {
		d := &s.rx.entries[p&s.rx.mask]
		n := min(size, l.chunkSize-preflight.Headroom)
		*d = unix.XDPDesc{Addr: s.fill.entries[c&s.fill.mask] + preflight.Headroom, Len: uint32(n)}
		if size -= n; size > 0 {
			d.Options = unix.XDP_PKT_CONTD
		}
		s.fill.consumer.Store(c + 1)
		s.rx.producer.Store(p + 1)
	}
}

// kernelCompletes sends all there is.
func kernelCompletes(s *socket) {
	c, p := s.tx.consumer.Load(), s.completion.producer.Load()
	for ; c != s.tx.producer.Load(); c, p = c+1, p+1 {
		s.completion.entries[p&s.completion.mask] = s.tx.entries[c&s.tx.mask].Addr
	}
	s.tx.consumer.Store(c)
	s.completion.producer.Store(p)
}
