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
			{Kind: Idle, Conns: 2000, Hold: 20 * time.Millisecond},
		} {
			t.Run(fmt.Sprintf("%s/%v/conns=%d/window=%d/payload=%d", f.name, w.Kind, w.Conns, w.Window, w.Payload), func(t *testing.T) {
				client, server := cable(t, 0)
				reflect(t, server, f)
				g := generate(t, client, f, 5, 7)
				r := run(t, g, w)
				faultless(t, r)
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
