package tcp

// oooRange is a contiguous range of data received ahead of RCV.NXT. Ranges neither overlap nor
// touch.
type oooRange struct {
	start, end   seqNum
	q            queue
	next, prev   uint32 // by sequence
	rnext, rprev uint32 // by recency: the last that grew comes first
}

// oooList is a connection's ranges, which SACK blocks report (RFC 2018).
type oooList struct {
	head, tail uint32
	recent     uint32
	n          uint32 // ranges
	mem        uint32 // of their chunks
}

// maxRanges bounds a connection's ranges. A path that loses every tenth segment
// makes about a hundred in a window of a thousand.
const maxRanges = 256

// insert adds data that begins after RCV.NXT and lies within the window. Bytes that were received
// before are kept. It returns false if there was no room.
func (l *oooList) insert(c *Conn, seq seqNum, p []byte) bool {
	e := c.e
	// prev is the last range that begins at or before seq. New data is mostly at the end.
	prev := l.tail
	if prev != 0 && e.ranges.at(prev).start.after(seq) {
		prev = 0
		for r := l.head; r != 0 && e.ranges.at(r).start.beforeEq(seq); r = e.ranges.at(r).next {
			prev = r
		}
	}
	for len(p) > 0 {
		next := l.head
		if prev != 0 {
			r := e.ranges.at(prev)
			next = r.next
			if seq.beforeEq(r.end) {
				// It overlaps or touches prev: cut the overlap, append the rest.
				have := min(r.end.sub(seq), uint32(len(p)))
				if have > 0 {
					e.stats.Duplicates++
					c.reportDSACK(seq, seq.add(have))
				}
				p, seq = p[have:], seq.add(have)
				fits := uint32(len(p))
				if next != 0 {
					fits = min(fits, e.ranges.at(next).start.sub(seq))
				}
				if fits > 0 {
					if !l.extend(c, r, p[:fits]) {
						return false
					}
					p, seq = p[fits:], seq.add(fits)
				}
				l.moveToFront(e, prev)
				if next != 0 && e.ranges.at(next).start == r.end {
					l.merge(e, prev)
				} else if len(p) == 0 {
					break
				}
				continue
			}
		}
		fits := uint32(len(p))
		if next != 0 {
			fits = min(fits, e.ranges.at(next).start.sub(seq))
		}
		if fits > 0 {
			made := l.newRange(c, prev, next, seq, p[:fits])
			if made == 0 {
				return false
			}
			prev = made
			p, seq = p[fits:], seq.add(fits)
			if next != 0 && seq == e.ranges.at(next).start {
				l.merge(e, made)
			}
		} else {
			prev = next
		}
	}
	return true
}

// extend appends data to a range.
func (l *oooList) extend(c *Conn, r *oooRange, p []byte) bool {
	mem := r.q.mem
	if len(p) > r.q.room(c.e.chunks) && l.full(c) {
		return false
	}
	r.q.append(c.e.chunks, p)
	r.end += seqNum(len(p))
	l.mem += r.q.mem - mem
	return true
}

// full bounds the memory of ranges, as a few bytes may take a whole chunk.
func (l *oooList) full(c *Conn) bool { return l.mem > 2*c.rcv.buf+maxChunk }

// newRange makes a range between prev and next.
func (l *oooList) newRange(c *Conn, prev, next uint32, seq seqNum, p []byte) uint32 {
	e := c.e
	if l.n >= maxRanges || l.full(c) {
		return 0
	}
	ref := e.ranges.get()
	r := e.ranges.at(ref)
	*r = oooRange{start: seq, end: seq, next: next, prev: prev}
	if prev != 0 {
		e.ranges.at(prev).next = ref
	} else {
		l.head = ref
	}
	if next != 0 {
		e.ranges.at(next).prev = ref
	} else {
		l.tail = ref
	}
	l.n++
	r.rnext = l.recent
	if l.recent != 0 {
		e.ranges.at(l.recent).rprev = ref
	}
	l.recent = ref
	r.q.append(e.chunks, p)
	r.end += seqNum(len(p))
	l.mem += r.q.mem
	return ref
}

// merge appends the range after ref to ref.
func (l *oooList) merge(e *Engine, ref uint32) {
	r := e.ranges.at(ref)
	next := r.next
	n := e.ranges.at(next)
	r.q.splice(e.chunks, &n.q)
	r.end = n.end
	l.remove(e, next)
}

// moveToFront makes a range the most recent.
func (l *oooList) moveToFront(e *Engine, ref uint32) {
	if l.recent == ref {
		return
	}
	r := e.ranges.at(ref)
	e.ranges.at(r.rprev).rnext = r.rnext
	if r.rnext != 0 {
		e.ranges.at(r.rnext).rprev = r.rprev
	}
	r.rprev, r.rnext = 0, l.recent
	e.ranges.at(l.recent).rprev = ref
	l.recent = ref
}

// remove unlinks a range whose data was taken.
func (l *oooList) remove(e *Engine, ref uint32) {
	r := e.ranges.at(ref)
	if r.prev != 0 {
		e.ranges.at(r.prev).next = r.next
	} else {
		l.head = r.next
	}
	if r.next != 0 {
		e.ranges.at(r.next).prev = r.prev
	} else {
		l.tail = r.prev
	}
	if r.rprev != 0 {
		e.ranges.at(r.rprev).rnext = r.rnext
	} else {
		l.recent = r.rnext
	}
	if r.rnext != 0 {
		e.ranges.at(r.rnext).rprev = r.rprev
	}
	l.n--
	e.ranges.put(ref)
}

// deliver moves what is now in order to the receive queue. Data that was received in order
// meanwhile is dropped.
func (l *oooList) deliver(c *Conn) {
	e := c.e
	for l.head != 0 {
		ref := l.head
		r := e.ranges.at(ref)
		if r.start.after(c.rcv.nxt) {
			return
		}
		mem := r.q.mem
		if dup := min(c.rcv.nxt.sub(r.start), r.q.n); dup > 0 {
			c.reportDSACK(r.start, r.start.add(dup))
			r.q.discard(e.chunks, dup)
		}
		if r.end.after(c.rcv.nxt) {
			c.rcv.nxt = r.end
		}
		l.mem -= mem
		if c.flags&flagReadShut != 0 {
			r.q.free(e.chunks)
		} else {
			c.rcv.queue.splice(e.chunks, &r.q)
		}
		l.remove(e, ref)
	}
}

// free drops all ranges.
func (l *oooList) free(e *Engine) {
	for l.head != 0 {
		r := e.ranges.at(l.head)
		l.mem -= r.q.mem
		r.q.free(e.chunks)
		l.remove(e, l.head)
	}
}

// sackBlocks fills b with the blocks to report (RFC 2018 section 4): first a D-SACK block if one is
// due (RFC 2883 section 4), then the ranges, the most recent first.
func (c *Conn) sackBlocks(b []SackBlock) int {
	n := 0
	if c.flags&flagDSack != 0 {
		b[0] = c.rcv.dsack
		n = 1
	}
	for r := c.rcv.ooo.recent; r != 0 && n < len(b); r = c.e.ranges.at(r).rnext {
		b[n] = SackBlock{c.e.ranges.at(r).start, c.e.ranges.at(r).end}
		n++
	}
	return n
}

// reportDSACK makes the next ACK report a duplicate.
func (c *Conn) reportDSACK(start, end seqNum) {
	c.rcv.quickAcks = initialQuickAcks
	if c.flags&flagSack != 0 {
		c.flags |= flagDSack
		c.rcv.dsack = SackBlock{start, end}
	}
}
