package afxdp

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/internal/wiretest"
	"shardnet/test/netlab"
)

// BenchmarkPingPong has batch packets go to a reflector at the other end of a
// veth pair and come back, one turn an iteration. With wait=sleep both sides sleep
// in Wait between batches, with wait=spin both poll. On veth a transmit pays for
// the peer's receive too, so a packet here is two transmits and two receives.
func BenchmarkPingPong(b *testing.B) {
	ia, ib := netlab.Pair(b, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	for _, wait := range []string{"sleep", "spin"} {
		for _, batch := range []int{1, 64} {
			b.Run(fmt.Sprintf("queues=1/batch=%d/size=64/wait=%s", batch, wait), func(b *testing.B) {
				benchmarkPingPong(b, ia, ib, batch, wait == "spin")
			})
		}
	}
}

func benchmarkPingPong(b *testing.B, ia, ib *netlab.Interface, batch int, spin bool) {
	da, err := openIn(ia, Config{Addresses: addresses("198.18.0.1")})
	if err != nil {
		b.Fatal(err)
	}
	defer da.Close()
	db, err := openIn(ib, Config{Addresses: addresses("198.18.0.2")})
	if err != nil {
		b.Fatal(err)
	}
	d := time.Duration(-1)
	if spin {
		d = 0
	}
	var reflector sync.WaitGroup
	reflector.Go(func() { reflect(b, db.Queue(0), d) })
	defer reflector.Wait()
	defer db.Close()

	q := da.Queue(0)
	ping := wiretest.UDPFrame(b, da.Info().MAC, db.Info().MAC, "198.18.0.1", "198.18.0.2", 64-42)
	fs := make([]driver.Frame, batch)
	b.SetBytes(int64(batch * len(ping)))
	for b.Loop() {
		if n := q.Alloc(fs); n != batch {
			b.Fatalf("%d frames to send in", n)
		}
		for i := range fs {
			fs[i].Data = append(fs[i].Data, ping...)
		}
		if n, err := q.Transmit(fs); n != batch || err != nil {
			b.Fatalf("transmitted %d: %v", n, err)
		}
		if err := q.Flush(); err != nil {
			b.Fatal(err)
		}
		for got := 0; got < batch; {
			n, err := q.Receive(fs)
			if err != nil {
				b.Fatal(err)
			}
			q.Release(fs[:n])
			got += n
			if got < batch && n == 0 {
				if err := q.Wait(d); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.N)*float64(batch)/b.Elapsed().Seconds(), "packets/s")
	b.ReportMetric(float64(q.Stats().Doorbells)/float64(b.N), "doorbells/op")
}

// reflect sends back what it receives until the queue is closed.
func reflect(b testing.TB, q driver.Queue, d time.Duration) {
	fs := make([]driver.Frame, 64)
	for {
		n, err := q.Receive(fs)
		for _, f := range fs[:n] {
			turn(f.Data)
		}
		if n > 0 && err == nil {
			if _, err = q.Transmit(fs[:n]); err == nil {
				err = q.Flush()
			}
		} else if err == nil {
			err = q.Wait(d)
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				b.Errorf("reflector: %v", err)
			}
			return
		}
	}
}

// turn swaps the addresses of an IPv4 frame, Ethernet's and IP's.
func turn(f []byte) {
	var mac [6]byte
	copy(mac[:], f[:6])
	copy(f[:6], f[6:12])
	copy(f[6:12], mac[:])
	var ip [4]byte
	copy(ip[:], f[26:30])
	copy(f[26:30], f[30:34])
	copy(f[30:34], ip[:])
}
