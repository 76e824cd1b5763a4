package rawload

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

const brief = 80 * time.Millisecond // of measurement

func TestUDPReflected(t *testing.T) {
	for _, f := range families {
		for _, w := range []Work{
			{Kind: UDPEcho, Duration: brief},
			{Kind: UDPEcho, Duration: brief, Conns: 64, Window: 64, Warmup: 20 * time.Millisecond},
			{Kind: UDPEcho, Duration: brief, Conns: 3, Window: 200, Payload: 8},
			{Kind: UDPEcho, Duration: brief, Conns: 5, Window: 7, Payload: 1431},
			{Kind: UDPEcho, Duration: brief, Conns: 16, Rate: 20000},
			{Kind: MemcachedUDP, Duration: brief, Keys: 1000, Conns: 8, Window: 64},
			{Kind: MemcachedUDP, Duration: brief, Keys: 1000, Conns: 1, Window: 64, Zipf: 1.2, Sets: 0.3, Value: 1000},
			{Kind: MemcachedUDP, Duration: brief, Keys: 10, Sets: 1, Value: 1},
		} {
			t.Run(fmt.Sprintf("%s/%v/conns=%d/window=%d/payload=%d/value=%d", f.name, w.Kind, w.Conns, w.Window, w.Payload, w.Value), func(t *testing.T) {
				client, server := cable(t, 0)
				serveReflector(t, server, f)
				g := generate(t, client, f, 5, 7)
				r := run(t, g, w)
				faultless(t, r)
				if r.Late != 0 {
					t.Errorf("late answers: %s", summary(r))
				}
				if w.Rate > 0 {
					if want := w.Rate * brief.Seconds(); float64(r.Requests+r.Unsent) < 0.9*want || float64(r.Requests) > want+1 {
						t.Errorf("%d requests at %v/s", r.Requests, w.Rate)
					}
				}
			})
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			client, _ := cable(t, 0)
			g := generate(t, client, f, 2, 7)
			_, err := g.Run(context.Background(), Work{Kind: UDPEcho})
			if !errors.Is(err, ErrNoNeighbor) {
				t.Errorf("run without a server: %v", err)
			}
		})
	}
}
