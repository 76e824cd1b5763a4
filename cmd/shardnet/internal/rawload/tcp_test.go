package rawload

import (
	"fmt"
	"testing"
	"time"
)

func TestTCPReflected(t *testing.T) {
	for _, f := range families {
		for _, w := range []Work{
			{Kind: TCPEcho, Duration: brief},
			{Kind: TCPEcho, Duration: brief, Conns: 64, Warmup: 20 * time.Millisecond},
			{Kind: TCPEcho, Duration: brief, Conns: 300, Window: 3, Payload: 1},
			{Kind: TCPEcho, Duration: brief, Conns: 3, Window: 4, Payload: 10000},
			{Kind: TCPEcho, Duration: brief, Conns: 16, Rate: 20000},
			{Kind: TCPConnect, Duration: brief, Conns: 32},
			{Kind: TCPConnect, Duration: brief, Conns: 32, Rate: 5000},
			{Kind: MemcachedTCP, Duration: brief, Conns: 16, Keys: 1000},
			{Kind: MemcachedTCP, Duration: brief, Conns: 3, Keys: 10, Sets: 0.5, Zipf: 1.1, Value: 900},
			{Kind: BulkSend, Duration: brief, Conns: 2},
			{Kind: Idle, Conns: 2000, Hold: 20 * time.Millisecond},
		} {
			t.Run(fmt.Sprintf("%s/%v/conns=%d/window=%d/payload=%d", f.name, w.Kind, w.Conns, w.Window, w.Payload), func(t *testing.T) {
				client, server := cable(t, 0)
				serveReflector(t, server, f)
				port := uint16(7)
				if w.Kind == BulkSend {
					port = 9
				}
				g := generate(t, client, f, 5, port)
				r := run(t, g, w)
				if w.Kind == BulkSend {
					t.Log(summary(r))
					if r.Bytes == 0 || r.Wrong+r.Failed+r.Resets != 0 {
						t.Errorf("bulk: %s", summary(r))
					}
				} else {
					faultless(t, r)
				}
				if r.Retransmits != 0 || r.OutOfOrder != 0 {
					t.Errorf("a cable without loss: %s", summary(r))
				}
				switch {
				case w.Kind == TCPConnect && uint64(r.Connected) < r.Requests:
					t.Errorf("%d requests on %d connections", r.Requests, r.Connected)
				case w.Kind == Idle && r.Requests != uint64(w.Conns):
					t.Errorf("%d of %d were answered", r.Requests, w.Conns)
				case w.Kind != TCPConnect && r.Connected != max(w.Conns, 1):
					t.Errorf("%d of %d connected", r.Connected, w.Conns)
				}
				if w.Rate > 0 {
					if want := w.Rate * brief.Seconds(); float64(r.Requests+r.Unsent) < 0.9*want || float64(r.Requests) > want+1 {
						t.Errorf("%d requests at %v/s", r.Requests, w.Rate)
					}
				}
				if g.ports.free != g.ports.size() {
					t.Errorf("%d ports were not given back", g.ports.size()-g.ports.free)
				}
			})
		}
	}
}
