package loop

import "testing"

// What the Poller does with packets that come every gap nanoseconds.
func TestPoller(t *testing.T) {
	const max = 50_000
	for _, tt := range []struct {
		name         string
		max, gap     int64
		before       int64 // window
		polled, upTo int64 // time polled for each packet, in the end
	}{
		{"steady traffic is polled for", max, 20_000, 0, 20_000, max},
		{"to the very end of the window", max, max, 0, max, max},
		{"rare packets are not", max, 1_000_000, max, 0, 0},
		{"nothing is when polling is off", 0, 100, 0, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Poller{max: tt.max, window: tt.before}
			now, polled := int64(1e9), int64(0)
			p.NoteWork(now)
			for range 20 {
				next := now + tt.gap
				polled = 0
				for now < next && p.Poll(now) {
					now += 100
					polled += 100
				}
				p.Poll(now)
				now = next
				p.NoteWork(now)
			}
			if polled != tt.polled || p.window != tt.upTo {
				t.Errorf("polled for %d ns of %d, window %d; want %d, %d", polled, tt.gap, p.window, tt.polled, tt.upTo)
			}
		})
	}
}

// One late packet in steady traffic halves the window; the next in time opens it
// again.
func TestPollerForgivesALatePacket(t *testing.T) {
	p := Poller{max: 50_000, window: 50_000, last: 1e9}
	p.Poll(1e9 + 50_000)
	p.NoteWork(1e9 + 80_000)
	if p.window != 25_000 {
		t.Errorf("window is %d after one late packet", p.window)
	}
	p.Poll(1e9 + 80_100)
	p.NoteWork(1e9 + 90_000)
	if p.window != 50_000 {
		t.Errorf("window is %d when traffic goes on", p.window)
	}
}
