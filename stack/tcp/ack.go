package tcp

// ackSample is what an acknowledgement tells congestion control.
type ackSample struct {
	acked     uint32 // bytes that SND.UNA moved by
	delivered uint32 // bytes newly acknowledged or SACKed
	lost      bool   // more is lost than before
}

// ackResult is what an acknowledgement has changed.
type ackResult struct {
	ackSample
	seg       *Segment
	sampleAt  int64 // when the oldest acknowledged segment was sent
	sampled   bool
	retrAcked bool // an acknowledged segment had been retransmitted
	sack      bool // a block reported something new
	dsack     bool
}

// processAck takes the acknowledgement (RFC 9293 section 3.10.7.4, fifth). It returns false if the
// segment is to be dropped, or the connection has ended.
func (c *Conn) processAck(s *Segment) bool {
	ack := s.Ack
	if ack.after(c.snd.nxt) || ack.before(c.snd.una.add(-c.snd.maxWnd)) {
		// RFC 5961 section 5.2: a blind attacker must guess an ACK, too.
		c.challenge()
		return false
	}
	if ack.before(c.snd.una) {
		return true
	}
	c.keep.unanswered = 0
	r := ackResult{seg: s}
	inFlight := c.flight.head != 0
	window := uint32(s.Window) << c.snd.scale
	// RFC 5681 section 2 defines a duplicate acknowledgement.
	dup := ack == c.snd.una && inFlight && s.length() == 0 && window == c.snd.wnd
	fin := false
	if ack.after(c.snd.una) {
		fin = c.advanceUna(ack, &r)
	}
	if c.flags&flagSack != 0 && s.Blocks > 0 {
		c.processSACK(&r)
	}
	c.updateWindow(s, window)
	if inFlight {
		c.onAck(&r, dup)
	} else {
		c.processTLPAck(&r)
	}
	if r.acked > 0 {
		c.timers.backoff = 0
		c.timers.lossKind, c.timers.lossAt = lossNone, 0 // armLoss restarts it (RFC 6298 section 5.3)
		if c.flags&flagWantWrite != 0 && c.snd.queue.n < c.sendLimit()/4*3 {
			c.flags &^= flagWantWrite
			c.notify(Writable)
		}
	}
	c.armLoss()
	if c.flight.lost > 0 || c.unsent() > 0 || c.flags&flagFin != 0 && !c.finSent() && c.flags&flagFinAcked == 0 {
		c.schedule(0)
	}
	if fin {
		return c.onFINAcked()
	}
	return true
}

// advanceUna moves SND.UNA to ack. It returns true if that acknowledges our FIN.
func (c *Conn) advanceUna(ack seqNum, r *ackResult) (fin bool) {
	e := c.e
	fin = c.finSent() && ack == c.snd.nxt && c.flags&flagFinAcked == 0
	r.acked = ack.sub(c.snd.una)
	for c.flight.head != 0 {
		ref := c.flight.head
		g := e.segs.at(ref)
		if g.end.after(ack) {
			if g.seq.before(ack) {
				n := ack.sub(g.seq)
				if g.flags&segSacked == 0 {
					r.delivered += n
				}
				c.trimSegment(g, n)
			}
			break
		}
		if g.flags&segSacked == 0 {
			r.delivered += g.end.sub(g.seq)
			c.rackDelivered(g, r)
			if !r.sampled {
				r.sampleAt, r.sampled = g.at, true
			}
		}
		if g.flags&segRetr != 0 {
			r.retrAcked = true
		}
		c.dropSegment(ref)
	}
	data := r.acked
	if fin {
		data--
		c.flags |= flagFinAcked
	}
	mem := c.snd.queue.mem
	c.snd.queue.discard(e.chunks, data)
	e.used -= int64(mem - c.snd.queue.mem)
	c.snd.una = ack
	if ack == c.snd.nxt || c.snd.queue.n == 0 {
		c.snd.pos = queuePos{} // its chunk was freed
	}
	return fin
}

// updateWindow takes SEG.WND, unless the segment is older than that of the current window.
func (c *Conn) updateWindow(s *Segment, window uint32) {
	if !c.snd.wl1.before(s.Seq) && (c.snd.wl1 != s.Seq || c.snd.wl2.after(s.Ack)) {
		return
	}
	c.snd.wl1, c.snd.wl2 = s.Seq, s.Ack
	if window == c.snd.wnd {
		return
	}
	c.snd.wnd = window
	c.snd.maxWnd = max(c.snd.maxWnd, window)
	if c.timers.lossKind == lossPersist && window > 0 {
		c.timers.lossKind, c.timers.lossAt, c.timers.backoff = lossNone, 0, 0
		c.schedule(0)
	}
}

// onFINAcked changes the state when our FIN was acknowledged. It returns false if the connection
// has ended.
func (c *Conn) onFINAcked() bool {
	switch c.state {
	case StateFinWait1:
		c.state = StateFinWait2
		if c.flags&flagOwned == 0 {
			c.armFinWait2()
		}
	case StateClosing:
		c.enterTimeWait()
		return false
	case StateLastAck:
		c.finish(StateClosed)
		return false
	}
	return true
}
