package drivertest

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/driver"
)

// testCloseLaterCalls: Close can be called again, and after it every call says so
// and does nothing.
func testCloseLaterCalls(r *rig) {
	r.exchange(0)
	before := r.a.stats()
	fs := make([]driver.Frame, 4)
	r.a.alloc(0, fs)
	r.within("Close", func() {
		for range 3 {
			if err := r.a.dev.Close(); err != nil {
				r.Errorf("close: %v", err)
			}
		}
	})
	for i, q := range r.a.queues {
		r.within("calls on a closed queue", func() {
			closed := func(call string, err error) {
				if !errors.Is(err, net.ErrClosed) {
					r.Errorf("%s on closed queue %d: %v, want net.ErrClosed", call, i, err)
				}
			}
			n, err := q.Receive(make([]driver.Frame, 4))
			closed("Receive", err)
			if n != 0 {
				r.Errorf("Receive on closed queue %d lent %d", i, n)
			}
			if n := q.Alloc(make([]driver.Frame, 4)); n != 0 {
				r.Errorf("Alloc on closed queue %d lent %d", i, n)
			}
			if i == 0 {
				n, err = q.Transmit(fs[:2])
				closed("Transmit", err)
				if n != 0 {
					r.Errorf("Transmit on closed queue %d took %d", i, n)
				}
			}
			closed("Flush", q.Flush())
			q.BlockThread(true)
			closed("Wait", q.Wait(-1))
			q.BlockThread(false)
			closed("Wait", q.Wait(time.Millisecond))
			q.Wake()
			if i == 0 {
				q.Release(fs)
			}
			if err := q.Close(); err != nil {
				r.Errorf("close queue %d again: %v", i, err)
			}
			_ = q.Stats()
		})
	}
	if st := r.a.stats(); st.TxPackets != before.TxPackets || st.RxPackets < before.RxPackets {
		r.Errorf("statistics went from %+v to %+v on Close", before, st)
	}
	if i := r.a.dev.Info(); i.Queues != r.cfg.Queues {
		r.Errorf("a closed device says %+v", i)
	}
}

// testCloseOneQueue: a queue closes alone.
func testCloseOneQueue(r *rig) {
	r.exchange(0)
	r.within("Close of one queue", func() {
		if err := r.a.queues[0].Close(); err != nil {
			r.Errorf("close: %v", err)
		}
	})
	if _, err := r.a.queues[0].Receive(r.a.fs); !errors.Is(err, net.ErrClosed) {
		r.Errorf("Receive on the closed queue: %v, want net.ErrClosed", err)
	}
	r.a.send(1, 8, minPacket, 50, 0)
	r.until("packets from the queue that is open", r.b.pollChecked, func() bool { return r.b.next[50] == 8 })
}

// testCloseWakesWait: Close ends a Wait of each queue, whichever way it sleeps.
func testCloseWakesWait(r *rig) {
	var wg sync.WaitGroup
	var waiting atomic.Int32
	for i, q := range r.a.queues {
		r.spawnIn(&wg, func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			q.BlockThread(i%2 == 1)
			waiting.Add(1)
			for {
				r.discard(q)
				if err := q.Wait(-1); err != nil {
					if !errors.Is(err, net.ErrClosed) {
						r.Errorf("Wait on queue %d: %v, want net.ErrClosed", i, err)
					}
					return
				}
			}
		})
	}
	for waiting.Load() < int32(len(r.a.queues)) {
		runtime.Gosched()
	}
	r.within("Close while the owners wait", func() {
		if err := r.a.dev.Close(); err != nil {
			r.Errorf("close: %v", err)
		}
		wg.Wait()
	})
}

