package tcp

import "syscall"

// State is a connection's state (RFC 9293 section 3.3.2). LISTEN is a Listener.
type State uint8

// The states.
const (
	StateClosed State = iota
	StateSynSent
	StateSynReceived
	StateEstablished
	StateFinWait1
	StateFinWait2
	StateCloseWait
	StateClosing
	StateLastAck
	StateTimeWait
)

var stateNames = [...]string{"CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2",
	"CLOSE-WAIT", "CLOSING", "LAST-ACK", "TIME-WAIT"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "unknown state"
}

// over reports whether nothing of the connection is left but its remains in the
// application's hands.
func (s State) over() bool { return s == StateClosed || s == StateTimeWait }

// Events says what a connection has become ready for since it was last told of.
// They are edges: read or write until ErrWouldBlock.
type Events uint8

const (
	// Readable: there is data, the peer's FIN, or an error.
	Readable Events = 1 << iota
	// Writable: there is room after a Write that was cut short, or an attempt to
	// connect ended, well or badly.
	Writable
	// Accepted: a connection of a Listener finished its handshake, and is in its
	// queue for Accept.
	Accepted
	// Closed: the connection is over in both directions. What was received
	// before can still be read.
	Closed
)

// flags of a connection.
type flags uint32

const (
	flagOwned     flags = 1 << iota // the application holds the Conn
	flagPending                     // on Engine.pending
	flagReady                       // on Engine.ready
	flagBusy                        // Input or a callback is working on it
	flagInTable                     // in the flow table
	flagAckNow                      // an ACK goes out at the next Flush
	flagAckLater                    // data was received that is not acknowledged
	flagOweSyn                      // SYN or SYN-ACK goes out at the next Flush
	flagProbe                       // a tail loss probe goes out at the next Flush
	flagPersist                     // a window probe goes out at the next Flush
	flagKeepProbe                   // a keep-alive probe goes out at the next Flush
	flagPassive                     // opened by the peer
	flagFin                         // a FIN follows the queued data
	flagFinAcked                    // and was acknowledged
	flagPeerFin                     // peerFin is set
	flagRecvFin                     // the peer's FIN was received in order
	flagReadShut                    // CloseRead: what arrives is discarded
	flagSack                        // RFC 2018 negotiated
	flagTS                          // RFC 7323 timestamps negotiated
	flagScale                       // RFC 7323 window scale negotiated
	flagNagle                       // RFC 1122 section 4.2.3.4
	flagKeepAlive                   // RFC 1122 section 4.2.3.6
	flagWantWrite                   // a Write was cut short
	flagLimited                     // cwnd has held back data since the last ACK
	flagReordered                   // RACK has seen reordering
	flagProbing                     // a tail loss probe is out
	flagProbeRetr                   // and was a retransmission
	flagDSack                       // a D-SACK block is owed to the peer
	flagShrink                      // the receive buffer goes back to its first size
	flagStarved                     // on Engine.starved
	flagSYNRetr                     // SYN or SYN-ACK was retransmitted: no RTT sample
	flagBare                        // duplicate ACKs without blocks, though RFC 2018 was negotiated
)

// Conn is a TCP connection. It belongs to its Engine and is used on the engine's
// goroutine only. It is the application's from Dial or Accept until Close or
// Abort, after which it must not be used: its memory serves another connection.
type Conn struct {
	e *Engine
	// User is the application's, to find its own state by.
	User     any
	listener *Listener // until accepted

	tuple  Tuple
	id     uint32
	hash   uint32
	flags  flags
	pseudo uint32 // checksum of the pseudo-header, without the length
	state  State
	events Events
	err    uint8 // errno
	soft   uint8 // errno that an ICMP error has hinted at

	// Timers: four deadlines, one place in the wheel.
	lossKind  lossTimer
	soonKind  soonTimer
	node      wheelNode
	lossAt    int64 // retransmission or persist timer
	soonAt    int64 // tail loss probe or reordering timer
	ackAt     int64 // delayed ACK
	keepAt    int64 // keep-alive; end of FIN-WAIT-2 once closed
	backoff   uint8 // expirations since the last progress
	probes    uint8 // keep-alive probes unanswered
	keepCount uint8
	keepIdle  uint16 // seconds
	keepEach  uint16

	// Sending (RFC 9293 section 3.3.1). sndNxt is never taken back.
	sndScale, rcvScale uint8
	segs               uint16 // in flight
	iss                uint32
	sndUna, sndNxt     uint32
	sndWnd             uint32 // in bytes, from SND.UNA
	sndWl1, sndWl2     uint32
	maxWnd             uint32
	mss                uint16 // of the peer and the path, options included
	rcvMSS             uint16 // the largest segments received: an estimate
	sq                 queue  // from sndUna
	cursor             place  // of sndNxt in sq

	// Segments in flight, oldest sequence first, and those neither lost nor
	// SACKed by the time of their last transmission.
	segHead, segTail   uint32
	timeHead, timeTail uint32
	lostHint           uint32 // no segment before it is lost
	sackHint           uint32 // a segment in the block SACKed last
	lostBytes          uint32
	sackedBytes        uint32
	sackedSegs         uint16

	// Receiving.
	dupAcks             uint16
	caState             caState
	reoMult, reoPersist uint8 // RACK.reo_wnd_mult, RACK.reo_wnd_persist
	quick               uint8 // data segments still to be acknowledged at once
	rcvNxt              uint32
	rcvAdv              uint32 // the right edge ever advertised
	lastAck             uint32 // RFC 7323's Last.ACK.sent
	rcvGrant            uint32 // bytes of receive buffer reserved from the budget
	rcvMost, sndMost    uint32 // set by SetReadBuffer, SetWriteBuffer
	rq                  queue
	ooo                 oooList
	dsack               SackBlock
	peerFin             uint32
	tsRecent            uint32
	tsAge               uint32 // milliseconds: when tsRecent was set
	tsOffset            uint32
	drsAt               int64  // start of a measurement for the receive buffer
	drsSeq              uint32 // and what had been consumed then
	rcvRTT              uint32 // microseconds

	// Round trip times in microseconds.
	srtt, rttvar, rto, minRTT uint32

	// RACK-TLP (RFC 8985).
	rackAt        int64 // RACK.xmit_ts
	rackEnd       uint32
	rackRTT       uint32
	rackFack      uint32
	rackRound     uint32 // SND.NXT when the window was last widened
	probeEnd      uint32 // TLP.end_seq
	recoveryPoint uint32 // SND.NXT when loss was found
	retrStamp     uint32 // timestamp of the first retransmission since

	// Congestion control, in bytes.
	cwnd, ssthresh          uint32
	prrDelivered, prrOut    uint32
	prrFlight               uint32
	priorCwnd, priorThresh  uint32
	undoMarker, undoRetrans uint32
	challenged              uint32 // milliseconds: when a challenge ACK was last sent
	ccState                 ccState
	idleSince               int64 // time of the last transmission of data
}

