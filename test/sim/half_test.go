package sim

import (
	"testing"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack/tcp"
)

// TestHalfClosedReceiver sends to a peer that has closed its own half at once. A netstack then
// has agreed to SACK and reports none: three duplicate ACKs must do.
func TestHalfClosedReceiver(t *testing.T) {
	for _, tc := range []struct {
		name  string
		hosts [2]maker
	}{
		{"ours", [2]maker{anEngine(tcp.Config{}), anEngine(tcp.Config{})}},
		{"to netstack", [2]maker{anEngine(tcp.Config{}), aNetstack("cubic")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, [2]fault.Config{{Seed: 1, Drop: 0.01, Delay: 10 * time.Millisecond, Rate: matrixRate, Queue: 256}, {Seed: 2, Delay: 10 * time.Millisecond}}, tc.hosts)
			const size = 2 << 20
			dst := newApp(w.hosts[1].sock(t, false), 1, 1, size, 1<<16) // one byte, and its FIN
			src := newApp(w.hosts[0].sock(t, true), 0, size, 1, 1<<16)
			if !w.run(t, time.Minute, func() bool { return dst.closed && src.closed }) || dst.err != nil || src.err != nil {
				t.Fatalf("got %d of %d bytes: %v, %v", dst.got, size, dst.err, src.err)
			}
			_, again, timeouts := w.hosts[0].counts()
			took := time.Duration(w.clock.read() - epoch)
			t.Logf("%v, %d sent again, %d timeouts", took, again, timeouts)
			if timeouts > 2 || took > 4*time.Second {
				t.Errorf("%v, %d timeouts", took, timeouts)
			}
		})
	}
}
