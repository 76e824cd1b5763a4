package rawload

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
)

// bent is a queue that does something to what its owner transmits, or delays what
// it receives.
type bent struct {
	driver.Queue
	bend  func(n int, frame []byte) (send bool) // n counts data packets
	n     int
	stall func() // called in each Receive
}

func (q *bent) Receive(fs []driver.Frame) (int, error) {
	if q.stall != nil {
		q.stall()
	}
	return q.Queue.Receive(fs)
}

func (q *bent) Transmit(fs []driver.Frame) (int, error) {
	if q.bend == nil {
		return q.Queue.Transmit(fs)
	}
	for i := range fs {
		var p packet
		if c := p.parse(fs[i].Data, false); (c == isUDP || c == isTCP) && len(p.payload) > 0 {
			if q.n++; !q.bend(q.n, p.payload) {
				q.Queue.Release(fs[i : i+1])
				continue
			}
		}
		for {
			n, err := q.Queue.Transmit(fs[i : i+1])
			if err != nil {
				return i, err
			}
			if n == 1 {
				break
			}
			if err := q.Queue.Flush(); err != nil {
				return i, err
			}
		}
	}
	return len(fs), nil
}

// serveBent reflects on a queue that b bends.
func serveBent(t testing.TB, dev driver.Device, f family, b *bent) {
	t.Helper()
	b.Queue = dev.Queue(0)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Reflect(ctx, b, dev.Info(), f.own()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("reflector: %v", err)
		}
	})
}

// exchange exchanges two words, which no checksum notices.
func exchange(b []byte, i, j int) bool {
	b[i], b[i+1], b[j], b[j+1] = b[j], b[j+1], b[i], b[i+1]
	return true
}

// TestWrongAnswers has a server spoil one answer in a hundred, with good
// checksums.
func TestWrongAnswers(t *testing.T) {
	for _, tc := range []struct {
		name string
		w    Work
		want string
		bend func(n int, payload []byte) bool
	}{
		{"udp payload", Work{Kind: UDPEcho, Conns: 4}, "echo differs", func(n int, b []byte) bool {
			return n%100 != 0 || exchange(b, 16, 62)
		}},
		{"udp request number", Work{Kind: UDPEcho, Conns: 4}, "no request", func(n int, b []byte) bool {
			return n%100 != 0 || exchange(b, 6, 30)
		}},
		{"memcached udp value", Work{Kind: MemcachedUDP, Conns: 4, Keys: 10}, "another value", func(n int, b []byte) bool {
			return n%100 != 0 || len(b) < 60 || exchange(b, 50, 60)
		}},
		{"memcached udp key", Work{Kind: MemcachedUDP, Conns: 4, Keys: 10}, "key, flags and size", func(n int, b []byte) bool {
			return n%100 != 0 || len(b) < 60 || exchange(b, 16, 20)
		}},
		{"memcached tcp value", Work{Kind: MemcachedTCP, Conns: 4, Keys: 10}, "another key, flags, size or value", func(n int, b []byte) bool {
			return n < 200 || len(b) < 60 || exchange(b, 50, 60)
		}},
		{"memcached tcp stored", Work{Kind: MemcachedTCP, Conns: 4, Keys: 10, Sets: 1}, "STORED", func(n int, b []byte) bool {
			return n < 200 || exchange(b, 0, 4)
		}},
		{"tcp payload", Work{Kind: TCPEcho, Conns: 4}, "echo differs", func(n int, b []byte) bool {
			return n < 200 || exchange(b, 0, 4)
		}},
		{"connect payload", Work{Kind: TCPConnect, Conns: 4}, "echo differs", func(n int, b []byte) bool {
			return n%100 != 0 || exchange(b, 0, 4)
		}},
		{"idle payload", Work{Kind: Idle, Conns: 200}, "echo differs", func(n int, b []byte) bool {
			return n%100 != 0 || exchange(b, 0, 4)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := families[0]
			client, server := cable(t, 0)
			serveBent(t, server, f, &bent{bend: tc.bend})
			tc.w.Duration = brief
			r := run(t, generate(t, client, f, 1, 7), tc.w)
			if r.Wrong == 0 || !strings.Contains(r.FirstWrong, tc.want) {
				t.Errorf("not found: %s", summary(r))
			}
			if r.Requests == 0 {
				t.Errorf("nothing right was found: %s", summary(r))
			}
		})
	}
}

