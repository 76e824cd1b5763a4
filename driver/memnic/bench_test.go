package memnic_test

import (
	"sync"
	"testing"

	"shardnet/driver"
	"shardnet/driver/memnic"
)

// BenchmarkReflect is the cost of a packet sent, received, turned round in place,
// sent back, received and released, by one goroutine for both ends.
func BenchmarkReflect(b *testing.B) {
	for _, c := range []struct {
		name                string
		queues, batch, size int
	}{
		{"queues=1/batch=1/size=64", 1, 1, 64},
		{"queues=1/batch=64/size=64", 1, 64, 64},
		{"queues=4/batch=64/size=64", 4, 64, 64},
		{"queues=1/batch=64/size=1514", 1, 64, 1514},
	} {
		b.Run(c.name, func(b *testing.B) {
			end := memnic.End{Queues: c.queues}
			near, far := newPair(b, &memnic.Config{A: end, B: end})
			fs := make([]driver.Frame, c.batch)
			template := make([][]byte, 64)
			for i := range template {
				template[i] = udp(make([]byte, c.size), uint16(i*331), 0, c.size)
			}
			b.ReportAllocs()
			b.SetBytes(int64(c.size))
			b.ResetTimer()
			for done := 0; done < b.N; done += c.batch {
				q := near.Queue(0)
				q.Alloc(fs)
				for i := range fs {
					fs[i].Data = append(fs[i].Data, template[i%64]...)
				}
				_, _ = q.Transmit(fs)
				_ = q.Flush()
				for i := range c.queues {
					q := far.Queue(i)
					n, _ := q.Receive(fs)
					for _, f := range fs[:n] {
						turn(f.Data)
					}
					_, _ = q.Transmit(fs[:n])
					_ = q.Flush()
				}
				for i := range c.queues {
					q := near.Queue(i)
					n, _ := q.Receive(fs)
					q.Release(fs[:n])
				}
			}
			if got := far.Queue(0).Stats(); got.RxDropped != 0 || got.RxPackets == 0 {
				b.Errorf("reflector: %+v", got)
			}
		})
	}
}

// turn swaps the addresses and ports of an IPv4 UDP packet.
func turn(b []byte) {
	var x [6]byte
	copy(x[:], b[0:6])
	copy(b[0:6], b[6:12])
	copy(b[6:12], x[:])
	copy(x[:4], b[26:30])
	copy(b[26:30], b[30:34])
	copy(b[30:34], x[:4])
}

// BenchmarkWake is the time from Wake to the owner's next turn and back.
func BenchmarkWake(b *testing.B) {
	near, far := newPair(b, nil)
	p, q := near.Queue(0), far.Queue(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			if q.Wait(-1) != nil {
				return
			}
			p.Wake()
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	b.ReportAllocs()
	for b.Loop() {
		q.Wake()
		if err := p.Wait(-1); err != nil {
			b.Fatal(err)
		}
	}
	close(stop)
	q.Wake()
	wg.Wait()
}
