package tcp

import (
	"encoding/binary"
	"math"
)

// Sizes of segments.
const (
	minMTU      = 576 // lower path MTUs are not accepted
	minMTU6     = 1280
	minMSS      = 88 // the smallest MSS of a peer; with less, headers would prevail
	defaultMSS  = 536
	defaultMSS6 = 1220
	headers4    = 20 + headerLen
	headers6    = 40 + headerLen
)

// ownMSS is the largest segment, options included, that the MTU allows (RFC 9293
// section 3.7.1).
func (e *Engine) ownMSS(t *Tuple) uint16 {
	if t.Is4() {
		return uint16(e.cfg.MTU - headers4)
	}
	return uint16(e.cfg.MTU - headers6)
}

// peerMSS is the MSS that a SYN asks for. Without the option, or with 0, it is 536, or 1220
// for IPv6 (RFC 9293 section 3.7.1).
func (s *Segment) peerMSS() uint16 {
	switch {
	case s.HasMSS && s.MSS != 0:
		return s.MSS
	case s.Is4():
		return defaultMSS
	}
	return defaultMSS6
}

type outputResult uint8

const (
	outputDone    outputResult = iota
	outputMore                 // it has used its share of this Flush
	outputNoFrame              // Output had no frame
)

// output sends what is due and allowed: retransmissions, new data, and an ACK if no other segment
// carried it.
func (c *Conn) output() outputResult {
	if c.state == StateSynSent || c.state == StateSynReceived {
		if c.flags&(flagSendSYN|flagAckNow) != 0 && !c.sendSyn() {
			return outputNoFrame
		}
		return outputDone
	}
	if c.flags&flagSendPersist != 0 {
		if !c.sendPersist() {
			return outputNoFrame
		}
	}
	if c.flags&flagSendKeepAlive != 0 {
		// RFC 1122 section 4.2.3.6: the peer must answer an old sequence number.
		if !c.sendSegment(c.snd.nxt-1, 0, queuePos{}, FlagACK) {
			return outputNoFrame
		}
		c.flags &^= flagSendKeepAlive
	}
	if c.flags&flagSendTLP != 0 {
		if r := c.sendTLP(); r != outputDone {
			return r
		}
	}
	r := c.outputData()
	if r == outputDone && c.flags&flagAckNow != 0 && !c.sendSegment(c.ackSeq(), 0, queuePos{}, FlagACK) {
		return outputNoFrame
	}
	if c.flags&flagAckDelayed != 0 && c.timers.ackAt == 0 && c.flags&flagAckNow == 0 {
		c.timers.ackAt = c.e.now + int64(c.e.cfg.DelayedAck)
	}
	return r
}

// outputData retransmits lost segments and then sends new ones, as the congestion window and the
// peer's window allow.
func (c *Conn) outputData() outputResult {
	budget := c.e.cfg.Burst
	for ref := c.nextLost(); ref != 0; ref = c.nextLost() {
		if budget == 0 {
			return outputMore
		}
		g := c.e.segs.at(ref)
		n := min(g.end.sub(g.seq), c.maxPayload())
		if p := c.pipe(); p > 0 && p+n > c.cc.cwnd {
			c.flags |= flagCwndLimited
			return outputDone
		}
		if !c.retransmit(ref) {
			return outputNoFrame
		}
		budget--
	}
	sent := false
	c.flags &^= flagCwndLimited
	for {
		n, fin, ok := c.nextSegment()
		if !ok {
			break
		}
		if budget == 0 {
			return outputMore
		}
		if c.flight.head == 0 {
			c.restartIdle()
		}
		if !c.sendNew(n, fin) {
			return outputNoFrame
		}
		sent = true
		budget--
	}
	if sent {
		c.rcv.quickAcks = 0
		if c.timers.probeKind == probeTLP {
			c.timers.probeKind, c.timers.probeAt = probeNone, 0
		}
		c.armLoss()
	} else if c.flight.head == 0 && c.timers.lossKind != lossPersist && c.hasUnsent() {
		// The window is closed, and an update of it may get lost.
		c.timers.lossKind = lossPersist
		c.timers.backoff = 0
		c.timers.lossAt = c.e.now + c.timeoutAfter()
	}
	return outputDone
}

// hasUnsent reports whether there is data or a FIN that was never sent.
func (c *Conn) hasUnsent() bool {
	return c.unsent() > 0 || c.flags&(flagFin|flagFinAcked) == flagFin && !c.finSent()
}

// usableWindow is the unused part of the peer's window.
func (c *Conn) usableWindow() uint32 {
	if edge := c.snd.una.add(c.snd.wnd); edge.after(c.snd.nxt) {
		return edge.sub(c.snd.nxt)
	}
	return 0
}

