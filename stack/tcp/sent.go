package tcp

// sentSegment is a segment in flight. A connection has a list of them by sequence number, from
// SND.UNA to SND.NXT without a gap. A second list, by the time of transmission, has those that are
// neither lost nor SACKed.
type sentSegment struct {
	seq, end     seqNum
	at           int64 // last transmission
	next, prev   uint32
	tnext, tprev uint32
	pos          queuePos // of its first byte in the send queue
	flags        segFlags
	tries        uint8 // transmissions, saturated
}

type segFlags uint8

const (
	segSacked segFlags = 1 << iota
	segLost            // lost, and not yet retransmitted
	segRetr            // was retransmitted
	segFin             // its last octet is the FIN
	segTimed           // in the list by time
)

// data is how many bytes of data the segment has.
func (g *sentSegment) data() uint32 {
	n := g.end.sub(g.seq)
	if g.flags&segFin != 0 {
		n--
	}
	return n
}

// maxSegs bounds the segments in flight of a connection, as small ones take more memory than their
// data. It does not bound a window of 44 MB, with segments of 1448 bytes.
const maxSegs = 1 << 15

// addSegment appends a segment that was just sent.
func (c *Conn) addSegment(seq, end seqNum, pl queuePos, f segFlags) {
	e := c.e
	ref := e.segs.get()
	c.flight.segs++
	e.used += segCost
	g := e.segs.at(ref)
	*g = sentSegment{seq: seq, end: end, at: e.now, pos: pl, flags: f, prev: c.flight.tail, tries: 1}
	if c.flight.tail != 0 {
		e.segs.at(c.flight.tail).next = ref
	} else {
		c.flight.head = ref
	}
	c.flight.tail = ref
	c.timeAppend(ref, g)
}

func (c *Conn) timeAppend(ref uint32, g *sentSegment) {
	g.flags |= segTimed
	g.tprev, g.tnext = c.flight.timeTail, 0
	if c.flight.timeTail != 0 {
		c.e.segs.at(c.flight.timeTail).tnext = ref
	} else {
		c.flight.timeHead = ref
	}
	c.flight.timeTail = ref
}

// timeInsert inserts a segment in the list by time, searching from the head.
func (c *Conn) timeInsert(ref uint32, g *sentSegment) {
	e := c.e
	next := c.flight.timeHead
	for next != 0 && !sentAfter(e.segs.at(next).at, e.segs.at(next).end, g.at, g.end) {
		next = e.segs.at(next).tnext
	}
	if next == 0 {
		c.timeAppend(ref, g)
		return
	}
	n := e.segs.at(next)
	g.flags |= segTimed
	g.tnext, g.tprev = next, n.tprev
	if n.tprev != 0 {
		e.segs.at(n.tprev).tnext = ref
	} else {
		c.flight.timeHead = ref
	}
	n.tprev = ref
}

func (c *Conn) timeRemove(g *sentSegment) {
	if g.flags&segTimed == 0 {
		return
	}
	e := c.e
	g.flags &^= segTimed
	if g.tprev != 0 {
		e.segs.at(g.tprev).tnext = g.tnext
	} else {
		c.flight.timeHead = g.tnext
	}
	if g.tnext != 0 {
		e.segs.at(g.tnext).tprev = g.tprev
	} else {
		c.flight.timeTail = g.tprev
	}
}

// dropSegment removes the oldest segment, which was acknowledged.
func (c *Conn) dropSegment(ref uint32) {
	e := c.e
	g := e.segs.at(ref)
	c.timeRemove(g)
	if g.flags&segSacked != 0 {
		c.flight.sacked -= g.end.sub(g.seq)
		c.flight.sackedSegs--
	}
	if g.flags&segLost != 0 {
		c.flight.lost -= g.end.sub(g.seq)
	}
	if c.flight.lostHint == ref {
		c.flight.lostHint = g.next
	}
	if c.flight.sackHint == ref {
		c.flight.sackHint = 0
	}
	c.flight.head = g.next
	if g.next != 0 {
		e.segs.at(g.next).prev = 0
	} else {
		c.flight.tail = 0
	}
	c.flight.segs--
	e.used -= segCost
	e.segs.put(ref)
}

