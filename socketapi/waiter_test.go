package socketapi

import (
	"errors"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"shardnet/test/testutil"
)

// TestWaiterLosesNothing has producers that publish and signal, and a consumer that
// sleeps whenever it finds nothing: a lost signal leaves it asleep.
func TestWaiterLosesNothing(t *testing.T) {
	const producers, each = 4, 20_000
	var w waiter
	var published, taken atomic.Int64
	var wg sync.WaitGroup
	lost := time.Now().Add(20 * time.Second)
	for range producers {
		wg.Go(func() {
			for i := range each {
				n := published.Add(1)
				w.signal()
				// Now and then let the consumer catch up, and fall asleep.
				for i%4 == 0 && taken.Load() < n {
					runtime.Gosched()
					if time.Now().After(lost) {
						t.Error("the consumer sleeps, though there is something")
						return
					}
				}
			}
		})
	}
	done := start(func() (int, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for taken.Load() < producers*each {
			w.clear()
			if n := published.Load(); n != taken.Load() {
				taken.Store(n)
				continue
			}
			w.park()
		}
		return 0, nil
	})
	wg.Wait()
	wait(t, done)
}

// TestWaiterParkOr ends waits by signal and by cancellation at the same time: no
// token may be left over to end a later wait.
func TestWaiterParkOr(t *testing.T) {
	var w waiter
	for range 5_000 {
		cancel := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(w.signal)
		wg.Go(func() { close(cancel) })
		w.clear()
		w.parkOr(cancel, nil)
		wg.Wait()
		if len(w.ch) != 0 {
			t.Fatal("a token is left")
		}
	}
}

func TestDeadline(t *testing.T) {
	expiredNow := func(w *waiter) bool {
		synctest.Wait()
		return errors.Is(w.err(), os.ErrDeadlineExceeded)
	}
	run := func(name string, f func(t *testing.T, w *waiter)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, new(waiter)) }) })
	}
	run("exact", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Second - 1)
		if expiredNow(w) {
			t.Error("expired too early")
		}
		time.Sleep(time.Nanosecond)
		if !expiredNow(w) {
			t.Error("not expired when due")
		}
	})
	run("moved forward", func(t *testing.T, w *waiter) {
		// Ten times forward by what a server would: one timer, no early end.
		for range 10 {
			w.setDeadline(time.Now().Add(10 * time.Second))
			time.Sleep(9 * time.Second)
			if expiredNow(w) {
				t.Fatal("expired before the last deadline")
			}
		}
		time.Sleep(time.Second - 1)
		if expiredNow(w) {
			t.Error("expired before the last deadline")
		}
		time.Sleep(time.Nanosecond)
		if !expiredNow(w) {
			t.Error("not expired at the last deadline")
		}
	})
	run("moved nearer", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(time.Hour))
		w.setDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Second)
		if !expiredNow(w) {
			t.Error("not expired at the nearer deadline")
		}
		w.setDeadline(time.Now().Add(time.Minute))
		time.Sleep(time.Minute)
		if !expiredNow(w) {
			t.Error("not expired at the second deadline")
		}
	})
	run("taken away", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(time.Second))
		w.setDeadline(time.Time{})
		time.Sleep(time.Hour)
		if expiredNow(w) {
			t.Error("expired without a deadline")
		}
		w.setDeadline(time.Now())
		if !expiredNow(w) {
			t.Error("not expired by a deadline that is now")
		}
		w.setDeadline(time.Time{})
		if expiredNow(w) {
			t.Error("still expired after the deadline was taken away")
		}
	})
	run("wall clock only", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(time.Second).Round(0))
		time.Sleep(time.Second)
		if !expiredNow(w) {
			t.Error("not expired")
		}
	})
	run("far away", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(1<<63 - 1))
		w.setDeadline(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
		time.Sleep(24 * time.Hour)
		if expiredNow(w) {
			t.Error("expired a few thousand years early")
		}
	})
	run("wakes who waits", func(t *testing.T, w *waiter) {
		began := time.Now()
		w.setDeadline(began.Add(time.Second))
		w.clear()
		w.park()
		if d := time.Since(began); d != time.Second {
			t.Errorf("woke after %v", d)
		}
	})
	run("after close", func(t *testing.T, w *waiter) {
		w.setDeadline(time.Now().Add(time.Second))
		if !w.close() || w.close() {
			t.Error("close does not tell the first call from the second")
		}
		if err := w.setDeadline(time.Now().Add(time.Second)); err != net.ErrClosed {
			t.Errorf("setDeadline after close: %v", err)
		}
		time.Sleep(time.Minute)
		if err := w.err(); err != net.ErrClosed {
			t.Errorf("err after close is %v", err)
		}
	})
}

// TestDeadlineRaces sets deadlines from many goroutines while timers fire. What
// was set last must hold.
func TestDeadlineRaces(t *testing.T) {
	var w waiter
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2_000 {
				switch i % 4 {
				case 0:
					w.setDeadline(time.Time{})
				case 1:
					w.setDeadline(time.Now().Add(-1))
				default:
					w.setDeadline(time.Now().Add(time.Duration(i%50) * time.Microsecond))
				}
			}
		})
	}
	wg.Wait()
	w.setDeadline(time.Now().Add(time.Hour))
	if err := w.err(); err != nil {
		t.Errorf("with an hour left: %v", err)
	}
	w.setDeadline(time.Now().Add(time.Millisecond))
	testutil.Eventually(t, "the deadline has passed", func() bool { return w.err() != nil })
	w.close()
}

func BenchmarkWaiterSignal(b *testing.B) {
	b.Run("nobody waits", func(b *testing.B) {
		var w waiter
		for b.Loop() {
			w.clear()
			w.signal()
		}
	})
	b.Run("ping-pong", func(b *testing.B) {
		var ping, pong waiter
		var stop atomic.Bool
		done := make(chan struct{})
		go func() {
			defer close(done)
			for !stop.Load() {
				ping.park()
				ping.clear()
				pong.signal()
			}
		}()
		b.ReportAllocs()
		for b.Loop() {
			pong.clear()
			ping.signal()
			pong.park()
		}
		stop.Store(true)
		ping.signal()
		<-done
	})
}