// testCloseKeepsLentFrames: frames held over Close can still be read.
func testCloseKeepsLentFrames(r *rig) {
	const n = 16
	var held []driver.Frame
	r.b.send(0, n, r.packetSize(300), 1, 0)
	r.until("packets to hold", func() {
		r.a.poll(func(_ int, fr *driver.Frame, l label) bool {
			r.a.check(fr, l)
			held = append(held, *fr)
			return true
		})
	}, func() bool { return len(held) == n })
	r.within("Close", func() {
		if err := r.a.dev.Close(); err != nil {
			r.Errorf("close: %v", err)
		}
	})
	// B goes on sending, into the void; and a collection comes by.
	q, fs := r.b.queues[0], r.b.fs
	for range 16 {
		k := q.Alloc(fs)
		for i := range fs[:k] {
			fs[i].Data = build(fs[i].Data, r.b.me, r.b.peer, label{9, uint64(i)}, r.packetSize(300))
		}
		took, err := q.Transmit(fs[:k])
		q.Release(fs[took:k])
		if err != nil {
			r.Errorf("B: transmit to a closed end: %v", err)
		}
		r.b.flush()
	}
	runtime.GC()
	for i, f := range held {
		if !intact(f.Data, r.b.me, r.a.me, label{1, uint64(i)}, r.a.scratch) {
			r.Errorf("frame %d changed after Close: %x", i, f.Data)
		}
	}
	r.a.queues[0].Release(held) // does nothing
	runtime.KeepAlive(held)
}

// testCloseUnderTraffic: a device is closed by others while its queues' owners are
// at work. Each owner's next call says so, and none is inside once Close is back.
func testCloseUnderTraffic(r *rig) {
	for round := range 5 {
		if round > 0 {
			r.close()
			r.openPair()
		}
		var (
			wg     sync.WaitGroup
			turns  atomic.Int64
			closed atomic.Bool // Close of A has returned
			stop   atomic.Bool
			a, b   = r.a, r.b
			size   = r.packetSize(minPacket)
		)
		for i, q := range a.queues {
			r.spawnIn(&wg, func() { // echo, sleeping when there is nothing
				fs := make([]driver.Frame, batch)
				for {
					over := closed.Load()
					err := echoTurn(q, fs, round%2 == 1)
					if err != nil {
						if !errors.Is(err, net.ErrClosed) {
							r.Errorf("A: queue %d: %v", i, err)
						}
						return
					}
					if over {
						r.Errorf("A: queue %d works though Close has returned", i)
						return
					}
					turns.Add(1)
				}
			})
		}
		for i, q := range b.queues {
			r.spawnIn(&wg, func() {
				fs := make([]driver.Frame, batch)
				for seq := uint64(0); !stop.Load(); seq += batch {
					n, err := q.Receive(fs)
					q.Release(fs[:n])
					if err == nil {
						n = q.Alloc(fs[:batch/2])
						for j := range fs[:n] {
							fs[j].Data = build(fs[j].Data, b.me, b.peer, label{uint16(j), seq}, size)
						}
						var took int
						took, err = q.Transmit(fs[:n])
						q.Release(fs[took:n])
					}
					if err == nil {
						err = q.Flush()
					}
					if err != nil {
						r.Errorf("B: queue %d: %v", i, err)
						return
					}
				}
			})
		}
		for end := time.Now().Add(r.limit); turns.Load() < 200 && time.Now().Before(end); {
			runtime.Gosched()
		}
		r.within("Close under traffic", func() {
			var closers sync.WaitGroup
			for range 2 {
				closers.Go(func() {
					if err := a.dev.Close(); err != nil {
						r.Errorf("A: close: %v", err)
					}
				})
			}
			closers.Wait()
			closed.Store(true)
			stop.Store(true)
			wg.Wait()
		})
		if turns.Load() < 200 {
			r.Errorf("A: %d turns before Close, want 200", turns.Load())
		}
	}
}

// echoTurn is one turn of a reflector that owns q.
func echoTurn(q driver.Queue, fs []driver.Frame, wait bool) error {
	n, err := q.Receive(fs)
	if err != nil {
		return err
	}
	for i := range fs[:n] {
		if _, ok := parse(fs[i].Data); ok {
			turn(fs[i].Data)
		}
	}
	took, err := q.Transmit(fs[:n])
	if err != nil {
		return err
	}
	q.Release(fs[took:n])
	if err := q.Flush(); err != nil {
		return err
	}
	if wait && n == 0 {
		return q.Wait(time.Millisecond)
	}
	return nil
}

// testReopen: what was closed can be opened again at once, and works.
func testReopen(r *rig) {
	for range 5 {
		r.exchange(0)
		// Leave something in every ring. A cable of the system's may deliver it to
		// whoever opens next.
		for q := range r.a.queues {
			r.a.send(q, 8, minPacket, 90, 0)
			r.b.send(q, 8, minPacket, 90, 0)
		}
		r.close()
		r.openPair()
		r.a.lossy[90], r.b.lossy[90] = true, true
	}
	r.exchange(0)
}
