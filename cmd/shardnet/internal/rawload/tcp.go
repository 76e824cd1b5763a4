package rawload

import "shardnet/driver/wire"

// maxBurst is how many segments a connection sends before it is others' turn.
const maxBurst = 32

// tcpLoad is the TCP of a Run: its connections, their timeouts, and what is to be
// sent. What they are for is app's.
type tcpLoad struct {
	g         *Generator
	r         *Result
	app       app
	templates []template
	conns     []conn
	dirty     []int32 // connections with something to send, in order
	window    uint32  // bytes announced
	mss       uint16
	bulk      *bulkSender // congestion control; nil where a request is never longer than a window

	cut           bool  // the last output stopped at maxBurst
	live, pending int   // connections not closed, and those of them not open
	heard         int64 // when the last segment came
	resetting     bool  // the run is over: what still comes is reset

	swept  uint64 // connections looked at for timeouts since start
	behind bool   // that was less than the time asked for
	start  int64
	each   func()       // of the present stage, once a turn
	when   func() int64 // when each has something to do
	finish func() bool  // whether the present stage is done
}

func (g *Generator) newTCPLoad(conns int) *tcpLoad {
	t := &tcpLoad{
		g: g, r: g.result,
		templates: g.templates(wire.ProtoTCP),
		conns:     make([]conn, conns),
		dirty:     make([]int32, 0, conns),
		window:    1 << 18,
		mss:       uint16(min(g.cfg.Info.MTU-g.headerLen()-wire.TCPLen, 1<<16-1)),
		start:     g.now,
	}
	return t
}

// stage runs the loop until finish; each is called once a turn, and at the times
// of when.
func (t *tcpLoad) stage(each func(), when func() int64, finish func() bool) error {
	t.each, t.when, t.finish = each, when, finish
	return t.g.loop(t)
}

// open begins connection i, which is closed. It is not ok when there is no port.
func (t *tcpLoad) open(i int) bool {
	src, port, ok := t.g.ports.take(i)
	if !ok {
		return false
	}
	// RFC 6528: a clock, of a microsecond a tick, and a number that is the pair's
	// own. Streams of different connections differ by it, too.
	iss := uint32(t.g.now>>10) + t.g.ports.secret(src, port)
	t.conns[i] = conn{
		una: iss, nxt: iss, max: iss, end: iss + 1,
		src: uint16(src), port: port, mss: t.mss, state: opening,
	}
	t.live++
	t.pending++
	t.touch(i)
	return true
}

// touch lists c for output.
func (t *tcpLoad) touch(i int) {
	if c := &t.conns[i]; c.flags&dirty == 0 {
		c.flags |= dirty
		t.dirty = append(t.dirty, int32(i))
	}
}

func (t *tcpLoad) ack(i int) {
	t.conns[i].flags |= ackNow
	t.touch(i)
}

// commit makes n more bytes of c's stream ready to be sent.
func (t *tcpLoad) commit(i int, n int) {
	t.conns[i].end += uint32(n)
	t.touch(i)
}

// close ends c's stream: a FIN follows.
func (t *tcpLoad) close(i int) {
	t.conns[i].flags |= closing
	t.touch(i)
}

// abort resets c.
func (t *tcpLoad) abort(i int) {
	c := &t.conns[i]
	if c.state == opening {
		t.pending--
	}
	c.state = dying
	t.touch(i)
}

// remove forgets c.
func (t *tcpLoad) remove(i int, orderly bool) {
	c := &t.conns[i]
	if c.state == opening {
		t.pending--
	}
	t.live--
	c.state = closed
	t.g.ports.give(int(c.src), c.port)
	t.app.ended(i, c, orderly)
}

// fail counts c as failed, and resets it.
func (t *tcpLoad) fail(i int) {
	t.r.Failed++
	t.abort(i)
}

// turn implements workload.
func (t *tcpLoad) turn() {
	t.sweep()
	if t.each != nil {
		t.each()
	}
	done, listed := 0, len(t.dirty)
	for ; done < listed; done++ {
		i := int(t.dirty[done])
		if !t.output(i, &t.conns[i]) {
			break
		}
		if t.conns[i].flags &^= dirty; t.cut {
			t.cut = false
			t.touch(i)
		}
	}
	if done == len(t.dirty) {
		t.dirty = t.dirty[:0]
	} else if done > 0 {
		t.dirty = t.dirty[:copy(t.dirty, t.dirty[done:])]
	}
}

// wake implements workload. The sweep needs no better than maxWait.
func (t *tcpLoad) wake() int64 {
	if len(t.dirty) > 0 || t.behind {
		return t.g.now
	}
	return t.when()
}

// done implements workload.
func (t *tcpLoad) done() bool { return t.finish() }

// maxSweep bounds the connections of one sweep: what they have to send goes to the
// server in one burst.
const maxSweep = 1024

// sweep looks at as many connections as the time since the last turn is worth, so
// that each has its turn once in sweepTime.
func (t *tcpLoad) sweep() {
	n := uint64(len(t.conns))
	want := uint64(float64(t.g.now-t.start) / sweepTime * float64(n))
	if want-t.swept > n {
		t.swept = want - n
	}
	t.behind = want-t.swept > maxSweep
	for want = min(want, t.swept+maxSweep); t.swept < want; t.swept++ {
		t.expire(int(t.swept % n))
	}
}