// maxPayload is the payload of a full segment, with the options that it will have.
func (c *Conn) maxPayload() uint32 {
	n := uint32(c.snd.mss)
	if c.flags&flagTS != 0 {
		n -= timestampsLen
	}
	return n
}

// nextSegment decides whether a new segment can be sent, and returns its length. It avoids silly
// windows (RFC 1122 section 4.2.3.4).
func (c *Conn) nextSegment() (n uint32, fin, ok bool) {
	unsent, usable := c.unsent(), c.usableWindow()
	full := c.maxPayload()
	if k := c.sackLen(); k > 0 {
		full -= uint32(k)
	}
	n = min(unsent, full)
	fin = c.flags&(flagFin|flagFinAcked) == flagFin && !c.finSent() && n == unsent
	if n == 0 && !fin || c.flight.segs >= maxSegs {
		return 0, false, false
	}
	if n+b2u(fin) > usable {
		// A FIN needs room in the window, like an octet.
		if fin = false; n > usable {
			n = usable
		}
		if n == 0 {
			return 0, false, false
		}
	}
	switch {
	case n == full || fin:
	case n == unsent:
		if c.flags&flagNagle != 0 && c.flight.head != 0 {
			return 0, false, false
		}
	case n >= c.snd.maxWnd/2:
	default:
		return 0, false, false
	}
	if p := c.pipe(); p > 0 && p+n > c.cc.cwnd {
		c.flags |= flagCwndLimited
		return 0, false, false
	}
	return n, fin, true
}

func b2u(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}

// sendNew sends the next n bytes, and with fin the FIN.
func (c *Conn) sendNew(n uint32, fin bool) bool {
	from := c.snd.queue.normalize(c.e.chunks, c.snd.pos)
	fl, sf := uint8(FlagACK), segFlags(0)
	if n > 0 && n == c.unsent() {
		fl |= FlagPSH
	}
	if fin {
		fl |= FlagFIN
		sf = segFin
	}
	if !c.sendSegment(c.snd.nxt, n, from, fl) {
		return false
	}
	seq := c.snd.nxt
	c.snd.nxt += seqNum(n + b2u(fin))
	c.snd.pos = c.snd.queue.skip(c.e.chunks, from, n)
	c.addSegment(seq, c.snd.nxt, from, sf)
	c.rec.prrOut += n
	c.cc.lastSent = c.e.now
	return true
}

// retransmit sends a segment again. It splits the segment if the path MTU is now too small for it.
func (c *Conn) retransmit(ref uint32) bool {
	g := c.e.segs.at(ref)
	full := c.maxPayload()
	if g.data() > full && c.flight.segs < math.MaxUint16 {
		c.splitSegment(ref, full)
	}
	n := min(g.data(), full) // the rest is found missing again
	fl := uint8(FlagACK)
	if g.flags&segFin != 0 && n == g.data() {
		fl |= FlagFIN
	}
	if n > 0 && g.seq.add(n) == c.sndEnd() {
		fl |= FlagPSH
	}
	if !c.sendSegment(g.seq, n, g.pos, fl) {
		return false
	}
	c.rec.prrOut += n
	first := ref == c.flight.head
	c.onRetransmit(ref)
	c.cc.lastSent = c.e.now
	if first && c.timers.lossKind != lossRTO {
		c.startRTO()
	}
	return true
}

// sendPersist probes a window that is closed, or too small to be used. It repeats an octet that was
// acknowledged, and a receiver must reply to that (RFC 9293 section 3.10.7.4, first). So SND.NXT
// does not go beyond the window.
func (c *Conn) sendPersist() bool {
	if n := min(c.unsent(), c.usableWindow(), c.maxPayload()); n > 0 && c.flight.head == 0 {
		// RFC 1122 section 4.2.3.4: after the override timeout a small window is used.
		if !c.sendNew(n, false) {
			return false
		}
		c.timers.lossKind = lossNone
		c.armLoss()
	} else if c.timers.lossKind == lossPersist {
		if !c.sendSegment(c.snd.una-1, 0, queuePos{}, FlagACK) {
			return false
		}
	}
	c.flags &^= flagSendPersist
	return true
}

// ackSeq is the sequence number of a segment without data: SND.NXT, or the edge of the window if
// the peer has shrunk it.
func (c *Conn) ackSeq() seqNum {
	edge := c.snd.una.add(c.snd.wnd)
	if edge.before(c.snd.nxt) && c.snd.nxt.sub(edge) >= 1<<c.snd.scale {
		return edge
	}
	return c.snd.nxt
}

// sackLen is the length of the SACK option of the next segment.
func (c *Conn) sackLen() int {
	if c.flags&flagSack == 0 {
		return 0
	}
	n := int(min(c.rcv.ooo.n, 4))
	if c.flags&flagDSack != 0 {
		n++
	}
	if n == 0 {
		return 0
	}
	return 4 + sackBlockLen*min(n, c.maxBlocks())
}

