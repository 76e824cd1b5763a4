package tcp

// Reject answers a segment without a connection with a RST (RFC 9293 section 3.10.7.1), if there is
// a frame and the limit of RSTs a second allows it.
func (e *Engine) Reject(s *Segment) {
	if s.Flags&FlagRST != 0 || !e.resets.allow(e.now, resetsPerSecond) {
		return
	}
	seq, ack, fl := s.Ack, seqNum(0), uint8(FlagRST)
	if s.Flags&FlagACK == 0 {
		seq, ack, fl = 0, s.Seq.add(s.length()), FlagRST|FlagACK
	}
	if e.reply(nil, &s.Tuple, seq, ack, fl, 0, 0) {
		e.stats.Resets++
	}
}

// sendReset sends a RST for a connection that ends. The peer accepts the sequence number that
// it expects (RFC 5961 section 3.2).
func (e *Engine) sendReset(c *Conn) {
	if e.reply(c, &c.tuple, c.ackSeq(), c.rcv.nxt, FlagRST|FlagACK, 0, 0) {
		e.stats.Resets++
	}
}

// sendTimeWaitAck sends an ACK for a connection in TIME-WAIT.
func (e *Engine) sendTimeWaitAck(w *timeWait, ms uint32) {
	val := uint32(0)
	if w.hasTS {
		val = ms + w.tsOffset
	}
	e.reply(nil, &w.tuple, w.sndNxt, w.rcvNxt, FlagACK, val, w.tsRecent)
}

// reply sends a segment without data or window, which no list of the engine remembers: it is
// sent now or never. c is nil without a connection. It reports whether there was a frame.
func (e *Engine) reply(c *Conn, t *Tuple, seq, ack seqNum, fl uint8, val, ecr uint32) bool {
	n := headerLen
	if val != 0 {
		n += timestampsLen
	}
	b := e.frame(c, t, n)
	if b == nil {
		e.stats.NoFrame++
		return false
	}
	putHeader(b, t, seq, ack, fl, 0, n)
	if val != 0 {
		putTimestamps(b[headerLen:], val, ecr)
	}
	e.send(c, b, t.pseudoSum())
	return true
}