// TestLostAnswers has a server that leaves out one answer in a hundred.
func TestLostAnswers(t *testing.T) {
	for _, w := range []Work{
		{Kind: UDPEcho, Conns: 4, Window: 16},
		{Kind: MemcachedUDP, Conns: 4, Window: 16, Keys: 1000},
		{Kind: UDPEcho, Conns: 4, Window: 128, Rate: 20000},
		{Kind: TCPEcho, Conns: 128},
		{Kind: TCPConnect, Conns: 128},
		{Kind: MemcachedTCP, Conns: 128, Keys: 1000},
	} {
		t.Run(fmt.Sprintf("%v/rate=%v", w.Kind, w.Rate), func(t *testing.T) {
			t.Parallel()
			f := families[0]
			client, server := cable(t, 0)
			serveBent(t, server, f, &bent{bend: func(n int, _ []byte) bool { return n%100 != 0 }})
			w.Duration = 2 * brief
			w.Timeout = 20 * time.Millisecond
			r := run(t, generate(t, client, f, 1, 7), w)
			tcp := w.Kind != UDPEcho && w.Kind != MemcachedUDP
			if r.Wrong+r.Failed+r.Resets != 0 || r.Requests == 0 || tcp != (r.Lost == 0) || tcp != (r.Retransmits > 0) {
				t.Errorf("%s", summary(r))
			}
			if !tcp && (r.Lost < r.Requests/200 || r.Lost > r.Requests/50+10) {
				t.Errorf("one in a hundred was dropped: %s", summary(r))
			}
		})
	}
}

// TestSilentServer has a server that accepts and acknowledges, and never answers.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	f := families[0]
	client, server := cable(t, 0)
	serveReflector(t, server, f)
	r := run(t, generate(t, client, f, 1, discardPort), Work{Kind: TCPEcho, Conns: 10, Window: 3, Duration: brief})
	if r.Lost != 30 || r.Requests != 0 || r.Connected != 10 {
		t.Errorf("want 30 lost: %s", summary(r))
	}
}

// TestCoordinatedOmission has a server stop for a while: an open loop counts the
// wait of all that were due meanwhile, a closed loop only that of its window.
func TestCoordinatedOmission(t *testing.T) {
	const stall, rate = 60 * time.Millisecond, 5000
	for _, kind := range []Kind{UDPEcho, TCPEcho} {
		for _, open := range []bool{true, false} {
			t.Run(fmt.Sprintf("%v/open=%v", kind, open), func(t *testing.T) {
				f := families[0]
				client, server := cable(t, 0)
				var begun atomic.Bool
				seen := 0
				b := &bent{stall: func() {
					if begun.Load() {
						if seen++; seen == 20 {
							time.Sleep(stall) // the fault under test, not a wait for a state
						}
					}
				}}
				b.bend = func(int, []byte) bool { begun.Store(true); return true }
				serveBent(t, server, f, b)
				w := Work{Kind: kind, Conns: 2, Window: 2, Duration: 250 * time.Millisecond}
				if open {
					w.Rate = rate
					w.Window = 1024
				}
				r := run(t, generate(t, client, f, 1, 7), w)
				faultless(t, r)
				slow := 0
				for _, bar := range r.Latency.Distribution() {
					if bar.From >= int64(stall/4) {
						slow += int(bar.Count)
					}
				}
				due := int(rate * stall.Seconds() * 3 / 4)
				if open && (slow < due*3/4 || r.Requests < uint64(rate*w.Duration.Seconds()/2)) || !open && slow > 16 {
					t.Errorf("%d slow answers, %d were due in the stall: %s", slow, due, summary(r))
				}
			})
		}
	}
}

// TestCanceled ends a run by its context: what was seen is returned, and nothing
// left open.
func TestCanceled(t *testing.T) {
	for _, w := range []Work{
		{Kind: UDPEcho, Conns: 4, Duration: time.Hour},
		{Kind: TCPEcho, Conns: 4, Duration: time.Hour},
		{Kind: TCPConnect, Conns: 4, Duration: time.Hour},
		{Kind: BulkSend, Conns: 1, Duration: time.Hour},
		{Kind: Idle, Conns: 4, Hold: time.Hour},
	} {
		t.Run(w.Kind.String(), func(t *testing.T) {
			t.Parallel()
			f := families[0]
			client, server := cable(t, 0)
			serveReflector(t, server, f)
			port := uint16(7)
			if w.Kind == BulkSend {
				port = discardPort
			}
			g := generate(t, client, f, 1, port)
			ctx, cancel := context.WithTimeout(context.Background(), brief)
			defer cancel()
			r, err := g.Run(ctx, w)
			if err == nil || r == nil || ctx.Err() == nil {
				t.Fatalf("run: %v", err)
			}
			if w.Kind != Idle && (r.Requests+r.Bytes == 0 || r.Elapsed <= 0 || r.Elapsed > time.Second) {
				t.Errorf("%s", summary(r))
			}
			if g.ports.free != g.ports.size() {
				t.Errorf("%d ports were not given back", g.ports.size()-g.ports.free)
			}
			w.Duration, w.Hold = brief, 0
			if r := run(t, g, w); r.Requests+r.Bytes == 0 {
				t.Errorf("run again: %s", summary(r))
			}
		})
	}
}

// TestRefused connects to a port of the stack's that nobody listens on.
func TestRefused(t *testing.T) {
	f := families[0]
	client, server := cable(t, 0)
	serveStack(t, server, f)
	g := generate(t, client, f, 1, 4)
	r, err := g.Run(context.Background(), Work{Kind: TCPEcho, Conns: 5, Duration: brief})
	if err == nil || !strings.Contains(err.Error(), ErrNotConnected.Error()) || r.Failed != 5 {
		t.Errorf("%v: %s", err, summary(r))
	}
}
