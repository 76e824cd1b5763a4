package tcp

import "fmt"

// watcher looks at an engine from step to step: what invariants of one moment can't
// say. All text, of both directions, is pattern of its sequence number, so that a
// byte in the wrong place shows wherever it is seen.
type watcher struct {
	e    *Engine
	seen map[uint32]moment // by the connection's reference
}

// moment is what a connection's numbers were after the last step.
type moment struct {
	state          State
	iss            seqNum
	sndUna, sndNxt seqNum
	rcvNxt, rcvAdv seqNum
	sndEdge        seqNum // the furthest that the peer's window has ever reached
	offered        seqNum // right edge in the last segment sent
	hasOffered     bool
}

func newWatcher(e *Engine) *watcher { return &watcher{e: e, seen: make(map[uint32]moment)} }

// pattern is the byte at a sequence number.
func pattern(seq seqNum) byte { return byte(seq) ^ byte(seq>>8)*31 ^ byte(seq>>17)*7 }

func fillPattern(b []byte, seq seqNum) []byte {
	for i := range b {
		b[i] = pattern(seq + seqNum(i))
	}
	return b
}

func checkPattern(b []byte, seq seqNum) error {
	for i := range b {
		if want := pattern(seq + seqNum(i)); b[i] != want {
			return fmt.Errorf("byte %d of %d, at %d, is %#x: want %#x", i, len(b), seq+seqNum(i), b[i], want)
		}
	}
	return nil
}

// write queues n bytes of pattern, as far as there is room.
func (w *watcher) write(c *Conn, b []byte) { _, _ = c.Write(fillPattern(b, c.sndEnd())) }

// read takes up to len(b) bytes and looks at them.
func (w *watcher) read(c *Conn, b []byte) error {
	first := w.firstBuffered(c)
	n, err := c.Read(b)
	if err != nil {
		return nil
	}
	return checkPattern(b[:n], first)
}

// firstBuffered is the sequence number of the first byte to be read.
func (w *watcher) firstBuffered(c *Conn) seqNum {
	first := c.rcv.nxt.add(-c.rcv.queue.n)
	if c.flags&flagRecvFin != 0 {
		first--
	}
	return first
}

// sending looks at a segment of a connection as it is sent.
func (w *watcher) sending(c *Conn, s *Segment) error {
	if s.Flags&FlagRST != 0 {
		return nil
	}
	if s.Flags&FlagSYN != 0 {
		if s.Seq != c.snd.iss || len(s.Payload) > 0 {
			return fmt.Errorf("a SYN from %d, with %d bytes: the ISS is %d", s.Seq, len(s.Payload), c.snd.iss)
		}
		return nil
	}
	if err := checkPattern(s.Payload, s.Seq); err != nil {
		return fmt.Errorf("sent the wrong text: %w", err)
	}
	if s.Ack != c.rcv.nxt {
		return fmt.Errorf("acknowledges %d, RCV.NXT is %d", s.Ack, c.rcv.nxt)
	}
	m := w.seen[c.id]
	edge := c.snd.una.add(c.snd.wnd)
	if m.iss == c.snd.iss && m.sndEdge.after(edge) && m.state != StateSynSent && m.state != StateClosed {
		edge = m.sndEdge
	}
	if end := s.Seq.add(s.length()); s.length() > 0 && end.after(edge) {
		return fmt.Errorf("sent to %d, the peer's window has never reached beyond %d", end, edge)
	}
	offered := s.Ack.add(uint32(s.Window) << c.rcv.scale)
	if offered.after(c.rcv.adv) {
		return fmt.Errorf("offers a window to %d, and will take only to %d", offered, c.rcv.adv)
	}
	// RFC 9293 section 3.8.6: the window is not shrunk, but by what its scale rounds.
	if m.hasOffered && m.iss == c.snd.iss && offered.before(m.offered) && m.offered-offered >= 1<<c.rcv.scale && c.flags&flagRecvFin == 0 {
		return fmt.Errorf("takes a window to %d back to %d", m.offered, offered)
	}
	m.iss, m.offered, m.hasOffered = c.snd.iss, offered, true
	if m.state == StateClosed {
		m.state, m.sndEdge = c.state, edge // first seen here, within a step
		m.sndUna, m.sndNxt, m.rcvNxt, m.rcvAdv = c.snd.una, c.snd.una, c.rcv.nxt, c.rcv.adv
	}
	w.seen[c.id] = m
	return nil
}

// successors are the changes of state that a single step may make (RFC 9293 figure 5; several
// arrows at once where one segment is several events).
var successors = map[State][]State{
	StateSynSent:     {StateSynReceived, StateEstablished, StateFinWait1, StateCloseWait, StateLastAck, StateClosing},
	StateSynReceived: {StateEstablished, StateFinWait1, StateFinWait2, StateCloseWait, StateClosing, StateLastAck},
	StateEstablished: {StateFinWait1, StateCloseWait, StateLastAck, StateClosing},
	StateFinWait1:    {StateFinWait2, StateClosing, StateTimeWait},
	StateFinWait2:    {StateTimeWait},
	StateCloseWait:   {StateLastAck},
	StateClosing:     {StateTimeWait},
}

// step is called after each one.
func (w *watcher) step() error {
	e := w.e
	if err := e.check(); err != nil {
		return err
	}
	if e.used-int64(e.segs.live)*segCost > e.cfg.Memory {
		return fmt.Errorf("%d bytes of a budget of %d", e.used, e.cfg.Memory)
	}
	for id := range w.seen {
		if e.conns.at(id).e == nil {
			delete(w.seen, id)
		}
	}
	for k := range e.conns.slabs {
		for i := range e.conns.slabs[k].items {
			c := &e.conns.slabs[k].items[i]
			if c.e == nil {
				continue
			}
			was, ok := w.seen[c.id]
			now, err := was, error(nil)
			if ok && was.iss == c.snd.iss {
				err = w.compare(&was, c)
			} else {
				now = moment{sndEdge: c.snd.una.add(c.snd.wnd)}
			}
			if err != nil {
				return fmt.Errorf("%v, was %v: %w", c.state, was.state, err)
			}
			now.state, now.iss = c.state, c.snd.iss
			now.sndUna, now.sndNxt, now.rcvNxt, now.rcvAdv = c.snd.una, c.snd.nxt, c.rcv.nxt, c.rcv.adv
			if edge := c.snd.una.add(c.snd.wnd); was.state == StateSynSent || edge.after(now.sndEdge) {
				now.sndEdge = edge
			}
			w.seen[c.id] = now
		}
	}
	return nil
}

func (w *watcher) compare(was *moment, c *Conn) error {
	if was.state != c.state && c.state != StateClosed {
		legal := false
		for _, s := range successors[was.state] {
			legal = legal || s == c.state
		}
		if !legal {
			return fmt.Errorf("no such change of state")
		}
	}
	switch {
	case c.snd.una.before(was.sndUna):
		return fmt.Errorf("SND.UNA went back from %d to %d", was.sndUna, c.snd.una)
	case c.snd.nxt.before(was.sndNxt):
		return fmt.Errorf("SND.NXT went back from %d to %d", was.sndNxt, c.snd.nxt)
	case was.state == StateSynSent:
	case c.rcv.nxt.before(was.rcvNxt):
		return fmt.Errorf("RCV.NXT went back from %d to %d", was.rcvNxt, c.rcv.nxt)
	case c.rcv.adv.before(was.rcvAdv):
		return fmt.Errorf("the window's edge went back from %d to %d", was.rcvAdv, c.rcv.adv)
	}
	return nil
}
