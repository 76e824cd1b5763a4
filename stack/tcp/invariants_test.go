package tcp

import "fmt"

// check verifies what must hold between any two calls of an engine.
func (e *Engine) check() error {
	var used, chunkBytes int64
	var segs, ranges, live, inTable int
	for k := range e.conns.slabs {
		for i := range e.conns.slabs[k].items {
			c := &e.conns.slabs[k].items[i]
			if c.e == nil {
				continue
			}
			live++
			used += connCost + int64(c.rcv.buf) + int64(c.snd.queue.mem) + int64(c.flight.segs)*segCost
			chunkBytes += int64(c.snd.queue.mem) + int64(c.rcv.queue.mem) + int64(c.rcv.ooo.mem)
			if c.flags&flagInTable != 0 {
				inTable++
				if e.flows.find(c.hash, &c.tuple) != c.id {
					return fmt.Errorf("%v is not found in the table", c.state)
				}
			}
			ns, err := c.checkSent()
			if err != nil {
				return fmt.Errorf("%v: %w", c.state, err)
			}
			nr, err := c.checkReceived()
			if err != nil {
				return fmt.Errorf("%v: %w", c.state, err)
			}
			if err := c.checkTimers(); err != nil {
				return fmt.Errorf("%v: %w", c.state, err)
			}
			segs, ranges = segs+ns, ranges+nr
		}
	}
	switch {
	case live != e.conns.live:
		return fmt.Errorf("%d connections, %d handed out", live, e.conns.live)
	case used != e.used:
		return fmt.Errorf("budget says %d, connections have %d", e.used, used)
	case chunkBytes != e.chunks.bytes:
		return fmt.Errorf("%d bytes of chunks in queues, %d handed out", chunkBytes, e.chunks.bytes)
	case segs != e.segs.live:
		return fmt.Errorf("%d segments in lists, %d handed out", segs, e.segs.live)
	case ranges != e.ranges.live:
		return fmt.Errorf("%d ranges in lists, %d handed out", ranges, e.ranges.live)
	case inTable+e.waits.live != e.flows.n+e.flows.oldN:
		return fmt.Errorf("%d connections and %d in TIME-WAIT, %d in the table", inTable, e.waits.live, e.flows.n+e.flows.oldN)
	}
	return nil
}

func (q *queue) check(cs *chunks) error {
	var n, mem uint32
	last := uint32(0)
	for ref := q.head; ref != 0; ref = cs.at(ref).next {
		h := cs.at(ref)
		if h.r >= h.w {
			return fmt.Errorf("an empty chunk in a queue")
		}
		n += uint32(h.w - h.r)
		mem += chunkSize(ref)
		last = ref
	}
	if n != q.n || mem != q.mem || last != q.tail {
		return fmt.Errorf("queue of %d bytes in %d says %d in %d", n, mem, q.n, q.mem)
	}
	return nil
}

