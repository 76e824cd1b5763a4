package pcap

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"testing"
)

func frameOf(seq uint64, n int) []byte {
	b := make([]byte, max(n, 8))
	for i := range b {
		b[i] = byte(seq + uint64(i))
	}
	binary.LittleEndian.PutUint64(b, seq)
	return b
}

func TestRingKeepsRecords(t *testing.T) {
	// Every size at every offset of a small ring, so that records end exactly
	// at the end, leave room for a header there, and leave less than that.
	for n := 8; n <= 120; n++ {
		r := newRing(512)
		for seq := range uint64(200) {
			want := frameOf(seq, n)
			if !r.stage(int64(seq), outbound, want, 1<<20) {
				t.Fatalf("size %d: record %d does not fit an empty ring", n, seq)
			}
			r.publish(1)
			rec, next, ok := r.peek()
			if !ok {
				t.Fatalf("size %d: record %d was published but not seen", n, seq)
			}
			if rec.time != int64(seq) || rec.dir != outbound || int(rec.wire) != len(want) || !bytes.Equal(rec.data, want) {
				t.Fatalf("size %d: record %d came out as %+v", n, seq, rec)
			}
			r.pop(next)
		}
		if !r.empty() {
			t.Fatalf("size %d: ring is not empty at the end", n)
		}
	}
}

func TestRingPublishesPrefix(t *testing.T) {
	r := newRing(1024)
	seq := uint64(0)
	for round := range 300 {
		staged := 0
		for range round % 7 {
			if r.stage(0, inbound, frameOf(seq+uint64(staged), 8+round%64), 1<<20) {
				staged++
			}
		}
		if _, _, ok := r.peek(); ok {
			t.Fatalf("round %d: a staged record is visible before it is published", round)
		}
		take := staged / 2
		r.publish(take)
		for range take {
			rec, next, ok := r.peek()
			if !ok {
				t.Fatalf("round %d: published record %d is missing", round, seq)
			}
			if got := binary.LittleEndian.Uint64(rec.data); got != seq {
				t.Fatalf("round %d: got record %d, want %d", round, got, seq)
			}
			seq++
			r.pop(next)
		}
		if !r.empty() {
			t.Fatalf("round %d: a record that was not published is visible", round)
		}
	}
}

func TestRingFullTakesNothing(t *testing.T) {
	r := newRing(1024)
	n := 0
	for r.stage(0, inbound, make([]byte, 100), 1<<20) {
		n++
	}
	if want := 1024 / (headerSize + 104); n != want {
		t.Errorf("ring of 1024 bytes took %d records of 100 bytes, want %d", n, want)
	}
	r.publish(n)
	if r.stage(0, inbound, make([]byte, 100), 1<<20) {
		t.Error("full ring took a record")
	}
	_, next, _ := r.peek()
	r.pop(next)
	if !r.stage(0, inbound, make([]byte, 100), 1<<20) {
		t.Error("ring took no record after one was popped")
	}
}

func TestRingSnap(t *testing.T) {
	r := newRing(1024)
	frame := frameOf(7, 100)
	r.stage(0, inbound, frame, 33)
	r.publish(1)
	rec, _, ok := r.peek()
	if !ok || rec.wire != 100 || !bytes.Equal(rec.data, frame[:33]) {
		t.Errorf("snapped record is wire=%d data=%d bytes, want 100 and 33", rec.wire, len(rec.data))
	}
}

// TestRingTwoSides runs producer and consumer at once: under -race it proves
// that nothing but head and tail is shared.
func TestRingTwoSides(t *testing.T) {
	const records = 200_000
	r := newRing(4096)
	sum := make(chan uint64, 1)
	go func() {
		var s uint64
		for want := uint64(0); want < records; {
			rec, next, ok := r.peek()
			if !ok {
				runtime.Gosched()
				continue
			}
			if got := binary.LittleEndian.Uint64(rec.data); got != want {
				t.Errorf("got record %d, want %d", got, want)
				break
			}
			for _, b := range rec.data[8:] {
				s += uint64(b)
			}
			want++
			r.pop(next)
		}
		sum <- s
	}()
	rng := rand.New(rand.NewPCG(1, 2))
	var want uint64
	buf := make([]byte, 256)
	for seq := uint64(0); seq < records; {
		batch := min(1+rng.IntN(8), int(records-seq))
		staged := 0
		for range batch {
			f := buf[:8+rng.IntN(248)]
			binary.LittleEndian.PutUint64(f, seq+uint64(staged))
			for i := 8; i < len(f); i++ {
				f[i] = byte(i)
			}
			if !r.stage(0, inbound, f, 1<<20) {
				break
			}
			staged++
			for _, b := range f[8:] {
				want += uint64(b)
			}
		}
		r.publish(staged)
		seq += uint64(staged)
		if staged == 0 {
			if t.Failed() {
				return
			}
			runtime.Gosched()
		}
	}
	if got := <-sum; got != want {
		t.Errorf("bytes read sum to %d, written to %d", got, want)
	}
}