// maxBlocks is how many blocks fit beside the timestamps (RFC 2018 section 3).
func (c *Conn) maxBlocks() int {
	if c.flags&flagTS != 0 {
		return 3
	}
	return 4
}

// frame returns memory for a segment of n bytes, or nil.
func (e *Engine) frame(c *Conn, t *Tuple, n int) []byte {
	if b := e.cfg.Output.Frame(c, t, n); b != nil {
		return b[:n]
	}
	return nil
}

// send sends a segment. pseudo is the sum of its pseudo-header.
func (e *Engine) send(c *Conn, b []byte, pseudo uint64) {
	setChecksum(b, pseudo)
	e.cfg.Output.Send(c, b)
	e.stats.Sent++
}

// sendSegment sends a segment with n bytes of the send queue, from pl on. It returns false if there
// was no frame.
func (c *Conn) sendSegment(seq seqNum, n uint32, pl queuePos, fl uint8) bool {
	e := c.e
	hdr := headerLen
	if c.flags&flagTS != 0 {
		hdr += timestampsLen
	}
	sack := c.sackLen()
	if n > 0 && uint32(hdr+sack)+n > headerLen+uint32(c.snd.mss) {
		sack = 0 // the payload was cut for a segment without SACK
	}
	size := hdr + sack + int(n)
	b := e.frame(c, &c.tuple, size)
	if b == nil {
		return false
	}
	o := b[headerLen:]
	if c.flags&flagTS != 0 {
		putTimestamps(o, c.timestamp(), c.ts.recent)
		o = o[timestampsLen:]
	}
	if sack > 0 {
		c.putSack(o[:sack])
	}
	putHeader(b, &c.tuple, seq, c.rcv.nxt, fl, c.advertiseWindow(), hdr+sack)
	if n > 0 {
		c.snd.queue.copyAt(e.chunks, pl, b[hdr+sack:])
	}
	e.send(c, b, uint64(c.pseudoSum))
	c.rcv.lastAck = c.rcv.nxt
	c.flags &^= flagAckNow | flagAckDelayed
	c.timers.ackAt = 0
	return true
}

// putSack writes a SACK option that fills b.
func (c *Conn) putSack(b []byte) {
	var blocks [4]SackBlock
	k := c.sackBlocks(blocks[:(len(b)-4)/sackBlockLen])
	binary.BigEndian.PutUint32(b, optNop<<24|optNop<<16|optSack<<8|uint32(2+sackBlockLen*k))
	for i, bl := range blocks[:k] {
		binary.BigEndian.PutUint32(b[4+i*sackBlockLen:], uint32(bl.Start))
		binary.BigEndian.PutUint32(b[8+i*sackBlockLen:], uint32(bl.End))
	}
	c.flags &^= flagDSack
}

// advertiseWindow returns the window for a header, and moves the right edge. Because of the shift
// the edge may seem to move back a little; data up to the old edge is still accepted (RFC 7323
// section 2.4).
func (c *Conn) advertiseWindow() uint16 {
	edge := c.rightEdge()
	w := min(edge.sub(c.rcv.nxt)>>c.rcv.scale, 65535)
	if offered := c.rcv.nxt.add(w << c.rcv.scale); offered.after(c.rcv.adv) {
		c.rcv.adv = offered
	}
	return uint16(w)
}

// sendSyn sends SYN or SYN-ACK (RFC 9293 section 3.5). A SYN-ACK has only options that the peer has
// offered (RFC 7323 section 2.2).
func (c *Conn) sendSyn() bool {
	e := c.e
	passive := c.state == StateSynReceived
	o := synOptions{mss: e.ownMSS(&c.tuple), scale: -1}
	o.ts = !passive || c.flags&flagTS != 0
	o.sackOK = !passive || c.flags&flagSack != 0
	if !passive || c.flags&flagScale != 0 {
		o.scale = int8(e.rcvScale)
	}
	o.val, o.ecr = c.timestamp(), c.ts.recent
	size := headerLen + o.len()
	b := e.frame(c, &c.tuple, size)
	if b == nil {
		return false
	}
	fl, ack, wnd := uint8(FlagSYN), seqNum(0), min(c.rcv.buf, 65535)
	if passive {
		fl, ack = FlagSYN|FlagACK, c.rcv.nxt
		c.rcv.adv = c.rcv.nxt.add(wnd)
		c.rcv.lastAck = c.rcv.nxt
	}
	putHeader(b, &c.tuple, c.snd.iss, ack, fl, uint16(wnd), size)
	o.put(b[headerLen:])
	e.send(c, b, uint64(c.pseudoSum))
	c.flags &^= flagSendSYN | flagAckNow | flagAckDelayed
	c.cc.lastSent = e.now
	if c.timers.lossKind != lossRTO {
		c.startRTO()
	}
	return true
}
