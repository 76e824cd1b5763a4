package memnic

import (
	"math/rand/v2"
	"testing"

	"shardnet/driver"
)

// audit fails the test unless every frame of q is in exactly one place, and the
// counters agree. Nobody may use the queue or send to it meanwhile.
func (q *queue) audit(t testing.TB) {
	t.Helper()
	where := make([]string, len(q.lent))
	put := func(frame uint32, place string) {
		t.Helper()
		if int(frame) >= len(where) {
			t.Fatalf("frame %d of %d is %s", frame, len(where), place)
		}
		if was := where[frame]; was != "" {
			t.Fatalf("frame %d is %s and %s", frame, was, place)
		}
		where[frame] = place
	}
	for _, f := range q.free {
		put(f, "free")
	}
	r := q.rx
	head, fill := r.head.Load(), r.fill.Load()
	if fill != r.posted || int32(head-r.tail) < 0 || int32(fill-head) < 0 || int(fill-r.tail) > len(r.slots) {
		t.Fatalf("RX ring: tail %d, head %d, fill %d, posted %d", r.tail, head, fill, r.posted)
	}
	for i := r.tail; i != fill; i++ {
		put(r.slots[i&r.mask].frame, "in the RX ring")
	}
	for _, f := range q.tx[:q.txn] {
		put(uint32(f.Handle), "in the TX ring")
	}
	lent := 0
	for f, is := range q.lent {
		if is {
			put(uint32(f), "lent")
			lent++
		}
	}
	for f, place := range where {
		if place == "" {
			t.Fatalf("frame %d is lost", f)
		}
	}
	if st := q.Stats(); st.Lent != lent || st.Frames != len(where) {
		t.Fatalf("%d of %d frames are lent: %+v", lent, len(where), st)
	}
}

// FuzzQueue drives both ends of a small cable by a program of bytes, breaking the
// contract too, and audits where each frame is after each step.
func FuzzQueue(f *testing.F) {
	f.Add([]byte{0x05, 0x12, 0x20, 0x45, 0x30})
	f.Add([]byte{0xff, 0x0f, 0x1f, 0x2f, 0x3f, 0x4f, 0x5f, 0x6f, 0x7f})
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		program := make([]byte, 400)
		for i := range program {
			program[i] = byte(rng.Uint32())
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		end := End{Queues: 2, RxRing: 4, TxRing: 4, Frames: 11}
		a, b, err := NewPair(&Config{A: end, B: end, MTU: 100})
		if err != nil {
			t.Fatal(err)
		}
		queues := []*queue{a.queues[0], a.queues[1], b.queues[0], b.queues[1]}
		held := make([][]driver.Frame, len(queues))
		took := make([]uint64, len(queues)) // by Transmit
		fs := make([]driver.Frame, 16)
		closed := false
		for _, op := range program {
			i, n := int(op>>3)&3, int(op>>5)
			q := queues[i]
			switch op & 7 {
			case 0:
				k := q.Alloc(fs[:n])
				for j := range fs[:k] {
					// Flows over both queues; some runts, some too long.
					fs[j].Data = fs[j].Data[:int(op)*2%128]
					if len(fs[j].Data) > 34 {
						copy(fs[j].Data[12:], "\x08\x00\x45\x00\x00\x40\x00\x00\x00\x00\x40\x11\x00\x00")
						fs[j].Data[29] = op + byte(j)
					}
				}
				held[i] = append(held[i], fs[:k]...)
			case 1:
				k, _ := q.Receive(fs[:n])
				held[i] = append(held[i], fs[:k]...)
			case 2:
				k, _ := q.Transmit(held[i])
				took[i] += uint64(k)
				held[i] = held[i][k:]
			case 3:
				_ = q.Flush()
			case 4:
				n = min(n, len(held[i]))
				q.Release(held[i][:n])
				held[i] = held[i][n:]
			case 5: // abuse: give back what is not held
				var stray []driver.Frame
				for h := range uint64(n) {
					f := driver.Frame{Handle: q.handle + h*3}
					if h == 6 {
						f.Handle = ^uint64(0)
					}
					if h*3 < uint64(len(q.lent)) && q.lent[h*3] {
						continue
					}
					stray = append(stray, f)
				}
				q.Release(stray)
				for len(stray) > 0 {
					k, err := q.Transmit(stray)
					took[i] += uint64(k)
					if _ = q.Flush(); err != nil || k == 0 {
						break
					}
					stray = stray[k:]
				}
			case 6:
				_ = q.Wait(0)
				a.SetLinkUp(n != 0)
			case 7:
				if op == 0xff && len(program) > 50 {
					closed = true
					_ = q.Close()
				}
			}
			if !closed {
				for _, q := range queues {
					q.audit(t)
				}
			}
		}
		var sum [2]driver.Stats
		for i, q := range queues {
			st := q.Stats()
			if st.TxPackets+st.TxErrors != took[i] {
				t.Errorf("queue %d took %d frames and counted %+v", i, took[i], st)
			}
			if !closed {
				// What is under way has not arrived yet.
				st.TxPackets -= uint64(q.txn)
				st.RxPackets += uint64(q.rx.head.Load() - q.rx.tail)
			}
			sum[i/2].Add(st)
		}
		if !closed && (sum[0].TxPackets != sum[1].RxPackets+sum[1].RxDropped || sum[1].TxPackets != sum[0].RxPackets+sum[0].RxDropped) {
			t.Errorf("the ends disagree: %+v and %+v", sum[0], sum[1])
		}
		_ = a.Close()
		_ = b.Close()
	})
}