// expire does what c's time has come for.
func (t *tcpLoad) expire(i int) {
	c := &t.conns[i]
	if c.state == closed || c.state == dying {
		return
	}
	if c.unacked > 0 {
		t.ack(i)
	}
	late := int32(millis(t.g.now)-c.due) >= 0
	switch {
	case !late:
	case c.una != c.max || c.nxt != c.limit() && c.wnd == 0:
		// Unacknowledged; or a closed window, to be probed.
		if c.retries++; c.retries > maxRetries {
			t.fail(i)
			return
		}
		if c.una != c.max {
			t.r.Retransmits++
			c.nxt = c.una
			if t.bulk != nil {
				t.bulk.timeout(i)
			}
		}
		c.wnd = max(c.wnd, 1)
		c.arm(t.g.now)
		t.touch(i)
	case c.flags&closing != 0 && c.una == c.limit():
		t.fail(i) // the peer does not close
	}
}

// output sends what c has to send; false when there was no frame for it.
func (t *tcpLoad) output(i int, c *conn) bool {
	switch c.state {
	case opening:
		if c.nxt != c.una {
			return true
		}
		return t.emit(i, c, wire.SYN, 0)
	case open:
		if t.resetting {
			return true
		}
	case dying:
		b := t.g.link.buffer()
		if b == nil {
			return false
		}
		t.g.link.send(t.segment(b, i, c, c.max, wire.RST|wire.ACK, 0))
		t.remove(i, false)
		return true
	default:
		return true
	}
	if c.flags&resendOne != 0 {
		b := t.g.link.buffer()
		if b == nil {
			return false
		}
		n := min(int(c.max-c.una), int(c.mss))
		t.g.link.send(t.segment(b, i, c, c.una, wire.ACK, n))
		c.flags &^= resendOne
	}
	for burst := 0; c.nxt != c.end && int32(c.end-c.nxt) > 0; burst++ {
		if burst == maxBurst {
			t.cut = true
			return true
		}
		room := int(int32(c.una + t.allowed(i, c) - c.nxt))
		left := int(c.end - c.nxt)
		n := min(left, int(c.mss), room)
		if n <= 0 || n < left && n < int(c.mss) && c.nxt != c.una {
			break // the window is closed, or would make for a silly segment
		}
		flags := uint8(wire.ACK)
		if n == left {
			flags |= wire.PSH
		}
		if !t.emit(i, c, flags, n) {
			return false
		}
	}
	if c.flags&closing != 0 && c.nxt == c.end {
		if !t.emit(i, c, wire.FIN|wire.ACK, 0) {
			return false
		}
	}
	if c.flags&ackNow != 0 || c.unacked >= 2 {
		b := t.g.link.buffer()
		if b == nil {
			return false
		}
		t.g.link.send(t.segment(b, i, c, c.max, wire.ACK, 0))
		c.flags &^= ackNow
		c.unacked = 0
	}
	if c.over() {
		t.remove(i, true)
	}
	return true
}

// allowed is how many bytes may be under way.
func (t *tcpLoad) allowed(i int, c *conn) uint32 {
	if t.bulk != nil {
		return min(c.wnd, t.bulk.window(i))
	}
	return c.wnd
}

// emit sends a segment at nxt with n bytes of the stream; false when there was no
// frame for it.
func (t *tcpLoad) emit(i int, c *conn, flags uint8, n int) bool {
	b := t.g.link.buffer()
	if b == nil {
		return false
	}
	t.g.link.send(t.segment(b, i, c, c.nxt, flags, n))
	if c.una == c.max {
		c.arm(t.g.now) // the timeout is of the oldest
	}
	c.nxt += uint32(n)
	if flags&(wire.SYN|wire.FIN) != 0 {
		c.nxt++
	}
	if int32(c.nxt-c.max) > 0 {
		c.max = c.nxt
	}
	c.flags &^= ackNow
	c.unacked = 0
	return true
}

// segment makes one, with n bytes of the stream at seq, and returns the frame's
// length.
func (t *tcpLoad) segment(b []byte, i int, c *conn, seq uint32, flags uint8, n int) int {
	tm := &t.templates[c.src]
	head := wire.TCPLen
	if flags&wire.SYN != 0 {
		head += 8
	}
	at := tm.put(b, head+n)
	h := b[at : at+head+n]
	ack, window := c.rcv, t.window>>windowShift
	if flags&wire.SYN != 0 {
		ack, window = 0, min(t.window, 0xffff)
		be.PutUint32(h[20:], 2<<24|4<<16|uint32(t.mss))
		be.PutUint32(h[24:], 1<<24|3<<16|3<<8|windowShift)
	} else if c.flags&noScale != 0 {
		window = min(t.window, 0xffff)
	}
	wire.PutTCP(h, c.port, t.g.target.port, seq, ack, head, flags, uint16(window))
	if n > 0 {
		t.app.fill(i, c, seq, h[head:])
	}
	be.PutUint16(h[16:], ^wire.Fold(wire.Sum(h[4:], tm.l4Sum+wire.Word(c.port)+wire.Word(uint16(len(h))))))
	return at + len(h)
}
