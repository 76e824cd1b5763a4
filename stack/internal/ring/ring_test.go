package ring

import (
	"runtime"
	"testing"

	"shardnet/stack/internal/frametest"
)

func TestHandoverRing(t *testing.T) {
	r := new(Ring)
	frame := frametest.UDP4(t, 53)
	for range 3 { // around the ring more than once
		for i := range Slots {
			frame[0] = byte(i)
			if !r.Push(frame, i%2 == 0) {
				t.Fatalf("ring of %d is full at %d", Slots, i)
			}
		}
		if r.Push(frame, true) {
			t.Fatal("full ring takes a frame")
		}
		for i := range Slots {
			if r.Len() != Slots-i {
				t.Fatalf("%d frames wait, want %d", r.Len(), Slots-i)
			}
			s := r.At(0)
			if s.Frame[0] != byte(i) || s.Verified != (i%2 == 0) || len(s.Frame) != len(frame) {
				t.Fatalf("frame %d came out wrong", i)
			}
			r.Pop(1)
		}
		if r.Len() != 0 {
			t.Fatal("empty ring gives a frame")
		}
	}
	if n := testing.AllocsPerRun(1000, func() { r.Push(frame, true); r.At(0); r.Pop(1) }); n != 0 {
		t.Errorf("%v allocations per frame handed over", n)
	}
}

// A batch is looked at as a whole before it is given back, also where the ring begins
// again; what the producer adds meanwhile is behind it.
func TestRingBatch(t *testing.T) {
	const batch = 100 // the slots are no multiple of it
	var r Ring
	pushed, popped := 0, 0
	for range 20 {
		for r.Len() < batch {
			r.Push([]byte{byte(pushed)}, false)
			pushed++
		}
		for i := range batch {
			if s := r.At(i); s.Frame[0] != byte(popped+i) {
				t.Fatalf("slot %d of the batch has frame %d, want %d", i, s.Frame[0], byte(popped+i))
			}
			r.Push([]byte{byte(pushed)}, false)
			pushed++
		}
		r.Pop(batch)
		popped += batch
		if r.Len() != pushed-popped {
			t.Fatalf("%d frames wait, want %d", r.Len(), pushed-popped)
		}
	}
}

// One goroutine pushes frames of every length, another takes them in batches: each comes
// once, whole and in order.
func TestRingBetweenGoroutines(t *testing.T) {
	const frames = 200_000
	var r Ring
	go func() {
		b := make([]byte, 64)
		for i := 0; i < frames; {
			f := b[:4+i%60]
			f[0], f[1], f[2], f[len(f)-1] = byte(i), byte(i>>8), byte(i>>16), byte(i)
			if r.Push(f, i%3 == 0) {
				i++
			} else {
				runtime.Gosched()
			}
		}
	}()
	for i := 0; i < frames; {
		n := r.Len()
		if n > Slots {
			t.Fatalf("%d frames wait in a ring of %d", n, Slots)
		}
		for j := range n {
			s := r.At(j)
			f := s.Frame
			if len(f) != 4+i%60 || f[0] != byte(i) || f[1] != byte(i>>8) || f[2] != byte(i>>16) || f[len(f)-1] != byte(i) || s.Verified != (i%3 == 0) {
				t.Fatalf("frame %d came out as %x, verified %v", i, f, s.Verified)
			}
			i++
		}
		r.Pop(n)
		if n == 0 {
			runtime.Gosched()
		}
	}
}