// sendFin queues a FIN and moves to the state that has sent one; it may wait for
// queued data, and for the handshake.
func (c *Conn) sendFin() {
	c.flags |= flagFin
	switch c.state {
	case StateEstablished:
		c.state = StateFinWait1
	case StateCloseWait:
		c.state = StateLastAck
	}
	c.pend()
}

// finSent reports whether the FIN was sent, at least once.
func (c *Conn) finSent() bool { return c.flags&flagFin != 0 && c.sndNxt == c.sndEnd()+1 }

// sndEnd is the sequence number after the last byte that was written.
func (c *Conn) sndEnd() uint32 {
	if c.state == StateSynSent || c.state == StateSynReceived { // the SYN comes first
		return c.iss + 1 + c.sq.n
	}
	if c.flags&flagFinAcked != 0 {
		return c.sndUna - 1
	}
	return c.sndUna + c.sq.n
}

// unsent is how many written bytes were never sent.
func (c *Conn) unsent() uint32 {
	if end := c.sndEnd(); before(c.sndNxt, end) {
		return end - c.sndNxt
	}
	return 0
}

// pend puts the connection on the list that Flush works off.
func (c *Conn) pend() {
	if c.flags&flagPending == 0 && !c.state.over() {
		c.flags |= flagPending
		c.e.pending = append(c.e.pending, c.id)
	}
}

// notify puts the connection on the list of NextReady.
func (c *Conn) notify(ev Events) {
	if c.flags&flagOwned == 0 && ev&Accepted == 0 {
		return
	}
	c.events |= ev
	if c.flags&flagReady == 0 {
		c.flags |= flagReady
		c.e.ready = append(c.e.ready, c.id)
	}
}

// fail ends the connection with an error, without a segment.
func (c *Conn) fail(errno syscall.Errno) {
	if c.err == 0 {
		c.err = uint8(errno)
	}
	c.finish(StateClosed)
}

// reset ends the connection with a RST (RFC 9293 section 3.10.5). It is sent now,
// if there is a frame for it: the connection will not be there to send it later.
func (c *Conn) reset(errno syscall.Errno) {
	if c.state != StateSynSent {
		c.e.sendReset(c)
	}
	c.fail(errno)
}

// finish takes the connection out of the engine. What the application may still
// read stays until it closes.
func (c *Conn) finish(s State) {
	e := c.e
	if c.state.over() {
		return
	}
	if l := c.listener; l != nil && c.state == StateSynReceived {
		l.halfOpen--
		e.halfOpen--
		c.listener = nil
	}
	if c.flags&flagInTable != 0 {
		e.flows.remove(c.hash, c.id)
		c.flags &^= flagInTable
	}
	c.state = s
	e.wheel.cancel(c.id)
	c.lossAt, c.soonAt, c.ackAt, c.keepAt = 0, 0, 0, 0
	c.lossKind, c.soonKind = lossNone, soonNone
	c.dropSegments()
	e.used -= int64(c.sq.mem)
	c.sq.free(e.chunks)
	c.cursor = place{}
	c.ooo.free(e)
	e.used -= int64(c.rcvGrant)
	c.rcvGrant = 0
	c.notify(Closed | Readable | Writable)
	c.release()
}

// release returns the memory once neither the application nor a list of the engine
// knows the connection.
func (c *Conn) release() {
	if !c.state.over() || c.flags&(flagOwned|flagPending|flagReady|flagBusy|flagStarved) != 0 || c.listener != nil {
		return
	}
	e := c.e
	c.rq.free(e.chunks)
	c.User, c.e = nil, nil
	e.used -= connCost
	e.conns.put(c.id)
}
