package tcp

// The budget. Engine.used counts, in bytes, and never goes beyond Config.Memory
// but by what was promised before:
//
//   - connCost for each connection, its place in the flow table included;
//   - each connection's receive buffer, in full, from the moment it is offered to
//     the peer: a window is a promise (RFC 9293 section 3.8.6);
//   - the chunks of each send queue.
//
// Segments out of order are in the receive buffer's share. As a chunk may hold
// little, a bound on chunks keeps what they take near what was reserved.
const connCost = 512

// reserve takes n bytes from the budget.
func (e *Engine) reserve(n int64) bool {
	if e.used+n > e.cfg.Memory {
		return false
	}
	e.used += n
	return true
}

// initialGrant is the receive buffer of a new connection: what the configuration
// says while memory is plenty, and less as it runs out, so that many small
// connections are preferred to few large ones. 0 means that there is none.
func (e *Engine) initialGrant() uint32 {
	grant := uint32(e.cfg.RecvBuffer)
	free := e.cfg.Memory - e.used
	switch {
	case free < e.cfg.Memory/8:
		grant = min(grant, 2048)
	case free < e.cfg.Memory/4:
		grant = min(grant, 4096)
	case free < e.cfg.Memory/2:
		grant = min(grant, 16384)
	}
	if !e.reserve(int64(grant)) {
		return 0
	}
	return grant
}

// growGrant doubles the receive buffer, if memory allows: only out of the half
// that is not kept for new connections and for sending.
func (c *Conn) growGrant() {
	e := c.e
	more := min(c.rcvGrant, uint32(e.cfg.MaxRecvBuffer)-min(c.rcvGrant, uint32(e.cfg.MaxRecvBuffer)))
	if more > 0 && e.used+int64(more) <= e.cfg.Memory/2 {
		e.used += int64(more)
		c.rcvGrant += more
	}
}

// sendLimit bounds the send queue: twice the congestion window, so that there
// is data to send when an acknowledgement comes, within the configured bounds.
func (c *Conn) sendLimit() uint32 {
	return min(max(2*c.cwnd, uint32(c.e.cfg.SendBuffer)), uint32(c.e.cfg.MaxSendBuffer))
}

// reserveSend returns how many of n bytes can be queued in what the budget has
// left.
func (c *Conn) reserveSend(n int) int {
	e := c.e
	room := c.sq.room(e.chunks)
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
