package tcp

import "time"

// receive takes a segment's data and FIN (RFC 9293 section 3.10.7.4, seventh and eighth). The
// segment is trimmed to the window.
func (c *Conn) receive(s *Segment) {
	if s.length() == 0 {
		return
	}
	switch c.state {
	case StateEstablished, StateFinWait1, StateFinWait2:
	default:
		return // after the peer's FIN there is no data
	}
	if n := uint32(len(s.Payload)); n > 0 {
		if c.orphan() {
			// The application has closed and will not read this. A RST reports that
			// (RFC 9293 section 3.10.7.4, RFC 1122 section 4.2.2.13).
			c.reset(0)
			return
		}
		c.rcv.mss = uint16(min(max(n, uint32(c.rcv.mss)), 65535))
		c.sampleReceiverRTT(s)
		if s.Seq != c.rcv.nxt {
			c.receiveOutOfOrder(s)
		} else if !c.receiveInOrder(s.Payload) {
			return
		}
	}
	if s.Flags&FlagFIN != 0 && c.flags&flagPeerFin == 0 {
		// A FIN before data that has arrived is invalid, and ignored.
		fin := s.Seq.add(uint32(len(s.Payload)))
		if !fin.before(c.rcv.nxt) && (c.rcv.ooo.tail == 0 || !fin.before(c.e.ranges.at(c.rcv.ooo.tail).end)) {
			c.flags |= flagPeerFin
			c.rcv.fin = fin
		}
	}
	if c.flags&flagPeerFin != 0 {
		if c.rcv.nxt == c.rcv.fin {
			c.receiveFin()
		} else if s.Flags&FlagFIN != 0 {
			c.schedule(flagAckNow)
		}
	}
}

// receiveInOrder takes data at RCV.NXT. It returns false if the connection has ended.
func (c *Conn) receiveInOrder(p []byte) bool {
	e := c.e
	if c.flags&flagPeerFin != 0 && c.rcv.nxt.add(uint32(len(p))).after(c.rcv.fin) {
		p = p[:c.rcv.fin.sub(c.rcv.nxt)] // data after a FIN is ignored
	}
	c.rcv.nxt += seqNum(len(p))
	c.scheduleAck(uint32(len(p)))
	if c.flags&flagReadShut != 0 {
		p = nil
	} else if c.rcv.queue.n == 0 && e.cfg.OnData != nil && c.flags&flagOwned != 0 {
		k := min(max(e.cfg.OnData(c, p), 0), len(p))
		if c.state.ended() {
			return false
		}
		if c.flags&flagOwned == 0 {
			if k < len(p) {
				c.reset(0)
				return false
			}
		}
		p = p[k:]
	}
	if len(p) > 0 && c.flags&flagReadShut == 0 {
		c.rcv.queue.append(e.chunks, p)
	}
	if c.rcv.ooo.head != 0 {
		c.rcv.ooo.deliver(c)
		// RFC 5681 section 4.2: a segment that fills a gap is acknowledged at once.
		c.flags |= flagAckNow
	}
	if c.rcv.queue.n > 0 && c.flags&flagReadShut == 0 {
		c.notify(Readable)
	}
	c.onConsumed()
	return true
}

// receiveOutOfOrder takes data ahead of RCV.NXT.
func (c *Conn) receiveOutOfOrder(s *Segment) {
	e := c.e
	e.stats.OutOfOrder++
	c.rcv.quickAcks = initialQuickAcks
	// RFC 5681 section 4.2: a duplicate ACK is sent at once.
	c.schedule(flagAckNow)
	p := s.Payload
	if c.flags&flagPeerFin != 0 && s.Seq.add(uint32(len(p))).after(c.rcv.fin) {
		p = p[:max(0, int32(c.rcv.fin.sub(s.Seq)))]
	}
	if len(p) > 0 && !c.rcv.ooo.insert(c, s.Seq, p) {
		e.stats.Dropped++
	}
}

// receiveFin takes the peer's FIN. All data before it was received.
func (c *Conn) receiveFin() {
	c.rcv.nxt++
	c.flags |= flagRecvFin | flagAckNow
	c.rcv.ooo.free(c.e)
	c.notify(Readable)
	c.schedule(0)
	switch c.state {
	case StateEstablished:
		c.state = StateCloseWait
	case StateFinWait1:
		// Our FIN is not acknowledged: the state would be FIN-WAIT-2.
		c.state = StateClosing
	case StateFinWait2:
		c.enterTimeWait()
	}
}

