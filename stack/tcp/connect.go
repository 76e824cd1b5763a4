package tcp

import "syscall"

// Dial opens a connection between t's addresses (RFC 9293 section 3.10.1). The event Writable
// reports the end of the attempt; Err then says whether it failed. Dial returns EADDRINUSE if the
// engine has a connection with this tuple, and ENOBUFS without memory for one.
func (e *Engine) Dial(now int64, t Tuple) (*Conn, error) {
	e.now = now
	hash := t.hash(&e.flowKey)
	ref := e.flows.find(hash, &t)
	var last seqNum
	if ref&waitRef != 0 {
		w := e.waits.at(ref &^ waitRef)
		if !w.reusable(e) {
			return nil, syscall.EADDRINUSE
		}
		last = w.sndNxt
		e.dropWait(ref &^ waitRef)
	} else if ref != 0 {
		return nil, syscall.EADDRINUSE
	}
	c := e.newConn(&t, hash)
	if c == nil {
		return nil, syscall.ENOBUFS
	}
	if ref != 0 && !c.snd.iss.after(last) {
		c.setISS(last + 1<<16) // never behind the last connection of this name
	}
	c.state = StateSynSent
	c.flags |= flagOwned | flagInTable | flagSendSYN
	e.flows.insert(hash, c.id)
	c.schedule(0)
	return c, nil
}

// inputSynSent is RFC 9293 section 3.10.7.3.
func (c *Conn) inputSynSent(s *Segment) {
	if s.Flags&FlagACK != 0 && s.Ack != c.snd.nxt {
		// First, check the ACK: only our SYN can be acknowledged.
		if s.Flags&FlagRST == 0 {
			c.e.Reject(s)
		}
		return
	}
	if s.Flags&FlagRST != 0 {
		if s.Flags&FlagACK != 0 {
			c.fail(syscall.ECONNREFUSED)
		}
		return
	}
	if s.Flags&FlagSYN == 0 {
		return
	}
	if s.Flags&FlagACK != 0 && s.HasTS && s.TSEcr != 0 && !c.echoed(s) {
		// RFC 7323 section 3.2: a TSecr that is no timestamp of ours does not answer
		// our SYN. Zero is accepted, as some peers do not echo.
		c.e.stats.Dropped++
		return
	}
	c.processSYN(s)
	c.rcv.adv = c.rcv.nxt.add(min(c.rcv.buf, 65535)) // the window of our SYN
	if s.Flags&FlagACK == 0 {
		// A simultaneous open.
		c.state = StateSynReceived
		c.schedule(flagSendSYN)
		return
	}
	c.synAcked(s)
	c.state = StateEstablished
	c.schedule(flagAckNow)
	c.notify(Writable)
	c.afterHandshake()
	// Data and FIN may come with the SYN.
	s.Seq++
	s.Flags &^= FlagSYN
	if c.trim(s) {
		c.receive(s)
	}
}

// echoed reports whether the segment's TSecr may be the timestamp of one of our SYNs.
func (c *Conn) echoed(s *Segment) bool {
	return int32(c.timestamp()-s.TSEcr) >= 0 && c.timestamp()-s.TSEcr < 1<<28
}

// synAcked takes the acknowledgement of our SYN.
func (c *Conn) synAcked(s *Segment) {
	c.flags &^= flagSendSYN
	c.snd.una = c.snd.iss + 1
	c.rec.rackFack, c.rec.undoMarker = c.snd.una, c.snd.una
	if c.flags&flagSYNRetr == 0 {
		c.sampleRTT(c.e.now - c.cc.lastSent)
	} else if c.flags&flagTS != 0 && s.HasTS {
		c.sampleTimestamp(s)
	}
	// After the loss of a SYN the RTO is 3 s if nothing was measured (RFC 6298 section
	// 5.7), and the initial window is one segment (RFC 5681 section 3.1).
	if c.flags&flagSYNRetr != 0 {
		if c.rtt.srtt == 0 {
			c.rtt.rto = 3e6
		}
		c.cc.cwnd = uint32(c.snd.mss)
	}
	c.timers.lossKind, c.timers.lossAt, c.timers.backoff = lossNone, 0, 0
	c.snd.wl1, c.snd.wl2 = s.Seq, s.Ack
}

// afterHandshake is common to both sides, when they are connected.
func (c *Conn) afterHandshake() {
	if c.flags&flagFin != 0 {
		c.state = StateFinWait1
	}
	c.keepAlive()
	if c.snd.queue.n > 0 || c.flags&flagFin != 0 {
		c.schedule(0)
	}
}
