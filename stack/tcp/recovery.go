package tcp

// caState is the state of loss recovery.
type caState uint8

const (
	caOpen     caState = iota
	caRecovery         // loss was found by acknowledgements: proportional rate reduction
	caLoss             // the retransmission timer has expired: slow start
)

// dupThresh is RFC 5681's three duplicate ACKs.
const dupThresh = 3

// onAck processes what an acknowledgement means for recovery and congestion control: which segments
// are lost, and how much may be in flight.
func (c *Conn) onAck(r *ackResult, dup bool) {
	sack := c.flags&flagSack != 0
	if r.acked > 0 {
		if r.sampled && !r.retrAcked {
			c.sampleRTT(c.e.now - r.sampleAt)
			c.e.congestion.onRTT(c, micros(c.e.now-r.sampleAt))
		} else if c.flags&flagTS != 0 && r.seg.HasTS {
			c.sampleTimestamp(r.seg)
		}
		// RFC 3522: a TSecr from before the retransmission means that the first
		// transmission has arrived.
		if c.rec.state != caOpen && r.retrAcked && c.rec.undoRetrans > 0 && c.flags&flagTS != 0 && r.seg.HasTS &&
			earlier(r.seg.TSEcr, c.ts.firstRetr) {
			c.undo()
		}
	}
	lostBefore := c.flight.lost
	if sack && (r.seg.Blocks > 0 || c.flight.sackedSegs > 0) {
		c.rec.dupAcks = 0
		c.flags &^= flagNewReno
	} else {
		c.newReno(r, dup)
	}
	if c.flags&(flagSack|flagNewReno) == flagSack {
		c.armReorder(c.detectLoss())
	} else {
		c.armReorder(0) // RACK needs SACK
	}
	c.processTLPAck(r)
	if c.rec.state != caOpen && c.snd.una.afterEq(c.rec.point) {
		c.exitRecovery()
	}
	if c.rec.state == caOpen && c.flight.lost > 0 {
		c.enterRecovery()
	}
	r.lost = c.flight.lost > lostBefore
	c.e.congestion.onAck(c, r.ackSample)
}

// newReno finds losses by duplicate ACKs (RFC 6582), for a peer without SACK. It also serves a peer
// that negotiated SACK and sends no blocks, as gVisor's netstack does once its own side is closed.
func (c *Conn) newReno(r *ackResult, dup bool) {
	switch {
	case r.acked > 0:
		c.rec.dupAcks = 0
		if c.flags&(flagSack|flagNewReno) != flagSack && c.rec.state == caRecovery && c.snd.una.before(c.rec.point) && c.flight.head != 0 {
			c.markLost(c.flight.head) // a partial ACK: the next one is missing too
		}
		if c.rec.state == caOpen && c.snd.una.after(c.rec.point) {
			c.rec.point = c.snd.una - 1 // comparisons need it within 2^31 of SND.UNA
		}
	case dup && c.rec.dupAcks < 1<<15:
		c.rec.dupAcks++
		r.delivered += uint32(c.snd.mss)
		// Section 3.2, step 2: not for duplicates that the last recovery has caused.
		if c.rec.dupAcks == dupThresh && c.rec.state == caOpen && c.snd.una.after(c.rec.point) {
			c.markLost(c.flight.head)
			c.flags |= flagNewReno
		}
	}
}

// saveForUndo keeps the windows for undo.
func (c *Conn) saveForUndo() {
	c.cc.priorCwnd, c.cc.priorThresh = c.cc.cwnd, c.cc.ssthresh
	c.rec.undoMarker, c.rec.undoRetrans = c.snd.una, 0
}

// enterRecovery begins fast recovery.
func (c *Conn) enterRecovery() {
	c.saveForUndo()
	c.rec.prrFlight = max(c.snd.nxt.sub(c.snd.una), 1)
	c.e.congestion.onLoss(c, caRecovery)
	c.rec.state = caRecovery
	c.rec.point = c.snd.nxt
	c.rec.prrDelivered, c.rec.prrOut = 0, 0
	c.flags &^= flagSendTLP
	c.e.stats.Recoveries++
}

// rateReduction is proportional rate reduction (RFC 6937 section 3). During recovery, what is sent
// is in proportion to what is delivered.
func (c *Conn) rateReduction(a ackSample) {
	if a.delivered == 0 && c.rec.prrDelivered > 0 {
		return
	}
	c.rec.prrDelivered += a.delivered
	pipe := c.pipe()
	var n int64
	if pipe > c.cc.ssthresh {
		f := uint64(c.rec.prrFlight)
		n = int64((uint64(c.rec.prrDelivered)*uint64(c.cc.ssthresh)+f-1)/f) - int64(c.rec.prrOut)
	} else {
		n = max(int64(c.rec.prrDelivered)-int64(c.rec.prrOut), int64(a.delivered))
		if a.acked > 0 && !a.lost {
			n += int64(c.snd.mss)
		}
		n = min(n, int64(c.cc.ssthresh-pipe))
	}
	if c.rec.prrOut == 0 {
		n = max(n, int64(c.snd.mss)) // the fast retransmission itself
	}
	c.cc.cwnd = pipe + uint32(max(n, 0))
}

// exitRecovery ends recovery: all data that was in flight at its start has arrived.
func (c *Conn) exitRecovery() {
	if c.rec.state == caRecovery {
		c.e.congestion.onRecovered(c)
	}
	c.rec.state = caOpen
	c.rec.dupAcks = 0
	c.flags &^= flagNewReno
	if c.rec.reoPersist > 0 {
		c.rec.reoPersist--
		if c.rec.reoPersist == 0 {
			c.rec.reoMult = 1
		}
	}
}

// undo restores the windows: nothing was lost. A D-SACK may show that after the end of recovery.
func (c *Conn) undo() {
	c.rec.undoRetrans = 0
	if c.cc.priorCwnd == 0 {
		return
	}
	c.e.stats.Undone++
	c.e.congestion.onUndo(c)
	c.cc.priorCwnd = 0
	c.rec.state = caOpen
	c.timers.backoff = 0
	for c.flight.lost > 0 {
		ref := c.nextLost()
		g := c.e.segs.at(ref)
		g.flags &^= segLost
		c.flight.lost -= g.end.sub(g.seq)
		c.timeInsert(ref, g)
	}
}

// onRTO is the expired retransmission timer (RFC 6298 sections 5.4 to 5.7). By RFC 8985 section 6.3
// the oldest segment is lost, and those not sent since.
func (c *Conn) onRTO() {
	e := c.e
	e.stats.Timeouts++
	if c.rec.state != caLoss {
		c.saveForUndo()
		// RFC 5681 section 3.1: once for a segment, not for each time it is sent.
		c.e.congestion.onLoss(c, caLoss)
	}
	if c.flight.sackedSegs > 0 && e.segs.at(c.flight.head).flags&segSacked != 0 {
		c.forgetSACKs()
	}
	wait := int64(c.rtt.rack+c.reoWindow()) * 1000
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		g := e.segs.at(ref)
		if ref == c.flight.head || c.flags&flagSack == 0 || g.at+wait <= e.now {
			c.markLost(ref)
		}
	}
	c.rec.dupAcks = 0
	c.rec.state = caLoss
	c.rec.point = c.snd.nxt
	c.flags &^= flagSendTLP | flagTLPOut | flagTLPRetr
	c.cc.cwnd = c.pipe() + uint32(c.snd.mss)
	if c.timers.backoff < 255 {
		c.timers.backoff++
	}
	c.startRTO()
	c.timers.probeKind, c.timers.probeAt = probeNone, 0
	c.schedule(0)
}