// scheduleAck decides when n bytes received in order are acknowledged (RFC 1122 section 4.2.3.2,
// RFC 5681 section 4.2): at once for every second full segment, and for the first segments of a
// connection, as its sender is in slow start.
func (c *Conn) scheduleAck(n uint32) {
	c.schedule(flagAckDelayed)
	if c.rcv.nxt.sub(c.rcv.lastAck) >= 2*uint32(c.rcv.mss) {
		c.flags |= flagAckNow
	} else if c.rcv.quickAcks > 0 {
		c.rcv.quickAcks--
		c.flags |= flagAckNow
	}
}

// initialQuickAcks is how many data segments are acknowledged at once, unless data is sent the
// other way. It applies to a new connection, and after a gap or a duplicate: the sender then has
// little in flight, and may take a delay for another loss.
const initialQuickAcks = 8

// rightEdge is the right edge that may be advertised: the receive buffer has room up to it. It
// never moves back (RFC 9293 section 3.8.6), and not by small steps (RFC 1122 section 4.2.3.3).
func (c *Conn) rightEdge() seqNum {
	edge := c.rcv.nxt
	if c.rcv.queue.n < c.rcv.buf {
		edge += seqNum(c.rcv.buf - c.rcv.queue.n)
	}
	limit := uint32(65535) << c.rcv.scale
	if edge.sub(c.rcv.nxt) > limit {
		edge = c.rcv.nxt.add(limit)
	}
	if !edge.after(c.rcv.adv) || edge.sub(c.rcv.adv) < min(c.rcv.buf/2, uint32(c.rcv.mss)) {
		return c.rcv.adv
	}
	return edge
}

// onConsumed is called when received bytes were taken. It measures how fast they are taken, and
// schedules a window update if a good part of the window has opened.
func (c *Conn) onConsumed() {
	if c.state.ended() {
		return
	}
	c.tuneRcvBuf()
	if edge := c.rightEdge(); edge.sub(c.rcv.adv) >= min(c.rcv.buf/2, 2*uint32(c.rcv.mss)) && edge != c.rcv.adv && c.flags&flagRecvFin == 0 {
		c.flags |= flagAckDelayed
		if c.rcv.adv.sub(c.rcv.nxt) < c.rcv.buf/2 {
			c.flags |= flagAckNow
		}
		c.schedule(0)
	}
}

// idleBuffer is how long a connection is idle before its receive buffer shrinks.
const idleBuffer = int64(time.Second)

// tuneRcvBuf grows the receive buffer to four times what the application took in one round trip,
// when that was more than half of the buffer. The buffer may then limit the rate, rather than the
// path or the application. A sender in slow start doubles its window in that time, and the buffer
// should stay ahead of it: a window that is full, and opens in steps, causes bursts.
func (c *Conn) tuneRcvBuf() {
	e := c.e
	rtt := c.rtt.rcv
	if rtt == 0 {
		rtt = max(c.rtt.srtt, 1000)
	}
	if c.flags&flagShrinkBuf != 0 {
		c.shrinkRcvBuf()
	}
	taken := c.rcv.nxt.add(-c.rcv.queue.n)
	switch elapsed := e.now - c.rcv.drsAt; {
	case c.rcv.drsAt == 0:
	case taken.sub(c.rcv.drsSeq) > c.rcv.buf/2:
		// If that took less than a round trip, the more so.
		c.growRcvBuf(4 * taken.sub(c.rcv.drsSeq))
		if elapsed < int64(rtt)*1000 {
			return
		}
	case elapsed < int64(rtt)*1000:
		return
	case elapsed > idleBuffer && c.rcv.buf > e.minRcvBuf():
		c.flags |= flagShrinkBuf
	}
	c.rcv.drsAt, c.rcv.drsSeq = e.now, taken
}

// sampleReceiverRTT estimates the round trip from an echoed timestamp, as a receiver has few
// acknowledgements to time. It follows the smallest recent value.
func (c *Conn) sampleReceiverRTT(s *Segment) {
	if c.flags&flagTS == 0 || !s.HasTS || s.TSEcr == 0 {
		return
	}
	ms := c.timestamp() - s.TSEcr
	if ms > 60000 {
		return
	}
	rtt := max(ms*1000, 1000)
	if c.rtt.rcv == 0 || rtt < c.rtt.rcv {
		c.rtt.rcv = rtt
	} else {
		c.rtt.rcv += (rtt - c.rtt.rcv) / 8
	}
}
