package wiretest

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
)

// PingPong has batch packets of 64 bytes go from queue 0 of a to a reflector on
// queue 0 of b and come back, one turn an iteration. With spin both sides poll,
// without both sleep in Wait between batches. a is 198.18.0.1 and b 198.18.0.2; b
// is closed at the end.
//
// On veth a transmit pays for the peer's receive too, so a packet here is two
// transmits and two receives.
func PingPong(b *testing.B, from, to driver.Device, batch int, spin bool) {
	d := time.Duration(-1)
	if spin {
		d = 0
	}
	var reflector sync.WaitGroup
	reflector.Go(func() { reflect(b, to.Queue(0), d) })
	defer reflector.Wait()
	defer to.Close()

	q := from.Queue(0)
	ping := UDPFrame(b, from.Info().MAC, to.Info().MAC, "198.18.0.1", "198.18.0.2", 64-42)
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
			swapEndpoints(f.Data)
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

// swapEndpoints swaps the addresses of an IPv4 frame, Ethernet's and IP's.
func swapEndpoints(f []byte) {
	var mac [6]byte
	copy(mac[:], f[:6])
	copy(f[:6], f[6:12])
	copy(f[6:12], mac[:])
	var ip [4]byte
	copy(ip[:], f[26:30])
	copy(f[26:30], f[30:34])
	copy(f[30:34], ip[:])
}
