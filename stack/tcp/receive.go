package tcp

import "time"

// receive takes a segment's text and FIN (RFC 9293 section 3.10.7.4, seventh and
// eighth). It has been trimmed to the window.
func (c *Conn) receive(s *Segment) {
	if s.length() == 0 {
		return
	}
	switch c.state {
	case StateEstablished, StateFinWait1, StateFinWait2:
	default:
		return // after the peer's FIN there is no text
	}
	if n := uint32(len(s.Payload)); n > 0 {
		if c.orphan() {
			// Closed, and nobody will read it: the peer must know (RFC 9293 section
			// 3.10.7.4 refers to RFC 1122 section 4.2.2.13).
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
		// A FIN before text that has arrived contradicts it, and is not believed.
		fin := s.Seq + uint32(len(s.Payload))
		if !before(fin, c.rcv.nxt) && (c.rcv.ooo.tail == 0 || !before(fin, c.e.ranges.at(c.rcv.ooo.tail).end)) {
			c.flags |= flagPeerFin
			c.rcv.fin = fin
		}
	}
	if c.flags&flagPeerFin != 0 {
		if c.rcv.nxt == c.rcv.fin {
			c.receiveFin()
		} else if s.Flags&FlagFIN != 0 {
			c.flags |= flagAckNow
			c.schedule()
		}
	}
}

// receiveInOrder takes text at RCV.NXT. It returns false if the connection is over.
func (c *Conn) receiveInOrder(p []byte) bool {
	e := c.e
	if c.flags&flagPeerFin != 0 && after(c.rcv.nxt+uint32(len(p)), c.rcv.fin) {
		p = p[:c.rcv.fin-c.rcv.nxt] // what comes after a FIN is nothing
	}
	c.rcv.nxt += uint32(len(p))
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
		// RFC 5681 section 4.2: at once when a segment fills a gap.
		c.flags |= flagAckNow
	}
	if c.rcv.queue.n > 0 && c.flags&flagReadShut == 0 {
		c.notify(Readable)
	}
	c.onConsumed()
	return true
}

// receiveOutOfOrder takes text that is ahead of RCV.NXT.
func (c *Conn) receiveOutOfOrder(s *Segment) {
	e := c.e
	e.stats.OutOfOrder++
	c.rcv.quickAcks = initialQuickAcks
	// RFC 5681 section 4.2: an immediate duplicate ACK tells the sender.
	c.flags |= flagAckNow
	c.schedule()
	p := s.Payload
	if c.flags&flagPeerFin != 0 && after(s.Seq+uint32(len(p)), c.rcv.fin) {
		p = p[:max(0, int32(c.rcv.fin-s.Seq))]
	}
	if len(p) > 0 && !c.rcv.ooo.insert(c, s.Seq, p) {
		e.stats.Dropped++
	}
}

// receiveFin takes the peer's FIN, as all before it was received.
func (c *Conn) receiveFin() {
	c.rcv.nxt++
	c.flags |= flagRecvFin | flagAckNow
	c.rcv.ooo.free(c.e)
	c.notify(Readable)
	c.schedule()
	switch c.state {
	case StateEstablished:
		c.state = StateCloseWait
	case StateFinWait1:
		// Had our FIN been acknowledged, this would be FIN-WAIT-2.
		c.state = StateClosing
	case StateFinWait2:
		c.enterTimeWait()
	}
}

// scheduleAck notes that n bytes of text were received in order (RFC 1122 section
// 4.2.3.2, RFC 5681 section 4.2): every second full segment is acknowledged at once,
// and the first ones of a connection each, as its sender is in slow start.
func (c *Conn) scheduleAck(n uint32) {
	c.flags |= flagAckDelayed
	c.schedule()
	if c.rcv.nxt-c.rcv.lastAck >= 2*uint32(c.rcv.mss) {
		c.flags |= flagAckNow
	} else if c.rcv.quickAcks > 0 {
		c.rcv.quickAcks--
		c.flags |= flagAckNow
	}
}

// initialQuickAcks is how many data segments are acknowledged at once, unless data goes the
// other way: those of a new connection, and those that follow a gap or a duplicate, as its
// sender has little in flight and a delay may look to it like another loss.
const initialQuickAcks = 8

// window is the right edge that may be advertised: what the receive buffer has
// room for. It never moves back (RFC 9293 section 3.8.6), and not by small steps
// (RFC 1122 section 4.2.3.3).
func (c *Conn) rightEdge() uint32 {
	edge := c.rcv.nxt
	if c.rcv.queue.n < c.rcv.buf {
		edge += c.rcv.buf - c.rcv.queue.n
	}
	limit := uint32(65535) << c.rcv.scale
	if edge-c.rcv.nxt > limit {
		edge = c.rcv.nxt + limit
	}
	if !after(edge, c.rcv.adv) || edge-c.rcv.adv < min(c.rcv.buf/2, uint32(c.rcv.mss)) {
		return c.rcv.adv
	}
	return edge
}

// consumed is called when received bytes were taken. It measures how fast they are,
// and owes the peer a window update if a good part opened again.
func (c *Conn) onConsumed() {
	if c.state.ended() {
		return
	}
	c.tuneRcvBuf()
	if edge := c.rightEdge(); edge-c.rcv.adv >= min(c.rcv.buf/2, 2*uint32(c.rcv.mss)) && edge != c.rcv.adv && c.flags&flagRecvFin == 0 {
		c.flags |= flagAckDelayed
		if c.rcv.adv-c.rcv.nxt < c.rcv.buf/2 {
			c.flags |= flagAckNow
		}
		c.schedule()
	}
}

// idleBuffer is the time after which a receive buffer that has grown shrinks again.
const idleBuffer = int64(time.Second)

// tuneRcvBuf has the receive buffer grow to four times what the application took in one
// round trip, when that was more than half of it: then the buffer, and not the path or the
// application, may bound the rate. A sender in slow start doubles its window in that
// time, and the buffer is to stay ahead: a window that bounds it, and opens in steps,
// makes it send in bursts.
func (c *Conn) tuneRcvBuf() {
	e := c.e
	rtt := c.rtt.rcv
	if rtt == 0 {
		rtt = max(c.rtt.srtt, 1000)
	}
	if c.flags&flagShrinkBuf != 0 {
		c.shrinkRcvBuf()
	}
	taken := c.rcv.nxt - c.rcv.queue.n
	switch elapsed := e.now - c.rcv.drsAt; {
	case c.rcv.drsAt == 0:
	case taken-c.rcv.drsSeq > c.rcv.buf/2:
		// The time is not over, perhaps; then the more so.
		c.growRcvBuf(4 * (taken - c.rcv.drsSeq))
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

// sampleReceiverRTT estimates the round trip from an echoed timestamp, as a receiver
// has few acknowledgements to time. The smallest of late counts.
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
