package enginetcp

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"shardnet/stack/tcp"
)

// maxSlow bounds the slow-path inputs that wait; more are dropped.
const maxSlow = 256

// slowPath is what reaches the engine by way of netstack: segments that IP had to do
// something for (fragments, options, extension headers), those that this host sends to
// itself, and ICMP errors. Netstack may deliver on any goroutine, in the middle of a call of
// the engine's own: so they are kept for the loop.
type slowPath struct {
	waiting atomic.Bool // list is not empty
	mu      sync.Mutex
	list    []slowInput
	dropped uint64
	run     []slowInput // the loop's own; changes places with list
}

// slowInput is a segment, or what an ICMP error says of one of ours.
type slowInput struct {
	src, dst netip.Addr
	segment  []byte // nil: an error
	tuple    tcp.Tuple
	seq      uint32
	kind     tcp.ICMPKind
	mtu      int
}

// SlowSegment implements netstack.Engine.
func (f *TCP) SlowSegment(src, dst netip.Addr, segment []byte) {
	f.deferSlow(slowInput{src: src, dst: dst, segment: segment})
}

// SlowError implements netstack.Engine.
func (f *TCP) SlowError(t tcp.Tuple, seq uint32, kind tcp.ICMPKind, mtu int) {
	f.deferSlow(slowInput{tuple: t, seq: seq, kind: kind, mtu: mtu})
}

// deferSlow leaves in for the loop.
func (f *TCP) deferSlow(in slowInput) {
	q := &f.slow
	q.mu.Lock()
	ok := len(q.list) < maxSlow
	if ok {
		q.list = append(q.list, in)
		q.waiting.Store(true)
	} else {
		q.dropped++
	}
	q.mu.Unlock()
	if ok {
		f.wake()
	}
}

// inputSlow gives the engine what waits, and returns how much that was. Loop only.
func (f *TCP) inputSlow() int {
	q := &f.slow
	if !q.waiting.Load() {
		return 0
	}
	q.mu.Lock()
	q.waiting.Store(false)
	q.run, q.list = q.list, q.run[:0]
	q.mu.Unlock()
	f.lock()
	for i := range q.run {
		in := &q.run[i]
		switch {
		case in.segment == nil:
			f.engine.ICMP(f.now, &in.tuple, in.seq, in.kind, in.mtu)
		case tcp.ParseSegment(&f.seg, in.segment, in.src.AsSlice(), in.dst.AsSlice()) == nil:
			if f.engine.Input(f.now, &f.seg) == tcp.NoConnection {
				f.engine.Reject(&f.seg)
			}
		}
		q.run[i] = slowInput{}
	}
	f.unlock()
	return len(q.run)
}
