package tcp

// The budget. Engine.used counts bytes:
//
//   - connCost for each connection, with its slot in the flow table;
//   - each connection's receive buffer, in full, from when it is offered to the peer: a
//     window is a promise (RFC 9293 section 3.8.6);
//   - the chunks of each send queue;
//   - segCost for each segment in flight.
//
// It does not exceed Config.Memory, with one exception: a segment in flight is never
// refused. While used is above the bound, everything else is refused.
//
// A million idle connections with receive buffers of 2 KiB, the smallest, count 2.6 GB and
// take 0.54 GB of memory.
//
// Segments out of order belong to the receive buffer. A chunk may hold few bytes, so the
// memory of their chunks is bounded too.
const (
	connCost = 544
	segCost  = 48
)

// reserve takes n bytes from the budget.
func (e *Engine) reserve(n int64) bool {
	if e.used+n > e.cfg.Memory {
		return false
	}
	e.used += n
	return true
}

// firstRcvBuf is the receive buffer that a connection begins with. An idle connection goes back to
// it. A peer's first flight fits in (RFC 6928). Config.RecvBuffer is reserved when the connection
// makes use of it, so that connections that receive little cost little.
const firstRcvBuf = 16384

// initialRcvBuf reserves the receive buffer of a new connection, and returns its size. It is
// smaller when memory runs out, so that many small connections are preferred to few large ones. 0
// means that there is no memory.
func (e *Engine) initialRcvBuf() uint32 {
	size := e.minRcvBuf()
	free := e.cfg.Memory - e.used
	if free < e.sendShare() {
		return 0
	}
	switch {
	case free < e.cfg.Memory/8:
		size = min(size, 2048)
	case free < e.cfg.Memory/4:
		size = min(size, 4096)
	case free < e.cfg.Memory/2:
		size = min(size, 8192)
	}
	if !e.reserve(int64(size)) {
		return 0
	}
	return size
}

// sendShare is reserved for send buffers, so that idle receivers can't starve replies.
func (e *Engine) sendShare() int64 {
	return max(e.cfg.Memory/64, min(8*maxChunk, e.cfg.Memory/8))
}

// minRcvBuf is the size that a receive buffer shrinks to.
func (e *Engine) minRcvBuf() uint32 { return min(uint32(e.cfg.RecvBuffer), firstRcvBuf) }

// shrinkRcvBuf returns an idle connection's memory to the budget. Bytes that were offered to the
// peer stay reserved, so the buffer shrinks as the peer sends again.
func (c *Conn) shrinkRcvBuf() {
	minBuf := c.e.minRcvBuf()
	if keep := max(minBuf, c.rcv.adv.sub(c.rcv.nxt)+c.rcv.queue.n); keep < c.rcv.buf {
		c.e.used -= int64(c.rcv.buf - keep)
		c.rcv.buf = keep
	}
	if c.rcv.buf <= minBuf {
		c.flags &^= flagShrinkBuf
	}
}

// hasSlack reports whether a Write that found no memory is worth repeating.
func (e *Engine) hasSlack() bool { return e.cfg.Memory-e.used >= 4*maxChunk }

// wakeStarved notifies connections that wait for memory to write.
func (e *Engine) wakeStarved() {
	for len(e.starved) > 0 && e.hasSlack() {
		c := e.conns.at(e.starved[len(e.starved)-1])
		e.starved = e.starved[:len(e.starved)-1]
		c.flags &^= flagStarved
		if c.state.ended() {
			c.release()
		} else if c.flags&flagWantWrite != 0 {
			c.flags &^= flagWantWrite
			c.notify(Writable)
		}
	}
}

// growRcvBuf makes the receive buffer as large as is wanted, and at least Config.RecvBuffer, if
// memory allows. Half of the memory is kept for new connections and for sending. The first step may
// use half of that.
func (c *Conn) growRcvBuf(want uint32) {
	e := c.e
	limit := uint32(e.cfg.MaxRecvBuffer)
	if c.rcv.maxBuf != 0 {
		limit = c.rcv.maxBuf
	}
	c.flags &^= flagShrinkBuf
	first := uint32(e.cfg.RecvBuffer)
	for _, step := range [...]struct {
		to   uint32
		room int64
	}{{max(want, first), e.cfg.Memory / 2}, {2 * c.rcv.buf, e.cfg.Memory / 2}, {min(first, 4*c.rcv.buf), e.cfg.Memory / 4 * 3}} {
		to := min(step.to, limit)
		if to > c.rcv.buf && e.used+int64(to-c.rcv.buf) <= step.room {
			e.used += int64(to - c.rcv.buf)
			c.rcv.buf = to
			return
		}
	}
}

// sendLimit bounds the send queue. It is twice the congestion window, within the configured bounds,
// so that there is data to send when an acknowledgement comes.
func (c *Conn) sendLimit() uint32 {
	if c.snd.maxBuf != 0 {
		return c.snd.maxBuf
	}
	return min(max(2*c.cc.cwnd, uint32(c.e.cfg.SendBuffer)), uint32(c.e.cfg.MaxSendBuffer))
}

// reserveSend returns how many of n bytes the budget lets the connection queue.
func (c *Conn) reserveSend(n int) int {
	e := c.e
	room := c.snd.queue.room(e.chunks)
	if n <= room {
		return n
	}
	// The queue may take chunks of up to four times the bytes, and one of maxChunk that
	// it does not fill.
	if left := e.cfg.Memory - e.used; int64(n-room)*4+maxChunk > left {
		n = room + max(0, int(left-maxChunk)/4)
	}
	return n
}
