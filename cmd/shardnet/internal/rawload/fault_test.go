package rawload

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestLossyLink has a bad cable between the generator and a real TCP: everything
// is retransmitted that must be, and nothing wrong is seen.
func TestLossyLink(t *testing.T) {
	for _, job := range []struct {
		port uint16
		w    Work
	}{
		{echoPort, Work{Kind: TCPEcho, Conns: 64}},
		{echoPort, Work{Kind: TCPEcho, Conns: 8, Window: 4, Payload: 4000}},
		{echoPort, Work{Kind: TCPConnect, Conns: 64}},
		{memcachedPort, Work{Kind: MemcachedTCP, Conns: 32, Keys: 200, Value: 2000, Sets: 0.3}},
		{sourcePort, Work{Kind: BulkReceive, Conns: 2}},
		{sinkPort, Work{Kind: BulkSend, Conns: 2}},
		{echoPort, Work{Kind: Idle, Conns: 500}},
	} {
		t.Run(fmt.Sprintf("%v/conns=%d/payload=%d", job.w.Kind, job.w.Conns, job.w.Payload), func(t *testing.T) {
			t.Parallel()
			f := families[0]
			client, server := cable(t, 0)
			serveStack(t, server, f)
			g := generate(t, faulty(t, client, "drop=1%,dup=1%,reorder=1%,seed=5"), f, 4, echoPort)
			w := job.w
			w.Target = netip.AddrPortFrom(f.server, job.port)
			w.Duration, w.Timeout = 250*time.Millisecond, 3*time.Second
			r := run(t, g, w)
			t.Log(summary(r))
			if r.Requests+r.Bytes == 0 || r.Wrong+r.Failed+r.Resets+r.Lost != 0 {
				t.Errorf("%s", summary(r))
			}
			if w.Kind != BulkReceive && r.Retransmits == 0 {
				t.Errorf("nothing was sent again: %s", summary(r))
			}
			if (w.Kind == BulkReceive || w.Kind == BulkSend) && r.Bytes < 100<<10 {
				t.Errorf("stalled: %s", summary(r))
			}
			if w.Kind == Idle && r.Requests != uint64(w.Conns) {
				t.Errorf("%d of %d answered", r.Requests, w.Conns)
			}
		})
	}
}

// TestDamage has the cable flip bits: no frame that it changed may count as an
// answer, right or wrong.
func TestDamage(t *testing.T) {
	for _, f := range families {
		for _, w := range []Work{
			{Kind: UDPEcho, Conns: 8, Window: 32},
			{Kind: TCPEcho, Conns: 32},
		} {
			t.Run(fmt.Sprintf("%s/%v", f.name, w.Kind), func(t *testing.T) {
				t.Parallel()
				client, server := cable(t, 0)
				serveReflector(t, server, f)
				g := generate(t, faulty(t, client, "corrupt=2%,dir=rx,seed=3"), f, 1, echoPort)
				w.Duration, w.Timeout = 2*brief, 50*time.Millisecond
				r := run(t, g, w)
				if r.Requests == 0 || r.Damaged == 0 || r.Wrong != 0 {
					t.Errorf("%s", summary(r))
				}
			})
		}
	}
}
