package rawload

import "shardnet/driver/wire"

// maxAdvance is how far ahead of rcv a reset may be and still count: a window.
const maxAdvance = 1 << 20

// input implements workload.
func (t *tcpLoad) input(p *packet, c class, src int) {
	if c != isTCP {
		return
	}
	t.heard = t.g.now
	i := t.g.ports.find(src, p.DstPort)
	if i < 0 {
		t.stray(p, src)
		return
	}
	switch t.conns[i].state {
	case opening:
		t.inputOpening(p, i, &t.conns[i])
	case open:
		t.inputOpen(p, i, &t.conns[i])
	}
}

// stray answers a segment of no connection: a FIN as in TIME_WAIT, others by a
// reset. A bare acknowledgement is late, and not answered before the end of the
// run, when it may be a challenge (RFC 5961) to a reset that did not fit.
func (t *tcpLoad) stray(p *packet, src int) {
	if p.TCPFlags&wire.RST != 0 || p.TCPFlags&wire.ACK == 0 || !t.resetting && len(p.payload) == 0 && p.TCPFlags&(wire.FIN|wire.SYN) == 0 {
		return
	}
	b := t.g.link.buffer()
	if b == nil {
		return
	}
	// A connection just long enough to answer on.
	c := conn{src: uint16(src), port: p.DstPort, rcv: p.seq + uint32(len(p.payload))}
	flags := uint8(wire.RST)
	if p.TCPFlags&(wire.FIN|wire.SYN) != 0 {
		c.rcv++
	}
	if p.TCPFlags&wire.FIN != 0 && !t.resetting {
		flags = wire.ACK
	}
	t.g.link.send(t.segment(b, 0, &c, p.ack, flags, 0))
}

// inputOpening takes the answer to a SYN.
func (t *tcpLoad) inputOpening(p *packet, i int, c *conn) {
	good := p.TCPFlags&wire.ACK != 0 && p.ack == c.una+1 && c.max == p.ack
	switch {
	case p.TCPFlags&wire.ACK != 0 && !good:
		if p.TCPFlags&wire.RST == 0 {
			t.resetStale(p, c)
		}
	case p.TCPFlags&wire.RST != 0:
		if good {
			t.r.Failed++
			t.remove(i, false)
		}
	case p.TCPFlags&wire.SYN != 0 && good:
		o := p.options()
		c.state = open
		c.una, c.nxt = p.ack, p.ack
		c.rcv = p.seq + 1
		c.wnd = uint32(p.window)
		c.retries = 0
		if o.mss != 0 {
			c.mss = min(c.mss, max(o.mss, 64))
		} else {
			c.mss = min(c.mss, 536) // RFC 9293, section 3.7.1
		}
		if o.shift >= 0 {
			c.shift = uint8(o.shift)
		} else {
			c.flags |= noScale
		}
		c.mark = c.una
		t.pending--
		t.r.Connected++
		t.ack(i)
		t.app.opened(i, c)
	}
}

// resetStale answers an acknowledgement that is not of our SYN: it is of an earlier
// connection of the pair, which this ends.
func (t *tcpLoad) resetStale(p *packet, c *conn) {
	if b := t.g.link.buffer(); b != nil {
		old := conn{src: c.src, port: c.port}
		t.g.link.send(t.segment(b, 0, &old, p.ack, wire.RST, 0))
	}
}

// inputOpen takes a segment of an established connection, after RFC 9293 section
// 3.10.7.4.
func (t *tcpLoad) inputOpen(p *packet, i int, c *conn) {
	switch {
	case p.TCPFlags&wire.RST != 0:
		if p.seq-c.rcv < maxAdvance {
			t.r.Resets++
			t.remove(i, false)
		}
		return
	case p.TCPFlags&wire.SYN != 0:
		t.ack(i) // our acknowledgement of the first was lost
		return
	case p.TCPFlags&wire.ACK == 0:
		return
	}
	acked := p.ack - c.una
	if acked > c.max-c.una {
		if int32(acked) > 0 {
			t.ack(i) // of what was never sent
			return
		}
		acked = 0 // old, but its data may be new
	} else {
		t.acknowledged(p, i, c, acked)
	}
	b, fin := p.payload, p.TCPFlags&wire.FIN != 0
	if skip := int(int32(c.rcv - p.seq)); skip != 0 {
		switch {
		case skip < 0:
			if len(b) > 0 || fin {
				t.r.OutOfOrder++
			}
			t.ack(i)
			return
		case skip > len(b), skip == len(b) && !fin:
			// Received already, or a keep-alive probe.
			t.ack(i)
			return
		}
		b = b[skip:]
	}
	if len(b) > 0 {
		if c.flags&peerFIN != 0 {
			return
		}
		c.rcv += uint32(len(b))
		c.unacked++
		if c.unacked >= 2 {
			t.touch(i)
		}
		if what := t.app.received(i, c, b); what != "" {
			t.wrong(what, b)
			t.abort(i)
		}
		if c.state != open {
			return
		}
	}
	if fin && c.flags&peerFIN == 0 {
		c.rcv++
		c.flags |= peerFIN
		if c.flags&closing == 0 {
			t.fail(i) // the server ends what this side would
			return
		}
		t.ack(i)
	}
}

// acknowledged takes the acknowledgement of n more sequence numbers, and the
// peer's window.
func (t *tcpLoad) acknowledged(p *packet, i int, c *conn, n uint32) {
	wnd := uint32(p.window) << c.shift
	switch {
	case n > 0:
		c.una = p.ack
		if int32(c.nxt-c.una) < 0 {
			c.nxt = c.una
		}
		c.retries, c.dupacks = 0, 0
		c.arm(t.g.now)
		if c.flags&closing != 0 && c.una == c.end+1 {
			c.due = millis(t.g.now) + finMillis
		}
		t.app.acked(i, c, n)
	case t.bulk != nil && c.una != c.max && len(p.payload) == 0 && wnd == c.wnd && p.TCPFlags&wire.FIN == 0:
		t.bulk.duplicate(i, c)
	}
	if c.wnd = wnd; c.nxt != c.limit() || c.over() {
		t.touch(i)
	}
}

func (t *tcpLoad) wrong(what string, got []byte) {
	m := meter{r: t.r}
	m.wrong(what, got)
}