func (c *Conn) checkSent() (n int, err error) {
	e := c.e
	if err := c.snd.queue.check(e.chunks); err != nil {
		return 0, fmt.Errorf("send %w", err)
	}
	if c.state.ended() {
		if c.flight.head != 0 || c.snd.queue.n != 0 {
			return 0, fmt.Errorf("has something to send")
		}
		return 0, nil
	}
	seq := c.snd.una
	if c.state == StateSynSent || c.state == StateSynReceived {
		if c.snd.una != c.snd.iss || c.snd.nxt != c.snd.iss+1 || c.flight.head != 0 {
			return 0, fmt.Errorf("sent before the handshake ended")
		}
		return 0, nil
	}
	var lost, sacked, prev uint32
	sackedSegs, timed, lostSeen := 0, 0, false
	run := c.snd.una // all to here is SACKed, by the links of runs
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		g := e.segs.at(ref)
		n++
		lostSeen = lostSeen || ref == c.flight.lostHint
		switch {
		case g.seq != seq || !g.seq.before(g.end):
			return 0, fmt.Errorf("segment from %d to %d, want it from %d", g.seq, g.end, seq)
		case g.prev != prev:
			return 0, fmt.Errorf("segments are not linked back")
		case g.flags&segSacked != 0 && g.flags&segLost != 0:
			return 0, fmt.Errorf("segment is sacked and lost")
		case (g.flags&segTimed != 0) == (g.flags&(segSacked|segLost) != 0):
			return 0, fmt.Errorf("segment is in the wrong lists: %b", g.flags)
		}
		if g.seq.before(run) && g.flags&segSacked == 0 {
			return 0, fmt.Errorf("segment at %d is in a run of SACKed ones to %d", g.seq, run)
		}
		if g.flags&segSacked != 0 && g.tnext != 0 {
			last := e.segs.at(g.tnext)
			if !last.seq.after(g.seq) || last.end.after(c.snd.nxt) {
				return 0, fmt.Errorf("the run of the segment at %d leads to %d", g.seq, last.seq)
			}
			if last.end.after(run) {
				run = last.end
			}
		}
		if g.data() > 0 {
			if got, want := c.offsetOf(g.pos), g.seq.sub(c.snd.una); got != want {
				return 0, fmt.Errorf("segment at %d of the queue, want %d", got, want)
			}
		}
		if g.flags&segLost != 0 {
			if lost += g.end.sub(g.seq); !lostSeen {
				return 0, fmt.Errorf("a lost segment lies before the hint")
			}
		}
		if g.flags&segSacked != 0 {
			sacked += g.end.sub(g.seq)
			sackedSegs++
		}
		if g.flags&segTimed != 0 {
			timed++
		}
		seq, prev = g.end, ref
	}
	if n != int(c.flight.segs) {
		return 0, fmt.Errorf("%d segments in flight, want %d", c.flight.segs, n)
	}
	if seq != c.snd.nxt || prev != c.flight.tail {
		return 0, fmt.Errorf("segments end at %d, SND.NXT is %d", seq, c.snd.nxt)
	}
	if lost != c.flight.lost || sacked != c.flight.sacked || sackedSegs != int(c.flight.sackedSegs) {
		return 0, fmt.Errorf("lost %d, sacked %d: want %d and %d", c.flight.lost, c.flight.sacked, lost, sacked)
	}
	for ref := c.flight.timeHead; ref != 0; ref = e.segs.at(ref).tnext {
		g := e.segs.at(ref)
		timed--
		if g.tnext != 0 && g.at > e.segs.at(g.tnext).at {
			return 0, fmt.Errorf("segments are not in the order of their times")
		}
	}
	if timed != 0 {
		return 0, fmt.Errorf("%d segments are not in the list by time", timed)
	}
	if c.snd.nxt.after(c.sndEnd() + 1) {
		return 0, fmt.Errorf("SND.NXT %d is beyond what was written, %d", c.snd.nxt, c.sndEnd())
	}
	if c.snd.pos.chunk != 0 {
		want := min(c.snd.nxt.sub(c.snd.una), c.snd.queue.n)
		if got := c.offsetOf(c.snd.pos); got != want {
			return 0, fmt.Errorf("cursor at %d of the queue, want %d", got, want)
		}
	} else if c.snd.nxt != c.snd.una && c.snd.queue.n > 0 {
		return 0, fmt.Errorf("no cursor with data in flight")
	}
	return n, nil
}

// offsetOf is how far a place is from the head of the send queue.
func (c *Conn) offsetOf(pl queuePos) uint32 {
	n := uint32(0)
	for ref := c.snd.queue.head; ref != 0; ref = c.e.chunks.at(ref).next {
		h := c.e.chunks.at(ref)
		if ref == pl.chunk {
			return n + uint32(pl.off) - uint32(h.r)
		}
		n += uint32(h.w - h.r)
	}
	return ^uint32(0)
}

