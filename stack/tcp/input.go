package tcp

import "syscall"

// input processes a segment of this connection: RFC 9293 section 3.10.7.4, in its
// order, with the changes of RFC 5961 and RFC 7323.
func (c *Conn) input(s *Segment) {
	if c.state == StateSynSent {
		c.inputSynSent(s)
		return
	}
	e := c.e
	if c.flags&flagKeepAlive != 0 {
		c.keepAlive()
	}
	if c.state == StateSynReceived && s.Flags&(FlagSYN|FlagACK|FlagRST) == FlagSYN|FlagACK && s.Seq == c.rcv.nxt-1 && s.Ack == c.snd.nxt {
		// The SYN-ACK of a simultaneous open (RFC 9293 section 3.5, figure 8): the SYN
		// was received before, the ACK is new.
		s.Seq++
		s.Flags &^= FlagSYN
	}
	ok, newest := c.checkTimestamp(s)
	if !ok {
		return
	}
	if !c.trim(s) {
		return
	}
	if s.Flags&FlagRST != 0 {
		c.inputReset(s)
		return
	}
	if s.Flags&FlagSYN != 0 {
		// RFC 5961 section 4.2: a SYN does not reset the connection. A peer that has
		// lost its state answers the challenge with a RST.
		c.challenge()
		return
	}
	if s.Flags&FlagACK == 0 {
		e.stats.Dropped++
		return
	}
	if c.state == StateSynReceived {
		if !s.Ack.after(c.snd.una) || s.Ack.after(c.snd.nxt) {
			e.Reject(s)
			return
		}
		if !c.established() {
			return
		}
		c.synAcked(s)
		c.snd.wl1-- // so that this segment updates the window, with its scale
		c.afterHandshake()
	}
	if !c.processAck(s) || c.state.ended() {
		return
	}
	if newest {
		// Not before: the timestamp of a forged segment could make PAWS drop all others.
		c.ts.recent, c.ts.recentAt = s.TSVal, e.millis()
	}
	c.receive(s)
}

// checkTimestamp is RFC 7323 section 5. ok is false if PAWS drops the segment. newest is true if
// the segment's timestamp becomes TS.Recent once the segment is accepted.
func (c *Conn) checkTimestamp(s *Segment) (ok, newest bool) {
	if c.flags&flagTS == 0 {
		return true, false
	}
	if !s.HasTS {
		// RFC 7323 section 3.2: only a RST may lack the negotiated timestamps.
		if s.Flags&FlagRST != 0 {
			return true, false
		}
		c.e.stats.Dropped++
		return false, false
	}
	if earlier(s.TSVal, c.ts.recent) {
		if s.Flags&FlagRST != 0 {
			return true, false
		}
		// Section 5.5: a TS.Recent is not valid after 24 days.
		if c.e.millis()-c.ts.recentAt < 24*24*3600*1000 {
			c.e.stats.PAWS++
			c.ackUnacceptable(s)
			return false, false
		}
	}
	// Section 4.3: TS.Recent is taken from the segment that Last.ACK.sent falls in.
	return true, s.Seq.beforeEq(c.rcv.lastAck) && !c.rcv.nxt.after(s.Seq.add(s.length()))
}

// ackUnacceptable acknowledges a segment that is dropped, so that its sender learns what we expect
// (RFC 9293 section 3.10.7.4, first). A duplicate is reported (RFC 2883).
func (c *Conn) ackUnacceptable(s *Segment) {
	if s.Flags&FlagSYN != 0 && c.state == StateSynReceived && s.Seq == c.rcv.nxt-1 {
		// The peer repeats its SYN: our SYN-ACK was lost.
		c.schedule(flagSendSYN)
		return
	}
	if n := uint32(len(s.Payload)); n > 0 && s.Seq.before(c.rcv.nxt) {
		c.e.stats.Duplicates++
		c.reportDSACK(s.Seq, minSeq(s.Seq.add(n), c.rcv.nxt))
	}
	if s.length() == 0 && !c.mayChallenge() {
		return // this ends an endless exchange of ACKs
	}
	c.schedule(flagAckNow)
}

