package tcp

// The budget. Engine.used counts, in bytes, and never goes beyond Config.Memory
// but by what was promised before:
//
//   - connCost for each connection, its place in the flow table included;
//   - each connection's receive buffer, in full, from the moment it is offered to
//     the peer: a window is a promise (RFC 9293 section 3.8.6);
//   - the chunks of each send queue;
//   - segCost for each segment in flight. These are not refused, so used may go beyond
//     by them, but what else is asked for then is.
//
// A million idle connections with the least receive buffer, 2 KiB, so count 2.6 GB, and
// take 0.54 GB.
//
// Segments out of order are in the receive buffer's share. As a chunk may hold
// little, a bound on chunks keeps what they take near what was reserved.
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

// firstRcvBuf is the receive buffer that a connection begins with, and goes back to when it
// was idle: a peer's first flight fits (RFC 6928). Config.RecvBuffer is reserved
// when it is seen to be of use, so that connections that say little cost little.
const firstRcvBuf = 16384

// initialRcvBuf is the receive buffer of a new connection: less as memory runs out, so
// that many small connections are preferred to few large ones. 0 means that there is none.
func (e *Engine) initialRcvBuf() uint32 {
	grant := e.minRcvBuf()
	free := e.cfg.Memory - e.used
	if free < e.sendShare() {
		return 0
	}
	switch {
	case free < e.cfg.Memory/8:
		grant = min(grant, 2048)
	case free < e.cfg.Memory/4:
		grant = min(grant, 4096)
	case free < e.cfg.Memory/2:
		grant = min(grant, 8192)
	}
	if !e.reserve(int64(grant)) {
		return 0
	}
	return grant
}

// sendShare is kept for what connections send: new ones don't take it. Were all
// memory taken by the receive buffers of connections that ask, none would be answered.
func (e *Engine) sendShare() int64 {
	return max(e.cfg.Memory/64, min(8*maxChunk, e.cfg.Memory/8))
}

// minRcvBuf is what a receive buffer shrinks to.
func (e *Engine) minRcvBuf() uint32 { return min(uint32(e.cfg.RecvBuffer), firstRcvBuf) }

// shrinkRcvBuf gives back what an idle connection has had more than others. What
// the peer was promised can't be, so this happens as it sends again.
func (c *Conn) shrinkRcvBuf() {
	least := c.e.minRcvBuf()
	if keep := max(least, c.rcv.adv-c.rcv.nxt+c.rcv.queue.n); keep < c.rcv.buf {
		c.e.used -= int64(c.rcv.buf - keep)
		c.rcv.buf = keep
	}
	if c.rcv.buf <= least {
		c.flags &^= flagShrinkBuf
	}
}

// plenty reports whether a Write that found no memory is worth repeating.
func (e *Engine) hasSlack() bool { return e.cfg.Memory-e.used >= 4*maxChunk }

// feed tells connections that waited for memory of it.
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

// growRcvBuf has the receive buffer grow to what is wanted, and to Config.RecvBuffer at
// least, if memory allows. A half is kept for new connections and for sending, of which a
// half may go to the first step.
func (c *Conn) growRcvBuf(want uint32) {
	e := c.e
	most := uint32(e.cfg.MaxRecvBuffer)
	if c.rcv.maxBuf != 0 {
		most = c.rcv.maxBuf
	}
	c.flags &^= flagShrinkBuf
	first := uint32(e.cfg.RecvBuffer)
	for _, step := range [...]struct {
		to   uint32
		room int64
	}{{max(want, first), e.cfg.Memory / 2}, {2 * c.rcv.buf, e.cfg.Memory / 2}, {min(first, 4*c.rcv.buf), e.cfg.Memory / 4 * 3}} {
		to := min(step.to, most)
		if to > c.rcv.buf && e.used+int64(to-c.rcv.buf) <= step.room {
			e.used += int64(to - c.rcv.buf)
			c.rcv.buf = to
			return
		}
	}
}

// sendLimit bounds the send queue: twice the congestion window, so that there
// is data to send when an acknowledgement comes, within the configured bounds.
func (c *Conn) sendLimit() uint32 {
	if c.snd.maxBuf != 0 {
		return c.snd.maxBuf
	}
	return min(max(2*c.cc.cwnd, uint32(c.e.cfg.SendBuffer)), uint32(c.e.cfg.MaxSendBuffer))
}

// reserveSend returns how many of n bytes can be queued in what the budget has
// left.
func (c *Conn) reserveSend(n int) int {
	e := c.e
	room := c.snd.queue.room(e.chunks)
	if n <= room {
		return n
	}
	// The queue may take chunks up to four times what they will hold, and at most
	// one of maxChunk more than it fills.
	if left := e.cfg.Memory - e.used; int64(n-room)*4+maxChunk > left {
		n = room + max(0, int(left-maxChunk)/4)
	}
	return n
}
