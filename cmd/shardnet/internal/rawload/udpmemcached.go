package rawload

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// memDatagrams is MemcachedUDP's. Each datagram begins with request id, sequence
// number, number of datagrams, and zero (memcached's doc/protocol.txt).
//
// The id is local to the flow: its low bits are the slot's number among the
// flow's, the others count the slot's requests. So an answer that comes after its
// slot was given up is told from the next one's until those bits wrap.
type memDatagrams struct {
	keys  *keys
	size  int
	flows int
	local int     // low bits of the id
	fill  *filler // preloading: what is to be set; nil otherwise
}

// filler goes through all keys once, and again through those that were lost.
type filler struct {
	next, n  uint32
	again    []uint32
	attempts int
}

// idBits is how many bits count the slots of a flow.
func idBits(window, flows int) int {
	return bits.Len(uint((window+flows-1)/flows - 1))
}

func (d *memDatagrams) next(s *udpSlot) bool {
	f := d.fill
	switch {
	case f == nil:
		s.key, s.set = d.keys.pick()
	case f.next < f.n:
		s.key, s.set = f.next, true
		f.next++
	case len(f.again) > 0 && f.attempts > 0:
		last := len(f.again) - 1
		s.key, s.set = f.again[last], true
		f.again = f.again[:last]
		f.attempts--
	default:
		return false
	}
	return true
}

func (d *memDatagrams) lost(s *udpSlot) {
	if d.fill != nil {
		d.fill.again = append(d.fill.again, s.key)
	}
}

func (d *memDatagrams) id(i int, s *udpSlot) uint16 {
	return uint16(s.gen)<<d.local | uint16(i/d.flows)
}

func (d *memDatagrams) encode(b []byte, i int, s *udpSlot) int {
	be.PutUint64(b, uint64(d.id(i, s))<<48|1<<16)
	if s.set {
		return len(appendSet(b[:memFrameLen], s.key, d.size))
	}
	return len(appendGet(b[:memFrameLen], s.key, d.size))
}

func (d *memDatagrams) identify(b []byte, flow int, slots []udpSlot) (int, bool) {
	if len(b) < memFrameLen {
		return -1, false
	}
	id := be.Uint16(b)
	i := int(id&(1<<d.local-1))*d.flows + flow
	if i >= len(slots) {
		return -1, false
	}
	return i, d.id(i, &slots[i]) == id
}

func (d *memDatagrams) check(b []byte, i int, s *udpSlot) string {
	if be.Uint64(b)&0xffff_ffff_ffff != 1<<16 {
		return "answer is not one datagram"
	}
	body := b[memFrameLen:]
	if s.set {
		if string(body) != stored {
			return "set was not answered by STORED"
		}
		return ""
	}
	var scratch [valueOverhead]byte
	line := appendValueLine(scratch[:0], s.key, d.size)
	n := len(line)
	switch {
	case string(body) == "END\r\n":
		return "key was not found"
	case len(body) != n+d.size+len(valueEnd) || string(body[:n]) != string(line):
		return "get was not answered by its key, flags and size"
	case string(body[n:n+d.size]) != string(value(s.key, d.size)) || string(body[n+d.size:]) != valueEnd:
		return "get was answered by another value"
	}
	return ""
}

// fillUDP sets every key.
func (g *Generator) fillUDP(w Work, flows []udpFlow) error {
	w.Window = min(w.Window, 32) // a server that can't keep up would only lose them
	f := &filler{n: uint32(w.Keys), attempts: 16 + w.Keys/4}
	u := g.newUDPLoad(&w, flows, &memDatagrams{size: w.Value, flows: len(flows), local: idBits(w.Window, len(flows)), fill: f})
	g.tick()
	u.m = meter{r: g.result, from: math.MaxInt64, to: math.MaxInt64}
	u.p = newPacer(0, g.now)
	start := g.now
	if err := g.loop(u); err != nil || g.stop.Load() {
		return err
	}
	if len(f.again) > 0 {
		return fmt.Errorf("fill memcached: %d of %d keys could not be set within %v", len(f.again), w.Keys, time.Duration(g.now-start).Round(time.Millisecond))
	}
	return nil
}
