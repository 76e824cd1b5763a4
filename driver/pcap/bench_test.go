package pcap

import (
	"fmt"
	"io"
	"testing"

	"shardnet/driver"
	"shardnet/driver/memnic"
)

// BenchmarkForward is one owner that answers in place what another sends, with
// and without a capture: the difference, for twice the packets, is its price on
// the data path. Frames lost to the capture are reported.
func BenchmarkForward(b *testing.B) {
	for _, capture := range []bool{false, true} {
		b.Run(fmt.Sprintf("capture=%v/queues=1/batch=64/size=64", capture), func(b *testing.B) {
			mem, peer, err := memnic.NewPair(nil)
			if err != nil {
				b.Fatal(err)
			}
			defer peer.Close()
			var dev driver.Device = mem
			var d *Device
			if capture {
				if d, err = Wrap(dev, io.Discard, nil); err != nil {
					b.Fatal(err)
				}
				dev = d
			}
			defer dev.Close()
			q, pq := dev.Queue(0), peer.Queue(0)
			fs := make([]driver.Frame, 64)
			frame := make([]byte, 64)
			frame[12], frame[13] = 0x88, 0xb5
			b.ResetTimer()
			for n := 0; n < b.N; n += 64 {
				k := pq.Alloc(fs)
				for i := range fs[:k] {
					fs[i].Data = append(fs[i].Data, frame...)
				}
				pq.Transmit(fs[:k])
				pq.Flush()
				k, _ = q.Receive(fs)
				q.Transmit(fs[:k])
				q.Flush()
				k, _ = pq.Receive(fs)
				pq.Release(fs[:k])
			}
			b.StopTimer()
			if d != nil {
				c := d.Counts(0)
				b.ReportMetric(100*float64(c.Lost)/float64(c.Lost+c.Written+1), "%lost")
			}
		})
	}
}