func (c *Conn) checkReceived() (n int, err error) {
	e := c.e
	if err := c.rcv.queue.check(e.chunks); err != nil {
		return 0, fmt.Errorf("receive %w", err)
	}
	if c.state.ended() || c.state == StateSynSent {
		return 0, nil
	}
	if c.rcv.adv.before(c.rcv.nxt) && c.flags&flagRecvFin == 0 {
		return 0, fmt.Errorf("RCV.NXT is beyond the window")
	}
	if promised := c.rcv.adv.sub(c.rcv.nxt); int32(promised) > 0 && promised+c.rcv.queue.n > c.rcv.buf+2048 {
		return 0, fmt.Errorf("promised %d, %d buffered, of %d", promised, c.rcv.queue.n, c.rcv.buf)
	}
	end, mem, recent := c.rcv.nxt, uint32(0), 0
	for ref := c.rcv.ooo.head; ref != 0; ref = e.ranges.at(ref).next {
		r := e.ranges.at(ref)
		n++
		if !r.start.after(end) || r.end.sub(r.start) != r.q.n || r.end.after(c.rcv.adv) {
			return 0, fmt.Errorf("range %d to %d of %d bytes after %d, window to %d", r.start, r.end, r.q.n, end, c.rcv.adv)
		}
		if err := r.q.check(e.chunks); err != nil {
			return 0, fmt.Errorf("range %w", err)
		}
		mem += r.q.mem
		end = r.end
	}
	for ref := c.rcv.ooo.recent; ref != 0; ref = e.ranges.at(ref).rnext {
		recent++
	}
	if n != int(c.rcv.ooo.n) || n != recent || mem != c.rcv.ooo.mem {
		return 0, fmt.Errorf("%d ranges of %d bytes, %d by recency: says %d of %d", n, mem, recent, c.rcv.ooo.n, c.rcv.ooo.mem)
	}
	return n, nil
}

func (c *Conn) checkTimers() error {
	if c.state.ended() {
		if c.timers.node.slot != 0 {
			return fmt.Errorf("a timer is armed")
		}
		return nil
	}
	due := false
	for _, at := range []int64{c.timers.lossAt, c.timers.probeAt, c.timers.ackAt, c.timers.keepAt} {
		due = due || at != 0
	}
	pending := c.flags&flagPending != 0
	if due && c.timers.node.slot == 0 && !pending {
		return fmt.Errorf("a deadline is not on the wheel")
	}
	if due && !pending {
		if err := c.checkWheel(); err != nil {
			return err
		}
	}
	if (c.timers.lossKind == lossNone) != (c.timers.lossAt == 0) || (c.timers.probeKind == probeNone) != (c.timers.probeAt == 0) {
		return fmt.Errorf("timer kinds %d, %d at %d, %d", c.timers.lossKind, c.timers.probeKind, c.timers.lossAt, c.timers.probeAt)
	}
	switch {
	case pending:
	case c.flight.head != 0 && c.timers.lossKind != lossRTO:
		return fmt.Errorf("in flight without a retransmission timer")
	case c.state == StateSynSent || c.state == StateSynReceived:
		if c.timers.lossKind != lossRTO {
			return fmt.Errorf("a handshake without a retransmission timer")
		}
	case c.hasUnsent() && c.timers.lossKind == lossNone:
		return fmt.Errorf("%d bytes to send, and no timer: window %d", c.unsent(), c.snd.wnd)
	}
	if c.flags&(flagAckNow|flagSendSYN) != 0 && !pending {
		return fmt.Errorf("owes a segment, and is not pending: flags %b", c.flags)
	}
	if c.flags&flagAckDelayed != 0 && c.timers.ackAt == 0 && !pending {
		return fmt.Errorf("owes an ACK without a timer")
	}
	return nil
}

// checkWheel: the connection's place on the wheel comes, and not after its first deadline.
func (c *Conn) checkWheel() error {
	w, first := &c.e.wheel, int64(0)
	for _, at := range []int64{c.timers.lossAt, c.timers.probeAt, c.timers.ackAt, c.timers.keepAt} {
		if at != 0 && (first == 0 || at < first) {
			first = at
		}
	}
	tick := max(uint64(first+tickDuration-1)>>tickLog2, w.tick+1)
	switch {
	case int32(c.timers.node.tick-uint32(w.tick)) <= 0:
		return fmt.Errorf("armed for a tick that has passed, by %d", uint32(w.tick)-c.timers.node.tick)
	case int32(c.timers.node.tick-uint32(tick)) > 0:
		return fmt.Errorf("armed %d ticks after its deadline", c.timers.node.tick-uint32(tick))
	}
	return nil
}
