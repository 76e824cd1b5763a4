package socketapi

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"
)

// TestEventTimer sets timers in all ways. What is not to fire is seen not to by
// when the connection has ended.
func TestEventTimer(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		var fired []string
		note := func(what string, then ...func(c *EventConn)) func(c *EventConn) {
			return func(c *EventConn) {
				fired = append(fired, what)
				for _, f := range then {
					f(c)
				}
			}
		}
		closed := make(chan []string, 1)
		f := &funcs{
			open: func(c *EventConn) {
				began := time.Now()
				c.AfterFunc(time.Millisecond, note("short"))
				never := c.AfterFunc(2*time.Millisecond, note("stopped"))
				if !never.Stop() || never.Stop() {
					t.Error("Stop does not tell whether the timer was stopped")
				}
				forward := c.AfterFunc(3*time.Millisecond, note("forward", func(*EventConn) {
					if d := time.Since(began); d < 20*time.Millisecond {
						t.Errorf("a timer moved forward fired after %v", d)
					}
				}))
				forward.Reset(20 * time.Millisecond)
				back := c.AfterFunc(time.Hour, note("back"))
				back.Reset(10 * time.Millisecond)
				var again *EventTimer
				n := 0
				again = c.AfterFunc(30*time.Millisecond, func(c *EventConn) {
					if n++; n < 3 {
						again.Reset(time.Millisecond)
						return
					}
					note("thrice")(c)
				})
				c.AfterFunc(60*time.Millisecond, note("end", (*EventConn).Close))
				c.AfterFunc(time.Hour, note("left over"))
			},
			close: func(c *EventConn, err error) {
				c.AfterFunc(0, note("after the end"))
				closed <- fired
			},
		}
		s := w.handle(t, ListenConfig{}, f)
		c := w.dialTo(t, s)
		if n, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%d, %v", n, err)
		}
		got := <-closed
		want := []string{"short", "back", "forward", "thrice", "end"}
		if len(got) != len(want) {
			t.Fatalf("fired %v, want %v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("fired %v, want %v", got, want)
				break
			}
		}
	})
}

// TestEventTimerOffers: what was not consumed comes again after a timer, also if
// the peer is done; and one that does not read is got rid of by Abort.
func TestEventTimerOffers(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		ready := false
		f := &funcs{data: func(c *EventConn, p []byte) int {
			if ready {
				c.Write(p)
				return len(p)
			}
			if c.Value() == nil {
				c.SetValue(c.AfterFunc(5*time.Millisecond, func(*EventConn) { ready = true }))
			}
			return 0
		}}
		s := w.handle(t, ListenConfig{}, f)
		c := w.dialTo(t, s)
		c.Write([]byte("later"))
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "later" {
			t.Errorf("%q, %v", got, err)
		}

		closed := make(chan error, 1)
		f = &funcs{
			open: func(c *EventConn) {
				for {
					if _, err := c.Write(make([]byte, 1000)); err != nil {
						break
					}
				}
				c.Close()
				c.AfterFunc(5*time.Millisecond, (*EventConn).Abort)
			},
			close: func(_ *EventConn, err error) { closed <- err },
		}
		w.dialTo(t, w.handle(t, ListenConfig{MaxUnsent: 16 << 20}, f)) // more than the stacks' buffers hold
		if err := <-closed; !errors.Is(err, syscall.ECONNABORTED) {
			t.Errorf("OnClose: %v", err)
		}
	})
}