// trim checks the sequence number, and cuts off what lies outside of the window. It returns false
// if nothing acceptable is left.
func (c *Conn) trim(s *Segment) bool {
	wnd := c.rcv.adv.sub(c.rcv.nxt)
	n := s.length()
	ok := false
	switch {
	case n == 0 && wnd == 0:
		ok = s.Seq == c.rcv.nxt
	case n == 0:
		ok = s.Seq.within(c.rcv.nxt, c.rcv.adv) || s.Seq == c.rcv.nxt
	case wnd == 0:
		// None of its data fits, but its ACK or RST is processed.
		ok = s.Seq == c.rcv.nxt
	default:
		ok = s.Seq.within(c.rcv.nxt, c.rcv.adv) || (s.Seq.add(n)-1).within(c.rcv.nxt, c.rcv.adv)
		// A segment may cover the whole window.
		ok = ok || s.Seq.before(c.rcv.nxt) && s.Seq.add(n).after(c.rcv.adv)
	}
	if !ok {
		if s.Flags&FlagRST == 0 {
			c.e.stats.Dropped++
			c.ackUnacceptable(s)
		}
		return false
	}
	if s.Flags&(FlagSYN|FlagRST) != 0 {
		return true
	}
	if s.Seq.before(c.rcv.nxt) {
		dup := min(c.rcv.nxt.sub(s.Seq), uint32(len(s.Payload)))
		if dup > 0 {
			c.reportDSACK(s.Seq, s.Seq.add(dup))
			c.schedule(flagAckNow)
		}
		s.Payload = s.Payload[dup:]
		s.Seq += seqNum(dup)
	}
	if end := s.Seq.add(uint32(len(s.Payload))); end.after(c.rcv.adv) {
		cut := min(end.sub(c.rcv.adv), uint32(len(s.Payload)))
		s.Payload = s.Payload[:uint32(len(s.Payload))-cut]
		s.Flags &^= FlagFIN
		c.schedule(flagAckNow)
	} else if s.Flags&FlagFIN != 0 && end == c.rcv.adv && n > 0 && wnd == 0 {
		s.Flags &^= FlagFIN
		c.schedule(flagAckNow)
	}
	return true
}

// inputReset is RFC 5961 section 3.2. Only a RST with exactly RCV.NXT resets the connection. Any
// other one in the window is challenged.
func (c *Conn) inputReset(s *Segment) {
	if s.Seq != c.rcv.nxt {
		c.challenge()
		return
	}
	switch c.state {
	case StateSynReceived:
		// RFC 9293 section 3.10.7.4, second: back to LISTEN, without a notification.
		c.fail(syscall.ECONNREFUSED)
	case StateCloseWait:
		c.fail(syscall.EPIPE)
	case StateClosing, StateLastAck:
		c.finish(StateClosed)
	default:
		c.fail(syscall.ECONNRESET)
	}
}

// rateLimit limits how often something is done in a second.
type rateLimit struct {
	done   int
	second int64
}

func (b *rateLimit) allow(now int64, limit int) bool {
	if s := now >> 30; s != b.second {
		*b = rateLimit{second: s}
	}
	b.done++
	return b.done <= limit
}

// Limits of the replies that attackers can cause: challenge ACKs (RFC 5961 section 7) and
// other ACKs of unacceptable segments, and RSTs for segments without a connection. A
// connection sends at most two challenges a second. So a blind attacker can't use up the
// limit on one connection to learn about another (CVE-2016-5696).
const (
	challengesPerSecond = 1000
	resetsPerSecond     = 5000
)

func (c *Conn) mayChallenge() bool {
	e := c.e
	ms := e.millis() | 1 // 0 is never
	if c.challengedAt != 0 && ms-c.challengedAt < 500 {
		return false
	}
	if !e.challenges.allow(e.now, challengesPerSecond) {
		return false
	}
	c.challengedAt = ms
	return true
}

// challenge sends an ACK in reply to a suspicious segment.
func (c *Conn) challenge() {
	if c.mayChallenge() {
		c.e.stats.ChallengeAcks++
		c.schedule(flagAckNow)
	}
}
