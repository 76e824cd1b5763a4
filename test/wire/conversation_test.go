//go:build linux

package wire

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// peerISN is the peer's initial sequence number: soon to wrap.
const peerISN = 0xffffff00

// peerPort is the first of the peer's ports.
const peerPort = 40000

// patience is how long a segment, or a call, is waited for that has no bound of
// its own: much longer than it takes, as only a failure waits for it.
const patience = 2 * time.Second

// tuple is what the peer knows of the connection of one of its ports.
type tuple struct {
	iss     uint32 // the target's initial sequence number, 0 before its SYN
	last    *segment
	val     uint32 // the target's last timestamp
	old     uint32 // the one that was remembered
	stamps  bool   // the peer offered them
	base    uint32 // the peer's own at began
	began   time.Time
	waiting []*segment
}

// conversation is a script under way. It belongs to one goroutine.
type conversation struct {
	target *target
	at     netip.AddrPort // the target's
	peer   netip.Addr
	port   uint16 // the peer's, of now
	tuples map[uint16]*tuple
	in     chan *segment
	mark   time.Time // of what was last done or seen
	trace  []string

	app
}

// converse has the target and the peer do what the steps say, and tells the first
// that was not as it is written, with what was said until then.
func converse(g *target, v6 bool, steps []step) error {
	c := &conversation{target: g, port: peerPort, tuples: make(map[uint16]*tuple), in: make(chan *segment, 4096)}
	c.at, c.peer = g.addresses(v6)
	g.peer.subscribe(c.peer, c.in)
	var err error
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, s := range steps {
		c.note("%s", s.line)
		if err = s.do(c); err != nil {
			err = fmt.Errorf("%q: %w", s.line, err)
			break
		}
	}
	c.app.end()
	if bad := g.peer.unsubscribe(c.peer); err == nil {
		err = bad
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, strings.Join(c.trace, "\n"))
	}
	return err
}

func (c *conversation) note(format string, args ...any) {
	c.trace = append(c.trace, fmt.Sprintf("\t"+format, args...))
}

// now is the tuple of the port that speaks.
func (c *conversation) now() *tuple { return c.tupleOf(c.port) }

func (c *conversation) tupleOf(port uint16) *tuple {
	t := c.tuples[port]
	if t == nil {
		t = &tuple{began: time.Now()}
		c.tuples[port] = t
	}
	return t
}

func (c *conversation) send(s *spec) error {
	t := c.now()
	o := outgoing{src: netip.AddrPortFrom(c.peer, c.port), dst: c.at, flags: s.flags, win: uint16(s.win), urg: uint16(s.urg),
		doff: s.doff, badSum: s.has["badsum"], ip: s.has}
	if s.has["broadcast"] {
		o.dst = netip.AddrPortFrom(broadcast4, c.at.Port())
	}
	if s.flags&flagACK != 0 || s.has["ack"] {
		o.ack = t.iss + uint32(s.ack)
	}
	opts := s.options
	if s.stamp && s.flags&flagSYN != 0 {
		t.stamps, t.base, t.began = true, s.val, time.Now()
	} else if t.stamps && !s.has["nots"] && !s.stamp {
		opts.stamp, opts.val = true, t.base+uint32(time.Since(t.began)/time.Millisecond)
	}
	if opts.ecr = t.val; s.has["ecr"] {
		opts.ecr = s.ecr
	}
	if s.has["remembered"] {
		opts.ecr = t.old
	}
	if s.has["+"] {
		opts.mss += c.target.sackRoom(opts.stamp)
	}
	opts.sack = nil
	for _, b := range s.sack {
		opts.sack = append(opts.sack, [2]uint32{t.iss + b[0], t.iss + b[1]})
	}
	for i := range s.times {
		at := s.seq + i*s.len
		o.seq = peerISN + uint32(at)
		o.options = append(appendOptions(nil, &opts), s.raw...)
		if o.payload = patterned(max(at-1, 0), s.len); s.has["junk"] {
			for i := range o.payload {
				o.payload[i] ^= 0xff
			}
		}
		if err := c.target.peer.sendSegment(&o); err != nil {
			return err
		}
	}
	c.mark = time.Now()
	return nil
}

