package tcp

import "time"

// timeWait is a connection in TIME-WAIT, for two maximum segment lifetimes (RFC 9293 section
// 3.6.1): its tuple, and what its ACKs need. It replaces the connection in the flow table. All wait
// equally long, so the list of entries is in the order of their ends.
type timeWait struct {
	tuple          Tuple
	hash           uint32
	rcvNxt, sndNxt seqNum
	tsRecent       uint32
	tsOffset       uint32
	hasTS          bool
	next, prev     uint32
	ends           int64
}

// enterTimeWait replaces the connection by a timeWait.
func (c *Conn) enterTimeWait() {
	e := c.e
	if e.waits.live >= e.cfg.MaxTimeWait {
		e.dropWait(e.waitHead)
	}
	ref := e.waits.get()
	w := e.waits.at(ref)
	*w = timeWait{tuple: c.tuple, hash: c.hash, rcvNxt: c.rcv.nxt, sndNxt: c.snd.nxt,
		tsRecent: c.ts.recent, tsOffset: c.ts.offset, hasTS: c.flags&flagTS != 0}
	e.queueWait(ref)
	e.flows.replace(c.hash, c.id, ref|waitRef)
	c.flags &^= flagInTable
	// The entry acknowledges the FIN. In CLOSING that was done before.
	if c.flags&(flagAckNow|flagAckDelayed) != 0 {
		e.sendTimeWaitAck(w, e.millis())
	}
	c.finish(StateTimeWait)
}

func (e *Engine) queueWait(ref uint32) {
	w := e.waits.at(ref)
	w.ends = e.now + int64(e.cfg.TimeWait)
	w.next, w.prev = 0, e.waitTail
	if e.waitTail != 0 {
		e.waits.at(e.waitTail).next = ref
	} else {
		e.waitHead = ref
	}
	e.waitTail = ref
}

func (e *Engine) unqueueWait(ref uint32) {
	w := e.waits.at(ref)
	if w.prev != 0 {
		e.waits.at(w.prev).next = w.next
	} else {
		e.waitHead = w.next
	}
	if w.next != 0 {
		e.waits.at(w.next).prev = w.prev
	} else {
		e.waitTail = w.prev
	}
}

func (e *Engine) dropWait(ref uint32) {
	e.unqueueWait(ref)
	e.flows.remove(e.waits.at(ref).hash, ref|waitRef)
	e.waits.put(ref)
}

func (e *Engine) expireWaits() {
	for e.waitHead != 0 && e.waits.at(e.waitHead).ends <= e.now {
		e.dropWait(e.waitHead)
	}
}

// timeWaitInput processes a segment for a connection in TIME-WAIT. It returns true if the segment
// is a SYN that may open a new connection with the same tuple. The entry is then removed.
func (e *Engine) timeWaitInput(ref uint32, s *Segment) bool {
	w := e.waits.at(ref)
	if s.Flags&FlagRST != 0 {
		return false // RFC 1337 section 3: a RST does not end TIME-WAIT early
	}
	if s.Flags&(FlagSYN|FlagACK) == FlagSYN {
		// A later timestamp distinguishes a new connection from an old duplicate (RFC
		// 6191 section 2). Without timestamps an unused sequence number does (RFC 9293
		// section 3.6.1).
		fresh := s.Seq.after(w.rcvNxt)
		if w.hasTS && s.HasTS && s.TSVal != w.tsRecent {
			fresh = earlier(w.tsRecent, s.TSVal)
		}
		if fresh {
			e.dropWait(ref)
			return true
		}
	} else if s.Flags&FlagACK == 0 {
		return false
	}
	if s.Flags&FlagFIN != 0 && s.Seq.add(s.length()) == w.rcvNxt {
		// RFC 9293 section 3.10.7.4: a repeated FIN restarts the wait.
		e.unqueueWait(ref)
		e.queueWait(ref)
	} else if s.length() == 0 && s.Seq == w.rcvNxt || !e.challenges.allow(e.now, challengesPerSecond) {
		return false // a pure ACK needs no reply
	}
	e.sendTimeWaitAck(w, e.millis())
	return false
}

// reusable reports whether Dial may replace a connection in TIME-WAIT. It may a second after the
// end, if timestamps tell the two connections apart (RFC 6191 section 3; other stacks have the same
// rule for outgoing connections).
func (w *timeWait) reusable(e *Engine) bool {
	return w.hasTS && e.now-(w.ends-int64(e.cfg.TimeWait)) > int64(time.Second)
}
