package socketapi

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestConnStackCloses has calls of every kind under way when the stack ends.
func TestConnStackCloses(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", ":0")
		p := w.listenPacket(t, w.server, "udp", ":0")
		s, _ := w.pair(t)
		big := make([]byte, 32<<20) // more than any buffer
		calls := map[string]<-chan result{
			"Read":             start(func() (int, error) { return s.Read(make([]byte, 1)) }),
			"Write":            start(func() (int, error) { return s.Write(big) }),
			"Group.Accept":     start(func() (int, error) { _, err := g.Accept(); return 0, err }),
			"Listener.Accept":  start(func() (int, error) { _, err := g.Listener(1).Accept(); return 0, err }),
			"PacketGroup.Read": start(func() (int, error) { _, _, err := p.ReadFrom(big); return 0, err }),
			"PacketConn.Read":  start(func() (int, error) { _, _, err := p.PacketConn(1).ReadFrom(big); return 0, err }),
			"Dial": start(func() (int, error) {
				var d Dialer
				_, err := d.dial(t.Context(), w.server, "tcp", "198.18.0.99:9")
				return 0, err
			}),
		}
		for _, f := range []string{"Conn).Read", "Conn).Write", "Group).Accept", "Listener).Accept",
			"PacketGroup).ReadFrom", "PacketConn).ReadFrom", "Dialer).dial"} {
			blocked(t, "socketapi.(*"+f)
		}
		if err := w.server.Close(); err != nil {
			t.Fatal(err)
		}
		for name, c := range calls {
			var oe *net.OpError
			if r := wait(t, c); !errors.Is(r.err, net.ErrClosed) || !errors.As(r.err, &oe) {
				t.Errorf("%s: %v, want a *net.OpError with net.ErrClosed", name, r.err)
			}
		}
		// And so do later calls.
		later := map[string]func() error{
			"Read":     func() error { _, err := s.Read(make([]byte, 1)); return err },
			"Write":    func() error { _, err := s.Write(make([]byte, 1)); return err },
			"Accept":   func() error { _, err := g.Accept(); return err },
			"ReadFrom": func() error { _, _, err := p.ReadFrom(big); return err },
			"WriteTo": func() error {
				_, err := p.WriteTo([]byte("x"), &net.UDPAddr{IP: client4.AsSlice(), Port: 9})
				return err
			},
			"Listen":       func() error { var lc ListenConfig; _, err := lc.listen(w.server, "tcp", ":0"); return err },
			"ListenPacket": func() error { var lc ListenConfig; _, err := lc.listenPacket(w.server, "udp", ":0"); return err },
			"Dial":         func() error { var d Dialer; _, err := d.dial(t.Context(), w.server, "tcp", "198.18.0.2:9"); return err },
			"Dial UDP":     func() error { var d Dialer; _, err := d.dial(t.Context(), w.server, "udp", "198.18.0.2:9"); return err },
		}
		for name, f := range later {
			if err := f(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s on a closed stack: %v, want net.ErrClosed", name, err)
			}
		}
		// Closing what the stack closed is no error.
		for name, c := range map[string]io.Closer{"Conn": s, "Group": g, "PacketGroup": p} {
			if err := c.Close(); err != nil {
				t.Errorf("Close of a %s of a closed stack: %v", name, err)
			}
		}
	})
}

// TestConnRaces calls everything at once; the race detector is the judge.
func TestConnRaces(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for range 20 {
			s, c := w.pair(t)
			var wg sync.WaitGroup
			for _, c := range []*Conn{s, c} {
				for range 2 {
					wg.Go(func() { io.Copy(io.Discard, c) })
					wg.Go(func() {
						for {
							if _, err := c.Write(make([]byte, 1000)); err != nil {
								return
							}
						}
					})
				}
				wg.Go(func() {
					for i := range 50 {
						c.SetDeadline(time.Now().Add(time.Duration(i) * time.Second))
						c.SetReadDeadline(time.Time{})
						c.SetNoDelay(i%2 == 0)
						c.SetKeepAlivePeriod(time.Second)
						_ = c.RemoteAddr().String()
					}
					c.CloseWrite()
					c.Close()
				})
			}
			wg.Wait()
		}
	})
}

// TestManyConns has many connections ask and answer at once, all waits short, on
// more shards than one: a wake-up lost anywhere leaves one of them hanging.
func TestManyConns(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		const conns, rounds = 48, 50
		g := w.listen(t, "tcp", "198.18.0.1:0")
		echo(t, g)
		var d Dialer
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() {
				c, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				for round := range rounds {
					p := bytes.Repeat([]byte{byte(i), byte(round)}, 1+round)
					got := make([]byte, len(p))
					if _, err := c.Write(p); err != nil {
						t.Errorf("connection %d, round %d: %v", i, round, err)
						return
					}
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, p) {
						t.Errorf("connection %d, round %d: %d bytes came back wrong, or %v", i, round, len(p), err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestNoGoroutines counts what connections, groups, deadlines and dials start.
func TestNoGoroutines(t *testing.T) {
	w := newFakeWorld(t, 4)
	before := runtime.NumGoroutine()
	g := w.listen(t, "tcp", "198.18.0.1:0")
	p := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
	p.SetDeadline(time.Now().Add(time.Hour))
	for range 100 {
		w.dial(t, "tcp", g.Addr().String())
		accept(t, g).SetDeadline(time.Now().Add(time.Hour))
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}