// receive returns the next segment to the port that speaks, or nil at the deadline.
func (c *conversation) receive(deadline time.Time) *segment {
	t := c.now()
	if len(t.waiting) > 0 {
		s := t.waiting[0]
		t.waiting = t.waiting[1:]
		return s
	}
	// What is there already counts, however late it is looked at.
	for timeout := time.After(time.Until(deadline)); ; {
		select {
		case s := <-c.in:
			if s.dst.Port() == c.port {
				return s
			}
			other := c.tupleOf(s.dst.Port())
			other.waiting = append(other.waiting, s)
			continue
		default:
		}
		select {
		case s := <-c.in:
			if s.dst.Port() == c.port {
				return s
			}
			other := c.tupleOf(s.dst.Port())
			other.waiting = append(other.waiting, s)
		case <-timeout:
			return nil
		}
	}
}

// take learns from a segment what the peer must know to go on.
func (c *conversation) take(s *segment) {
	t := c.now()
	if s.flags&flagSYN != 0 {
		t.iss = s.seq
	}
	if s.stamp {
		t.val = s.val
	}
	c.at = s.src // a dialed connection's port
	t.last = s
	c.note("%8.1fms  %s", float64(s.at.Sub(c.mark))/float64(time.Millisecond), s.show(t.iss, peerISN))
}

// opens reports that s does nothing but open the window.
func (t *tuple) opens(s *segment) bool {
	l := t.last
	return l != nil && s.flags == flagACK && len(s.payload) == 0 && len(s.sack) == 0 && s.ack == l.ack && s.win > l.win &&
		s.seq == l.seq+uint32(len(l.payload))
}

// precedes reports that s acknowledges a part of what the expected one does.
func (t *tuple) precedes(s *segment, want []*spec) bool {
	if t.last == nil || s.flags != flagACK || len(s.payload) > 0 || len(s.sack) > 0 || int32(s.ack-t.last.ack) <= 0 {
		return false
	}
	for _, w := range want {
		most := w.ack
		if w.flags&^flagPSH == flagACK && w.len == 0 {
			most-- // a pure ACK is expected: this is not yet the one
		}
		if w.has["ack"] && int32(s.ack-peerISN) <= int32(most) {
			return true
		}
	}
	return false
}

// expect waits for the segments of one of the specs.
func (c *conversation) expect(want []*spec) error {
	for i := range want[0].times {
		if err := c.expectOne(want, i); err != nil {
			return err
		}
	}
	return nil
}

func (c *conversation) expectOne(want []*spec, i int) error {
	t := c.now()
	if i > 0 && t.last != nil {
		c.mark = t.last.at
	}
	mark := c.mark
	wait := patience
	for _, w := range want {
		wait = max(wait, w.within+patience/2)
	}
	for {
		s := c.receive(mark.Add(wait))
		if s == nil {
			return errors.New("nothing came")
		}
		opens, precedes := t.opens(s), t.precedes(s, want)
		c.take(s)
		var wrong error
		for _, w := range want {
			if wrong = t.compare(s, w, i); wrong == nil {
				wrong = onTime(s.at.Sub(mark), w)
			}
			if wrong == nil {
				c.mark = s.at
				return nil
			}
		}
		if !opens && !precedes {
			return fmt.Errorf("%w in %s", wrong, s.show(t.iss, peerISN))
		}
	}
}

func onTime(d time.Duration, w *spec) error {
	if w.has["after"] && d < w.after {
		return fmt.Errorf("too early: after %v", d)
	}
	if w.has["within"] && d > w.within {
		return fmt.Errorf("too late: after %v", d)
	}
	return nil
}

