package tcp

// RACK-TLP (RFC 8985): a segment is lost if one that was sent later has arrived,
// and the time that reordering may take has passed.

// sentAfter is RACK_sent_after of section 6.2.
func sentAfter(at1 int64, end1 seqNum, at2 int64, end2 seqNum) bool {
	return at1 > at2 || at1 == at2 && end1.after(end2)
}

// rackDelivered is steps 1 to 3, for a segment newly acknowledged or SACKed.
func (c *Conn) rackDelivered(g *sentSegment, r *ackResult) {
	rtt := micros(c.e.now - g.at)
	retr := g.flags&segRetr != 0
	if retr {
		// This may acknowledge the first transmission, and not the second.
		if c.flags&flagTS != 0 && r.seg.HasTS && earlier(r.seg.TSEcr, c.timestampAt(g.at)) {
			return
		}
		if rtt < c.rtt.min {
			return
		}
	} else {
		c.rtt.min = min(c.rtt.min, rtt)
	}
	c.rtt.rack = rtt
	if sentAfter(g.at, g.end, c.rec.rackAt, c.rec.rackEnd) {
		c.rec.rackAt, c.rec.rackEnd = g.at, g.end
	}
	if g.end.after(c.rec.rackFack) {
		c.rec.rackFack = g.end
	} else if g.end.before(c.rec.rackFack) && !retr {
		c.flags |= flagReordered
	}
}

// reoWindow is step 4, in microseconds.
func (c *Conn) reoWindow() uint32 {
	if c.flags&flagReordered == 0 && (c.rec.state != caOpen || c.flight.sackedSegs >= dupThresh) {
		return 0
	}
	if c.rtt.min == ^uint32(0) {
		return c.rtt.srtt
	}
	return uint32(min(uint64(c.rec.reoMult)*uint64(c.rtt.min)/4, uint64(c.rtt.srtt)))
}

// detectLoss is step 5. It returns when the reordering timer is due, or 0.
func (c *Conn) detectLoss() (at int64) {
	if c.rec.rackAt == 0 || c.flags&flagSack == 0 {
		return 0
	}
	e := c.e
	wait := int64(c.rtt.rack+c.reoWindow()) * 1000
	for ref := c.flight.timeHead; ref != 0; {
		g := e.segs.at(ref)
		if !sentAfter(c.rec.rackAt, c.rec.rackEnd, g.at, g.end) {
			break
		}
		next := g.tnext
		if g.at+wait <= e.now {
			c.markLost(ref)
		} else {
			at = max(at, g.at+wait)
		}
		ref = next
	}
	return at
}

// pto is the PTO of section 7.2, in nanoseconds from now, or 0 if no
// tail loss probe is due.
func (c *Conn) pto() int64 {
	if c.flags&flagSack == 0 || c.rec.state != caOpen || c.flight.sackedSegs > 0 || c.flags&flagTLPOut != 0 || c.rtt.srtt == 0 {
		return 0
	}
	pto := 2 * int64(c.rtt.srtt) * 1000
	if c.flight.head == c.flight.tail {
		pto += maxAckDelay // the peer may delay the ACK of a single segment
	}
	return max(pto, minPTO)
}

const (
	maxAckDelay = 200e6 // ns
	minPTO      = 2 * tickDuration
)

// sendTLP is section 7.3: it sends new data, or else the last segment again.
func (c *Conn) sendTLP() outputResult {
	// An ACK may have arrived while there was no frame.
	if c.flight.tail == 0 || c.rec.state != caOpen || c.flight.sackedSegs > 0 {
		c.flags &^= flagSendTLP
		return outputDone
	}
	if n := min(c.unsent(), c.usableWindow(), c.maxPayload()); n > 0 {
		if !c.sendNew(n, false) {
			return outputNoFrame
		}
		c.flags &^= flagTLPRetr
	} else {
		if !c.retransmit(c.flight.tail) {
			return outputNoFrame
		}
		c.flags |= flagTLPRetr
	}
	c.flags = c.flags&^flagSendTLP | flagTLPOut
	c.rec.tlpEnd = c.snd.nxt
	c.e.stats.Probes++
	c.startRTO()
	return outputDone
}

// processTLPAck is section 7.4.2: an acknowledgement shows whether the probe repaired a loss.
func (c *Conn) processTLPAck(r *ackResult) {
	if c.flags&flagTLPOut == 0 || c.snd.una.before(c.rec.tlpEnd) {
		return
	}
	retr := c.flags&flagTLPRetr != 0
	if retr && c.snd.una == c.rec.tlpEnd && (r.acked > 0 || r.sack) {
		return // this may acknowledge either transmission; the next ACK decides
	}
	c.flags &^= flagTLPOut | flagTLPRetr
	// The probe has repaired a loss, and the window is reduced. If both transmissions had
	// arrived, a duplicate ACK or a D-SACK would have come first.
	if retr && !r.dsack && c.snd.una.after(c.rec.tlpEnd) && c.rec.state == caOpen {
		c.e.congestion.onLoss(c, caRecovery)
		c.e.congestion.onRecovered(c)
	}
}
