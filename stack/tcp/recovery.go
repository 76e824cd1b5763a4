package tcp

// caState is the state of congestion control.
type caState uint8

const (
	caOpen     caState = iota
	caRecovery         // loss was found by acknowledgements: proportional rate reduction
	caLoss             // the retransmission timer has expired: slow start
)

// dupThresh is RFC 5681's three duplicate ACKs.
const dupThresh = 3

// react draws the consequences of an acknowledgement: what is lost, and how much
// may be in flight.
func (c *Conn) react(r *ackResult, dup bool) {
	sack := c.flags&flagSack != 0
	if r.acked > 0 {
		if r.sampled && !r.retrAcked {
			c.sampleRTT(c.e.now - r.sampleAt)
			c.e.cc.onRTT(c, micros(c.e.now-r.sampleAt))
		} else if c.flags&flagTS != 0 && r.seg.HasTS {
			c.sampleTimestamp(r.seg)
		}
		// RFC 3522: the echo of a timestamp before the retransmission says that the
		// first transmission arrived.
		if c.caState != caOpen && r.retrAcked && c.undoRetrans > 0 && c.flags&flagTS != 0 && r.seg.HasTS &&
			before(r.seg.TSEcr, c.retrStamp) {
			c.undo()
		}
	}
	lostBefore := c.lostBytes
	if sack && (r.seg.Blocks > 0 || c.sackedSegs > 0) {
		c.dupAcks = 0
		c.flags &^= flagBare
	} else {
		c.countDuplicates(r, dup)
	}
	if c.flags&(flagSack|flagBare) == flagSack {
		c.reoAt(c.detectLoss())
	} else {
		c.reoAt(0) // without reports nothing tells what has arrived
	}
	c.probeAcked(r)
	if c.caState != caOpen && afterEq(c.sndUna, c.recoveryPoint) {
		c.endRecovery()
	}
	if c.caState == caOpen && c.lostBytes > 0 {
		c.startRecovery()
	}
	r.lost = c.lostBytes > lostBefore
	c.e.cc.onAck(c, r.ackSample)
}

// countDuplicates is NewReno (RFC 6582), for a peer without SACK. Or for one that has
// agreed to it and reports nothing: gVisor's netstack does so once its own side is closed.
func (c *Conn) countDuplicates(r *ackResult, dup bool) {
	switch {
	case r.acked > 0:
		c.dupAcks = 0
		if c.flags&(flagSack|flagBare) != flagSack && c.caState != caOpen && before(c.sndUna, c.recoveryPoint) && c.segHead != 0 && c.caState == caRecovery {
			c.markLost(c.segHead) // a partial acknowledgement: the next one is missing too
		}
		if c.caState == caOpen && after(c.sndUna, c.recoveryPoint) {
			c.recoveryPoint = c.sndUna - 1 // it must not fall behind by half of the sequence space
		}
	case dup && c.dupAcks < 1<<15:
		c.dupAcks++
		r.delivered += uint32(c.mss)
		// Section 3.2, step 2: not for duplicates that the last recovery made itself.
		if c.dupAcks == dupThresh && c.caState == caOpen && after(c.sndUna, c.recoveryPoint) {
			c.markLost(c.segHead)
			c.flags |= flagBare
		}
	}
}

// save keeps what undo gives back.
func (c *Conn) save() {
	c.priorCwnd, c.priorThresh = c.cwnd, c.ssthresh
	c.undoMarker, c.undoRetrans = c.sndUna, 0
}

// startRecovery begins fast recovery.
func (c *Conn) startRecovery() {
	c.save()
	c.prrFlight = max(c.sndNxt-c.sndUna, 1)
	c.e.cc.onLoss(c, caRecovery)
	c.caState = caRecovery
	c.recoveryPoint = c.sndNxt
	c.prrDelivered, c.prrOut = 0, 0
	c.flags &^= flagProbe
	c.e.stats.Recoveries++
}

// reduceRate is proportional rate reduction (RFC 6937 section 3): in recovery one
// segment leaves for each so many that arrive.
func (c *Conn) reduceRate(a ackSample) {
	if a.delivered == 0 && c.prrDelivered > 0 {
		return
	}
	c.prrDelivered += a.delivered
	pipe := c.pipe()
	var n int64
	if pipe > c.ssthresh {
		f := uint64(c.prrFlight)
		n = int64((uint64(c.prrDelivered)*uint64(c.ssthresh)+f-1)/f) - int64(c.prrOut)
	} else {
		n = max(int64(c.prrDelivered)-int64(c.prrOut), int64(a.delivered))
		if a.acked > 0 && !a.lost {
			n += int64(c.mss)
		}
		n = min(n, int64(c.ssthresh-pipe))
	}
	if c.prrOut == 0 {
		n = max(n, int64(c.mss)) // the fast retransmission itself
	}
	c.cwnd = pipe + uint32(max(n, 0))
}

// endRecovery: all that was sent when loss was found has arrived.
func (c *Conn) endRecovery() {
	if c.caState == caRecovery {
		c.e.cc.onRecovered(c)
	}
	c.caState = caOpen
	c.dupAcks = 0
	c.flags &^= flagBare
	if c.reoPersist > 0 {
		c.reoPersist--
		if c.reoPersist == 0 {
			c.reoMult = 1
		}
	}
}

// undo takes a reduction back: nothing was lost. A D-SACK may tell so after recovery
// has ended.
func (c *Conn) undo() {
	c.undoRetrans = 0
	if c.priorCwnd == 0 {
		return
	}
	c.e.stats.Undone++
	c.e.cc.onUndo(c)
	c.priorCwnd = 0
	c.caState = caOpen
	c.backoff = 0
	for c.lostBytes > 0 {
		ref := c.nextLost()
		g := c.e.segs.at(ref)
		g.flags &^= segLost
		c.lostBytes -= g.end - g.seq
		c.timeInsert(ref, g)
	}
}

// retransmissionTimeout is RFC 6298 section 5.4 to 5.7, and RFC 8985 section 6.3 for
// what is lost: the oldest segment, and those not sent since.
func (c *Conn) retransmissionTimeout() {
	e := c.e
	e.stats.Timeouts++
	if c.caState != caLoss {
		c.save()
		// RFC 5681 section 3.1: once for a segment, not for each time it is sent.
		c.e.cc.onLoss(c, caLoss)
	}
	if c.sackedSegs > 0 && e.segs.at(c.segHead).flags&segSacked != 0 {
		c.forgetSacks()
	}
	wait := int64(c.rackRTT+c.reoWindow()) * 1000
	for ref := c.segHead; ref != 0; ref = e.segs.at(ref).next {
		g := e.segs.at(ref)
		if ref == c.segHead || c.flags&flagSack == 0 || g.at+wait <= e.now {
			c.markLost(ref)
		}
	}
	c.dupAcks = 0
	c.caState = caLoss
	c.recoveryPoint = c.sndNxt
	c.flags &^= flagProbe | flagProbing | flagProbeRetr
	c.cwnd = c.pipe() + uint32(c.mss)
	if c.backoff < 255 {
		c.backoff++
	}
	c.startRTO()
	c.soonKind, c.soonAt = soonNone, 0
	c.pend()
}
