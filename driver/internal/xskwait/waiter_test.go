//go:build linux

package xskwait

import (
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pipe stands for the socket: it polls readable in the same way.
func pipe(t *testing.T) (read *os.File, write int) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	read = os.NewFile(uintptr(fds[0]), "pipe")
	t.Cleanup(func() {
		read.Close()
		unix.Close(fds[1])
	})
	return read, fds[1]
}

func bothWays(t *testing.T, test func(t *testing.T, w *Waiter, write int)) {
	for name, block := range map[string]bool{"park": false, "block": true} {
		t.Run(name, func(t *testing.T) {
			read, write := pipe(t)
			w, err := New(read, func() bool { return false })
			if err != nil {
				t.Fatal(err)
			}
			w.BlockThread(block)
			if (w.bell != nil) != block {
				t.Fatal("BlockThread has no effect")
			}
			defer w.Close()
			test(t, w, write)
		})
	}
}

// within fails the test when f does not end soon.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s does not end", what)
	}
}

func TestWaitTimeout(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		start := time.Now()
		woken, err := w.Wait(20 * time.Millisecond)
		if took := time.Since(start); woken || err != nil || took < 20*time.Millisecond {
			t.Errorf("Wait gives %v, %v after %v", woken, err, took)
		}
	})
}

func TestWakeBeforeWait(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		for range 3 {
			w.Wake()
			w.Wake()
			if !w.Woken() {
				t.Error("not woken after Wake")
			}
			within(t, "Wait after Wake", func() {
				if woken, err := w.Wait(time.Hour); !woken || err != nil {
					t.Errorf("Wait after Wake gives %v, %v", woken, err)
				}
			})
			// A Wake counts once.
			if woken, err := w.Wait(0); woken || err != nil {
				t.Errorf("the next Wait gives %v, %v", woken, err)
			}
		}
	})
}

func TestWaitReceives(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, write int) {
		within(t, "Wait with something to read", func() {
			time.AfterFunc(5*time.Millisecond, func() { _, _ = unix.Write(write, []byte{1}) })
			if woken, err := w.Wait(time.Hour); woken || err != nil {
				t.Errorf("Wait gives %v, %v", woken, err)
			}
		})
	})
}

// TestWaitLooksAfterArming has the poller's edge be spent before Wait, as when a
// frame comes just before: Wait must see what is there.
func TestWaitLooksAfterArming(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, write int) {
		if _, err := unix.Write(write, []byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Wait(50 * time.Millisecond); err != nil { // the poller takes the edge, in time or not
			t.Fatal(err)
		}
		w.received = func() bool { return true }
		within(t, "Wait with something received", func() {
			if woken, err := w.Wait(time.Hour); woken || err != nil {
				t.Errorf("Wait gives %v, %v", woken, err)
			}
		})
	})
}

// TestNoWakeIsLost has one side wake the other each time it has come round.
func TestNoWakeIsLost(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		const rounds = 20_000
		var want, done atomic.Int64
		within(t, "the game", func() {
			go func() {
				for i := int64(1); i <= rounds; i++ {
					want.Store(i)
					w.Wake()
					for done.Load() < i {
						time.Sleep(0)
					}
				}
			}()
			for done.Load() < rounds {
				if _, err := w.Wait(time.Hour); err != nil {
					t.Error(err)
					return
				}
				done.Store(want.Load())
			}
		})
	})
}

// TestInterruptAfterWake holds that a Close is noticed although the owner has not
// come round since an earlier Wake.
func TestInterruptAfterWake(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		w.Wake()
		w.Heard()
		w.Interrupt()
		within(t, "Wait after Interrupt", func() {
			if woken, err := w.Wait(time.Hour); !woken || err != nil {
				t.Errorf("Wait gives %v, %v", woken, err)
			}
		})
	})
}

func TestWakeAfterClose(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		w.Close()
		w.file.Close()
		w.Wake() // must find nothing to touch
		w.Interrupt()
		w.Close()
		if w.bell != nil {
			t.Error("the bell is still there")
		}
	})
}

func TestSwitch(t *testing.T) {
	read, _ := pipe(t)
	w, err := New(read, func() bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for i := range 10 {
		w.BlockThread(i%2 == 0)
		w.Wake()
		within(t, "Wait", func() {
			if woken, err := w.Wait(time.Hour); !woken || err != nil {
				t.Errorf("Wait gives %v, %v", woken, err)
			}
		})
	}
}

func TestWaitDoesNotAllocate(t *testing.T) {
	bothWays(t, func(t *testing.T, w *Waiter, _ int) {
		if n := testing.AllocsPerRun(100, func() {
			w.Wake()
			w.Wait(time.Hour)
			w.Wait(time.Microsecond)
		}); n != 0 {
			t.Errorf("%v allocations for two waits and a wake", n)
		}
	})
}