// compare tells what is other in s than in the ith of w.
func (t *tuple) compare(s *segment, w *spec, i int) error {
	wrong := func(what string, got, want any) error { return fmt.Errorf("%s %v, not %v,", what, got, want) }
	at := w.seq + i*w.len
	// A RST without ACK is numbered by what it answers, also before any SYN.
	seq := int(int32(s.seq - t.iss))
	switch {
	case s.flags&^flagPSH != w.flags&^flagPSH:
		return errors.New("other flags")
	case seq != at && !w.any:
		return wrong("sequence number", seq, at)
	case len(s.payload) != w.len:
		return wrong("length", len(s.payload), w.len)
	case w.has["ack"] && int(int32(s.ack-peerISN)) != w.ack:
		return wrong("ack", int32(s.ack-peerISN), w.ack)
	case w.has["win"] && w.above && int(s.win) <= w.win, w.has["win"] && !w.above && int(s.win) != w.win:
		return wrong("window", s.win, w.win)
	case w.has["mss"] && s.mss != w.mss, w.has["nomss"] && s.mss >= 0:
		return wrong("MSS", s.mss, w.mss)
	case w.has["ws"] && s.scale != w.scale, w.has["nows"] && s.scale >= 0:
		return wrong("window scale", s.scale, w.scale)
	case w.sackOK && !s.sackOK, w.has["nosack"] && (s.sackOK || len(s.sack) > 0):
		return errors.New("SACK is not as expected")
	case w.has["nots"] && s.stamp, w.has["ecr"] && !s.stamp:
		return errors.New("timestamp is not as expected")
	case w.has["ecr"] && s.ecr != w.ecr:
		return wrong("echoed timestamp", s.ecr, w.ecr)
	case w.has["sack"] && len(s.sack) != len(w.sack):
		return wrong("SACK blocks", len(s.sack), len(w.sack))
	}
	for i, b := range w.sack {
		if got := s.sack[i]; got != [2]uint32{peerISN + b[0], peerISN + b[1]} {
			return errors.New("other SACK blocks")
		}
	}
	if at >= 1 && string(s.payload) != string(patterned(at-1, len(s.payload))) {
		return errors.New("other payload than was written")
	}
	return nil
}

// quiet waits for as long, and for nothing else.
func (c *conversation) quiet(d time.Duration) error {
	end := time.Now().Add(d)
	for {
		s := c.receive(end)
		if s == nil {
			c.mark = time.Now()
			return nil
		}
		opens := c.now().opens(s)
		if c.take(s); !opens {
			return fmt.Errorf("it sent %s", s.show(c.now().iss, peerISN))
		}
	}
}

func (c *conversation) pause(d time.Duration) error {
	time.Sleep(d)
	return nil
}

// icmpStep is an ICMP error to send.
type icmpStep struct {
	kind     string
	mtu      int
	seq      int
	stranger bool
}

func (c *conversation) icmp(e icmpStep) error {
	from := c.at
	if e.stranger {
		from = netip.AddrPortFrom(from.Addr(), 9) // nobody's
	}
	et, ls, err := icmpError(e.kind, e.mtu, from, netip.AddrPortFrom(c.peer, c.port), c.now().iss+uint32(e.seq))
	if err != nil {
		return err
	}
	c.mark = time.Now()
	return c.target.peer.send(et, ls...)
}

// flood sends SYNs from n ports beyond those that scripts use.
func (c *conversation) flood(n int) error {
	for i := range n {
		o := outgoing{src: netip.AddrPortFrom(c.peer, peerPort+1000+uint16(i)), dst: c.at, flags: flagSYN,
			seq: peerISN, win: 65535, options: appendOptions(nil, &options{mss: 1460, scale: -1})}
		if err := c.target.peer.sendSegment(&o); err != nil {
			return err
		}
	}
	return nil
}

// fill sends segments of n bytes for as long as there is a window. The peer has sent
// no data before, and offered no window scale.
func (c *conversation) fill(n int) error {
	t := c.now()
	const most = 64 << 20
	for c.filled = 0; c.filled < most; {
		room := int(int32(t.last.ack-peerISN)) + int(t.last.win) - 1 - c.filled
		if room > 0 {
			if err := c.send(c.more(min(n, room), t)); err != nil {
				return err
			}
			c.filled += min(n, room)
		}
		s := c.receive(time.Now().Add(time.Second))
		if s == nil {
			return fmt.Errorf("the window is %d after %d bytes, and no ACK", t.last.win, c.filled)
		}
		if c.take(s); s.win == 0 && int(int32(s.ack-peerISN))-1 == c.filled {
			c.mark = s.at
			return nil
		}
	}
	return errors.New("the window never closed")
}

// probe sends n bytes more than fill has.
func (c *conversation) probe(n int) error { return c.send(c.more(n, c.now())) }

// more is n bytes after those that fill has sent, with an ACK of all there is.
func (c *conversation) more(n int, t *tuple) *spec {
	ack := int(int32(t.last.seq-t.iss)) + len(t.last.payload)
	if t.last.flags&flagSYN != 0 {
		ack++
	}
	return &spec{flags: flagACK, seq: 1 + c.filled, len: n, times: 1, ack: ack, win: 65535, options: options{mss: -1, scale: -1}}
}
