package tcp

// processSACK takes a segment's SACK option (RFC 2018 section 3, RFC 2883).
func (c *Conn) processSACK(r *ackResult) {
	s := r.seg
	blocks := s.Sack[:s.Blocks]
	if c.isDSack(blocks, s.Ack) {
		r.dsack = true
		c.processDSACK(blocks[0])
		blocks = blocks[1:]
	}
	// Blocks are in the order of recency. They are sorted by sequence number, so that a
	// segment found below one SACKed before is evidence of reordering.
	for i := 1; i < len(blocks); i++ {
		for j := i; j > 0 && blocks[j].Start.before(blocks[j-1].Start); j-- {
			blocks[j], blocks[j-1] = blocks[j-1], blocks[j]
		}
	}
	for _, b := range blocks {
		// A block outside of what is in flight is old or forged.
		if b.Start.before(b.End) && b.Start.afterEq(c.snd.una) && b.End.beforeEq(c.snd.nxt) {
			c.markSACKed(b, r)
		}
	}
}

// isDSack is RFC 2883 section 4: the first block reports a duplicate if it is below the
// acknowledgement, or within the second block.
func (c *Conn) isDSack(blocks []SackBlock, ack seqNum) bool {
	b := blocks[0]
	if !b.Start.before(b.End) || b.End.before(c.snd.una.add(-c.snd.maxWnd)-1<<16) {
		return false
	}
	return b.End.beforeEq(ack) ||
		len(blocks) > 1 && b.Start.afterEq(blocks[1].Start) && b.End.beforeEq(blocks[1].End)
}

// markSACKed marks the segments within a block. Blocks are reported again as they grow, so runs of
// SACKed segments are skipped. The time is in proportion to what is missing and new, not to the
// window.
func (c *Conn) markSACKed(b SackBlock, r *ackResult) {
	e := c.e
	ref := c.flight.head
	// Most blocks are old ones that have grown.
	if h := c.flight.sackHint; h != 0 && e.segs.at(h).seq.beforeEq(b.Start) {
		ref = h
	}
	for ref != 0 {
		g := e.segs.at(ref)
		if !g.seq.before(b.End) {
			return
		}
		if g.flags&segSacked != 0 {
			ref = e.segs.at(c.runEnd(ref)).next
			continue
		}
		if g.seq.afterEq(b.Start) && g.end.beforeEq(b.End) {
			n := g.end.sub(g.seq)
			r.delivered += n
			r.sack = true
			c.rackDelivered(g, r)
			if g.flags&segLost != 0 {
				g.flags &^= segLost
				c.flight.lost -= n
			}
			c.timeRemove(g)
			g.flags |= segSacked
			c.flight.sacked += n
			c.flight.sackedSegs++
			c.flight.sackHint = ref
			c.joinRun(ref, g)
		}
		ref = g.next
	}
}

// A SACKed segment is not in the list by time. Its link tnext leads to a later segment of
// the same run: all segments between them are SACKed. The last one has the link 0.
// Segments are only removed at the front, so a link stays valid.

// joinRun links a newly SACKed segment with its neighbors.
func (c *Conn) joinRun(ref uint32, g *sentSegment) {
	e := c.e
	g.tnext, g.tprev = 0, 0
	if g.next != 0 && e.segs.at(g.next).flags&segSacked != 0 {
		g.tnext = g.next
	}
	if g.prev != 0 {
		if p := e.segs.at(g.prev); p.flags&segSacked != 0 {
			p.tnext = ref
		}
	}
}

// runEnd returns the last segment of a run. It shortens the links on its way.
func (c *Conn) runEnd(ref uint32) uint32 {
	e := c.e
	g := e.segs.at(ref)
	for g.tnext != 0 {
		n := e.segs.at(g.tnext)
		if n.tnext == 0 {
			return g.tnext
		}
		g.tnext = n.tnext
		ref = g.tnext
		g = e.segs.at(ref)
	}
	return ref
}

// forgetSACKs unmarks all segments: the receiver has dropped data that it had reported (RFC 2018
// section 8).
func (c *Conn) forgetSACKs() {
	for ref := c.flight.head; ref != 0; ref = c.e.segs.at(ref).next {
		g := c.e.segs.at(ref)
		if g.flags&segSacked != 0 {
			g.flags &^= segSacked
			c.timeInsert(ref, g)
		}
	}
	c.flight.sacked, c.flight.sackedSegs, c.flight.sackHint = 0, 0, 0
}

// processDSACK takes the report that a segment arrived twice.
func (c *Conn) processDSACK(b SackBlock) {
	// RFC 8985 section 6.2, step 4: widen the reordering window, once a round trip.
	if c.rec.rackRound == 0 || !c.snd.una.before(c.rec.rackRound) {
		c.rec.rackRound = c.snd.nxt | 1
		if c.rec.reoMult < 255 {
			c.rec.reoMult++
		}
		c.rec.reoPersist = 16
	}
	if c.flags&flagTLPRetr != 0 && b.End == c.rec.tlpEnd {
		c.flags &^= flagTLPOut | flagTLPRetr // the probe was the duplicate
		return
	}
	if c.rec.undoRetrans > 0 && b.Start.afterEq(c.rec.undoMarker) {
		c.rec.undoRetrans--
		if c.rec.undoRetrans == 0 {
			c.undo()
		}
	}
}
