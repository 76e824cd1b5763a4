//go:build linux

package afxdp

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/internal/wiretest"
	"shardnet/driver/internal/xskqueue"
	"shardnet/driver/netlab"
)

// lost is how long a turn may take before its wake-up counts as lost. A Wait
// without limit looks around after xskqueue.CheckGone, and so would hide the loss of one.
const lost = xskqueue.CheckGone * 9 / 10

// waitWays runs f with the goroutine parked in Wait, and with its thread blocked.
// own must be called by the owner of each queue; it undoes itself.
func waitWays(t *testing.T, f func(t *testing.T, own func(driver.Queue) (disown func()))) {
	t.Run("park", func(t *testing.T) {
		f(t, func(driver.Queue) func() { return func() {} })
	})
	t.Run("block", func(t *testing.T) {
		f(t, func(q driver.Queue) func() {
			runtime.LockOSThread()
			q.BlockThread(true)
			return runtime.UnlockOSThread
		})
	})
}

// openPair opens both ends of a link. Both own 198.18.0.1 and .2, so that a frame
// may go to and fro as it is.
func openPair(t *testing.T, a, b *netlab.Interface, mode Mode) (*Device, *Device) {
	t.Helper()
	var devs [2]*Device
	for i, ifc := range []*netlab.Interface{a, b} {
		dev, err := openIn(ifc, Config{Addresses: addresses("198.18.0.1", "198.18.0.2"), Mode: mode})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dev.Close() })
		devs[i] = dev
	}
	return devs[0], devs[1]
}

// bounce sends back what it receives, as it is, and sleeps in between.
func bounce(q driver.Queue) error {
	fs := make([]driver.Frame, 64)
	for {
		n, err := q.Receive(fs)
		if err == nil && n > 0 {
			if _, err = q.Transmit(fs[:n]); err == nil {
				err = q.Flush()
			}
		} else if err == nil {
			err = q.Wait(-1)
		}
		if err != nil {
			return err
		}
	}
}

// TestFramesWake sends a frame to and fro between two sleepers: each must wake
// for each.
func TestFramesWake(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	waitWays(t, func(t *testing.T, own func(driver.Queue) func()) {
		da, db := openPair(t, a, b, Copy)
		var reflector sync.WaitGroup
		reflector.Go(func() {
			q := db.Queue(0)
			defer own(q)()
			if err := bounce(q); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		defer reflector.Wait()
		defer db.Close()
		q := da.Queue(0)
		defer own(q)()
		ping := wiretest.UDPFrame(t, da.Info().MAC, db.Info().MAC, "198.18.0.1", "198.18.0.2", 20)
		fs := make([]driver.Frame, 1)
		for i := range 20_000 {
			start := time.Now()
			wiretest.Transmit(t, q, ping)
			// The answer comes within microseconds: have it come before, after and
			// in the middle of every step of Wait.
			for spun := start; time.Since(spun) < time.Duration(i%200)*100*time.Nanosecond; {
			}
			for {
				n, err := q.Receive(fs)
				if err != nil {
					t.Fatal(err)
				}
				if n == 1 {
					q.Release(fs)
					break
				}
				if err := q.Wait(-1); err != nil {
					t.Fatal(err)
				}
			}
			if d := time.Since(start); d > lost {
				t.Fatalf("turn %d took %v: a wake-up was lost", i, d)
			}
		}
	})
}

// TestWakesWake hands a number to a sleeper again and again, waking it each time
// from one of several goroutines.
func TestWakesWake(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	waitWays(t, func(t *testing.T, own func(driver.Queue) func()) {
		const turns, wakers = 5000, 3
		dev, err := openIn(a, Config{Mode: Copy})
		if err != nil {
			t.Fatal(err)
		}
		defer dev.Close()
		q := dev.Queue(0)
		var given atomic.Int64
		taken := make(chan int64, wakers)
		var owner sync.WaitGroup
		owner.Go(func() {
			defer own(q)()
			for seen := int64(0); ; {
				for n := given.Load(); seen < n; seen++ {
					taken <- seen
				}
				if err := q.Wait(-1); errors.Is(err, net.ErrClosed) {
					return
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
		defer owner.Wait()
		defer dev.Close()
		var waker sync.WaitGroup
		for range wakers {
			waker.Go(func() {
				for i := range turns {
					start := time.Now()
					given.Add(1)
					q.Wake()
					select {
					case <-taken:
					case <-time.After(5 * time.Second):
						t.Errorf("turn %d: nobody woke", i)
						return
					}
					if d := time.Since(start); d > lost {
						t.Errorf("turn %d took %v: a Wake was lost", i, d)
						return
					}
				}
			})
		}
		waker.Wait()
	})
}
