package socketapi

import "math/bits"

// eventBuf holds bytes of one direction of a connection: input that its handler
// did not consume, or output that its flow did not take. A connection has one only
// while there are such bytes.
type eventBuf struct {
	b    []byte
	off  int       // b[:off] is done with
	next *eventBuf // in the pool
}

func (e *eventBuf) len() int {
	if e == nil {
		return 0
	}
	return len(e.b) - e.off
}

func (e *eventBuf) bytes() []byte {
	if e == nil {
		return nil
	}
	return e.b[e.off:]
}

// Sizes of buffers are powers of two from minEventBuf. A pool keeps up to
// poolLimit bytes of free ones, enough for what a shard needs in a busy turn.
const (
	minEventBufBits = 11
	poolClasses     = 12
	poolLimit       = 1 << 20
)

// bufPool is the free buffers of one shard's part of a server. Loop only.
type bufPool struct {
	free  [poolClasses]*eventBuf
	bytes int
}

// class is the index of the smallest size that holds n bytes.
func class(n int) int { return max(bits.Len(uint(n-1)), minEventBufBits) - minEventBufBits }

// get returns an empty buffer with room for n bytes.
func (p *bufPool) get(n int) *eventBuf {
	k := class(n)
	if k < poolClasses {
		if e := p.free[k]; e != nil {
			p.free[k], e.next = e.next, nil
			p.bytes -= cap(e.b)
			return e
		}
	}
	return &eventBuf{b: make([]byte, 0, 1<<(k+minEventBufBits))}
}

// put takes e back.
func (p *bufPool) put(e *eventBuf) {
	if e == nil {
		return
	}
	k := class(cap(e.b))
	if k >= poolClasses || p.bytes+cap(e.b) > poolLimit {
		return
	}
	e.b, e.off = e.b[:0], 0
	e.next, p.free[k] = p.free[k], e
	p.bytes += cap(e.b)
}

// reserve returns e, or a buffer with its bytes, that has room for n more. e may
// be nil.
func (p *bufPool) reserve(e *eventBuf, n int) *eventBuf {
	switch {
	case e == nil:
		return p.get(n)
	case cap(e.b)-len(e.b) >= n:
		return e
	case cap(e.b)-e.len() >= n && e.off >= cap(e.b)/2: // seldom enough to be cheap
		e.b, e.off = e.b[:copy(e.b, e.bytes())], 0
		return e
	}
	g := p.get(e.len() + n)
	g.b = append(g.b, e.bytes()...)
	p.put(e)
	return g
}

// consume drops the first n bytes of e, and gives e back when none are left.
func (p *bufPool) consume(e *eventBuf, n int) *eventBuf {
	if e.off += n; e.off < len(e.b) {
		return e
	}
	p.put(e)
	return nil
}
