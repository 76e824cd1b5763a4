package drivertest

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/driver"
)

// testWaitTimeout: Wait keeps to its time, and does block.
func testWaitTimeout(r *rig) {
	q := r.a.queues[0]
	r.within("Wait(0)", func() {
		for range 100 {
			if err := q.Wait(0); err != nil {
				r.Errorf("Wait(0): %v", err)
				return
			}
		}
	})
	const d, rounds = 20 * time.Millisecond, 10
	var blocked time.Duration
	r.within("Wait with a timeout", func() {
		for range rounds {
			start := time.Now()
			if err := q.Wait(d); err != nil {
				r.Errorf("Wait(%v): %v", d, err)
				return
			}
			blocked += time.Since(start)
			r.discard(q)
		}
	})
	// It may return early for no reason, but not as a habit.
	if blocked < rounds*d/2 {
		r.Errorf("%d Waits of %v with nothing to wait for took %v together", rounds, d, blocked)
	}
	r.a.poll(nil)
	r.exchange(0)
}

// testWakeBeforeWait: a Wake is remembered.
func testWakeBeforeWait(r *rig) {
	q := r.a.queues[0]
	r.within("Wait after Wake", func() {
		for range 1000 {
			q.Wake()
			if err := q.Wait(-1); err != nil {
				r.Errorf("Wait: %v", err)
				return
			}
		}
		for range 10000 { // Wake never blocks, whoever waits or not
			q.Wake()
		}
		if err := q.Wait(-1); err != nil {
			r.Errorf("Wait: %v", err)
		}
	})
	r.exchange(0)
}

// testConcurrentWakes: no Wake is lost, from however many goroutines and at
// whatever moment of a Wait. A loss shows as a Wait that does not end.
func testConcurrentWakes(r *rig) {
	const rounds = 2000
	q := r.a.queues[0]
	r.wakeEach(q, rounds, func() {})
	// Many at once, each with something the owner must come to see.
	const wakers = 8
	var total atomic.Int64
	r.within("Wakes from many goroutines", func() {
		var wg sync.WaitGroup
		for range wakers {
			wg.Go(func() {
				for range rounds {
					total.Add(1)
					q.Wake()
				}
			})
		}
		for total.Load() < wakers*rounds {
			if err := q.Wait(-1); err != nil {
				r.Errorf("Wait: %v", err)
				break
			}
			r.discard(q)
		}
		wg.Wait()
	})
	r.exchange(0)
}

// wakeEach wakes q's owner so many times. The next Wake comes when the owner has seen
// the last. The owner calls before ahead of each Wait.
func (r *rig) wakeEach(q driver.Queue, rounds int64, before func()) {
	r.Helper()
	var posted, seen atomic.Int64
	r.within("a Wait for each Wake", func() {
		var wg sync.WaitGroup
		wg.Go(func() {
			for seen.Load() < rounds {
				if p := posted.Load(); p != seen.Load() {
					seen.Store(p)
					continue
				}
				before()
				if err := q.Wait(-1); err != nil {
					r.Errorf("Wait: %v", err)
					seen.Store(rounds) // let the other side end
					return
				}
				r.discard(q)
			}
		})
		for i := int64(1); i <= rounds; i++ {
			// The owner is anywhere between seeing the last and sleeping.
			for range rand.IntN(200) {
				runtime.Gosched()
			}
			posted.Store(i)
			q.Wake()
			for seen.Load() < i {
				runtime.Gosched()
			}
		}
		wg.Wait()
	})
}

// discard empties a queue of what a kernel may have sent, lest Wait return at
// once for ever. It is called by the owner, on any goroutine.
func (r *rig) discard(q driver.Queue) {
	var fs [4]driver.Frame
	for {
		n, err := q.Receive(fs[:])
		if n == 0 || err != nil {
			return
		}
		q.Release(fs[:n])
	}
}

// testBlockThread: Wait ends as it should whichever way it sleeps, and however often
// the owner changes that.
func testBlockThread(r *rig) {
	q := r.a.queues[0]
	for _, on := range []bool{true, false, true} {
		q.BlockThread(on)
		q.BlockThread(on)
		r.within("Wait with a timeout", func() {
			if err := q.Wait(10 * time.Millisecond); err != nil {
				r.Errorf("Wait: %v", err)
			}
		})
		q.Wake()
		r.within("Wait after Wake", func() {
			if err := q.Wait(-1); err != nil {
				r.Errorf("Wait: %v", err)
			}
		})
		q.Wake() // one way must not forget the Wake that came in the other
		q.BlockThread(!on)
		r.within("Wait after Wake and BlockThread", func() {
			if err := q.Wait(-1); err != nil {
				r.Errorf("Wait: %v", err)
			}
		})
	}
	on := false
	r.wakeEach(q, 1000, func() {
		on = !on
		q.BlockThread(on)
	})
	r.exchange(0)
}

// testWaitReceives: Wait ends when a packet comes in, whether it came before,
// during or just as the owner went to sleep.
func testWaitReceives(r *rig) { waitReceives(r, func(driver.Queue, int) {}) }

// testBlockThreadReceives: the same, while the owner changes how it sleeps.
func testBlockThreadReceives(r *rig) {
	waitReceives(r, func(q driver.Queue, turn int) { q.BlockThread(turn/4%2 == 0) })
}

// waitReceives sends packets to an owner that sleeps after each. The owner calls before
// ahead of each Wait.
func waitReceives(r *rig, before func(q driver.Queue, turn int)) {
	const rounds = 500
	var echoed atomic.Int64
	stop := make(chan struct{})
	q, fs := r.b.queues[0], make([]driver.Frame, batch)
	var wg sync.WaitGroup
	r.b.ownedElsewhere = true
	r.spawnIn(&wg, func() { // B's owner from here on: it sleeps whenever it can
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for turn := 0; ; turn++ {
			select {
			case <-stop:
				return
			default:
			}
			before(q, turn)
			if err := q.Wait(-1); err != nil {
				r.Errorf("B: wait: %v", err)
				return
			}
			n, err := q.Receive(fs)
			if err != nil {
				r.Errorf("B: receive: %v", err)
				return
			}
			for i := range fs[:n] {
				if _, ok := parse(fs[i].Data); ok {
					echoed.Add(1)
				}
			}
			q.Release(fs[:n])
		}
	})
	for i := range int64(rounds) {
		for range rand.IntN(100) {
			runtime.Gosched()
		}
		r.a.send(0, 1, minPacket, 1, uint64(i))
		for end := time.Now().Add(r.limit); echoed.Load() <= i; runtime.Gosched() {
			if time.Now().After(end) {
				close(stop)
				q.Wake()
				r.Fatalf("B slept on packet %d\nA %+v\nB %+v\n%s", i, r.a.stats(), r.b.stats(), stacks())
			}
			if err := r.a.queues[0].Flush(); err != nil {
				r.Errorf("A: flush: %v", err)
			}
		}
	}
	close(stop)
	q.Wake()
	r.within("the end of B's owner", wg.Wait)
}
