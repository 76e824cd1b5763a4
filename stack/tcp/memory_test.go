package tcp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"shardnet/driver/wire"
)

func TestPool(t *testing.T) {
	p := newPool[uint64](4, 8)
	rng := rand.New(rand.NewPCG(1, 5))
	have := map[uint32]uint64{}
	for round := range 40 {
		limit := []int{500, 20}[round%2]
		for range 2000 {
			if len(have) < limit && rng.IntN(2) == 0 {
				ref := p.get()
				if _, ok := have[ref]; ok || ref == 0 {
					t.Fatalf("handed out %d, which is in use", ref)
				}
				have[ref] = rng.Uint64()
				*p.at(ref) = have[ref]
				p.mem(ref)[0] = byte(have[ref])
			}
			for ref, v := range have {
				if *p.at(ref) != v || p.mem(ref)[0] != byte(v) {
					t.Fatalf("item %d has changed", ref)
				}
				if len(have) > limit || rng.IntN(2) == 0 {
					delete(have, ref)
					p.put(ref)
				}
				break
			}
		}
		if p.live != len(have) {
			t.Fatalf("%d items are out, want %d", p.live, len(have))
		}
	}
	for ref := range have {
		p.put(ref)
	}
	held := 0
	for i := range p.slabs {
		if p.slabs[i].items != nil {
			held++
		}
	}
	if held > 2 {
		t.Errorf("%d slabs are held without an item in use", held)
	}
}

func TestQueue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	cs := newChunks()
	var q queue
	var model []byte
	for i := range 20000 {
		switch rng.IntN(5) {
		case 0, 1:
			if len(model) < 200000 {
				b := make([]byte, 1+rng.IntN(1<<rng.IntN(14)))
				for k := range b {
					b[k] = byte(rng.Uint32())
				}
				q.append(cs, b)
				model = append(model, b...)
			}
		case 2:
			b := make([]byte, rng.IntN(1<<rng.IntN(15)))
			n := q.read(cs, b)
			if n != min(len(b), len(model)) || !bytes.Equal(b[:n], model[:n]) {
				t.Fatalf("step %d: read %d bytes, or the wrong ones", i, n)
			}
			model = model[n:]
		case 3:
			n := rng.IntN(len(model) + 1)
			q.discard(cs, uint32(n))
			model = model[n:]
		case 4:
			if len(model) == 0 {
				continue
			}
			from := rng.IntN(len(model))
			n := rng.IntN(len(model) - from)
			pl := q.skip(cs, q.normalize(cs, queuePos{}), uint32(from))
			b := make([]byte, n)
			after := q.copyAt(cs, pl, b)
			if !bytes.Equal(b, model[from:from+n]) {
				t.Fatalf("step %d: copied the wrong bytes", i)
			}
			if n > 0 && q.normalize(cs, after) != q.normalize(cs, q.skip(cs, pl, uint32(n))) {
				t.Fatalf("step %d: the place after is wrong", i)
			}
		}
		if err := q.check(cs); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
		if int(q.n) != len(model) || int64(q.mem) != cs.bytes {
			t.Fatalf("step %d: %d bytes in %d, want %d in %d", i, q.n, q.mem, len(model), cs.bytes)
		}
		if len(model) > 50000 && int(q.mem) > len(model)*2 {
			t.Fatalf("step %d: %d bytes take %d", i, len(model), q.mem)
		}
	}
	q.free(cs)
	if cs.bytes != 0 {
		t.Errorf("%d bytes are left", cs.bytes)
	}
}

func TestChecksum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	for n := headerLen; n < 200; n++ {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		tuple := MakeTuple(testPorts(simAddr[0]), testPorts(simAddr[1]))
		b[16], b[17] = 0, 0
		setChecksum(b, tuple.pseudoSum())
		// RFC 1071's plain sum of 16-bit words.
		src, dst := tuple.Local[12:], tuple.Remote[12:]
		words := append(append(append([]byte{0, wire.ProtoTCP, byte(n >> 8), byte(n)}, src...), dst...), b...)
		var plain uint32
		for i := range words {
			plain += uint32(words[i]) << (8 * (1 - i%2))
		}
		for plain > 0xffff {
			plain = plain>>16 + plain&0xffff
		}
		if plain != 0xffff || !VerifyChecksum(b, src, dst) {
			t.Fatalf("%d bytes sum to %x; verified: %v", n, plain, VerifyChecksum(b, src, dst))
		}
		b[rng.IntN(n)] ^= 0x10
		if VerifyChecksum(b, src, dst) {
			t.Fatalf("%d bytes: a changed bit was not seen", n)
		}
	}
}