func (c *Conn) dropSegments() {
	for c.flight.head != 0 {
		c.dropSegment(c.flight.head)
	}
}

// trimSegment takes n acknowledged bytes, not all, off the oldest segment.
func (c *Conn) trimSegment(g *sentSegment, n uint32) {
	if g.flags&segSacked != 0 {
		c.flight.sacked -= n
	}
	if g.flags&segLost != 0 {
		c.flight.lost -= n
	}
	if g.data() > n {
		g.pos = c.snd.queue.normalize(c.e.chunks, c.snd.queue.skip(c.e.chunks, g.pos, n))
	}
	g.seq += seqNum(n)
}

// splitSegment leaves n bytes of data in a segment, and puts the rest in a new one: the path now
// takes smaller segments.
func (c *Conn) splitSegment(ref, n uint32) {
	e := c.e
	rest := e.segs.get()
	c.flight.segs++
	e.used += segCost
	g, r := e.segs.at(ref), e.segs.at(rest)
	*r = *g
	r.seq = g.seq.add(n)
	r.pos = c.snd.queue.normalize(e.chunks, c.snd.queue.skip(e.chunks, g.pos, n))
	r.prev = ref
	g.end = r.seq
	g.flags &^= segFin
	g.next = rest
	if r.next != 0 {
		e.segs.at(r.next).prev = rest
	} else {
		c.flight.tail = rest
	}
	if g.flags&segSacked != 0 {
		c.flight.sackedSegs++
	}
	if r.flags&segTimed != 0 {
		r.tprev = ref
		g.tnext = rest
		if r.tnext != 0 {
			e.segs.at(r.tnext).tprev = rest
		} else {
			c.flight.timeTail = rest
		}
	}
}

// markLost marks a segment as lost. It counts as not in flight, and is retransmitted.
func (c *Conn) markLost(ref uint32) {
	g := c.e.segs.at(ref)
	if g.flags&(segLost|segSacked) != 0 {
		return
	}
	g.flags |= segLost
	c.flight.lost += g.end.sub(g.seq)
	c.timeRemove(g)
	if c.flight.lostHint == 0 || g.seq.before(c.e.segs.at(c.flight.lostHint).seq) {
		c.flight.lostHint = ref
	}
}

// nextLost returns the oldest lost segment, or 0.
func (c *Conn) nextLost() uint32 {
	if c.flight.lost == 0 {
		c.flight.lostHint = 0
		return 0
	}
	for c.flight.lostHint != 0 && c.e.segs.at(c.flight.lostHint).flags&segLost == 0 {
		c.flight.lostHint = c.e.segs.at(c.flight.lostHint).next
	}
	return c.flight.lostHint
}

// onRetransmit records that a segment was sent again.
func (c *Conn) onRetransmit(ref uint32) {
	e := c.e
	g := e.segs.at(ref)
	if g.flags&segLost != 0 {
		c.flight.lost -= g.end.sub(g.seq)
	}
	g.flags = g.flags&^segLost | segRetr
	g.at = e.now
	g.tries += 1 - g.tries/255
	c.timeRemove(g)
	c.timeAppend(ref, g)
	if c.rec.undoRetrans == 0 {
		c.ts.firstRetr = c.timestamp()
	}
	c.rec.undoRetrans++
	e.stats.Retransmitted++
}

// pipe is how many bytes are in flight (RFC 6675 section 4): sent, and neither acknowledged,
// SACKed, nor lost. Without SACK each duplicate ACK means that a segment has left the network.
func (c *Conn) pipe() uint32 {
	n := c.snd.nxt.sub(c.snd.una) - c.flight.lost
	out := c.flight.sacked
	if c.flags&flagSack == 0 || c.flags&flagNewReno != 0 {
		out = uint32(c.rec.dupAcks) * uint32(c.snd.mss)
	}
	return n - min(n, out)
}
