package tcp

// Reject answers a segment without a connection with a RST (RFC 9293 section 3.10.7.1), if there is
// a frame and the limit of RSTs a second allows it.
func (e *Engine) Reject(s *Segment) {
	if s.Flags&FlagRST != 0 || !e.resets.allow(e.now, resetsPerSecond) {
		return
	}
	seq, ack, fl := s.Ack, uint32(0), uint8(FlagRST)
	if s.Flags&FlagACK == 0 {
		seq, ack, fl = 0, s.Seq+s.length(), FlagRST|FlagACK
	}
	if e.reply(&s.Tuple, seq, ack, fl, 0, 0, 0) {
		e.stats.Resets++
	}
}

// sendReset sends a RST for a connection that ends.
func (e *Engine) sendReset(c *Conn) {
	b := e.cfg.Output.Frame(c, &c.tuple, headerLen)
	if b == nil {
		e.stats.NoFrame++
		return
	}
	b = b[:headerLen]
	// The peer believes the sequence number it expects (RFC 5961 section 3.2).
	putHeader(b, &c.tuple, c.ackSeq(), c.rcv.nxt, FlagRST|FlagACK, 0, headerLen)
	setChecksum(b, uint64(c.pseudoSum))
	e.cfg.Output.Send(c, b)
	e.stats.Sent++
	e.stats.Resets++
}

// sendTimeWaitAck sends an ACK for a connection in TIME-WAIT.
func (e *Engine) sendTimeWaitAck(w *timeWait, ms uint32) {
	val := uint32(0)
	if w.hasTS {
		val = ms + w.tsOffset
	}
	e.reply(&w.tuple, w.sndNxt, w.rcvNxt, FlagACK, 0, val, w.tsRecent)
}

// reply sends a segment without data that belongs to no connection. It reports whether there was a
// frame.
func (e *Engine) reply(t *Tuple, seq, ack uint32, fl uint8, wnd uint16, val, ecr uint32) bool {
	n := headerLen
	if val != 0 {
		n += timestampsLen
	}
	b := e.cfg.Output.Frame(nil, t, n)
	if b == nil {
		e.stats.NoFrame++
		return false
	}
	b = b[:n]
	putHeader(b, t, seq, ack, fl, wnd, n)
	if val != 0 {
		putTimestamps(b[headerLen:], val, ecr)
	}
	setChecksum(b, t.pseudoSum())
	e.cfg.Output.Send(nil, b)
	e.stats.Sent++
	return true
}
