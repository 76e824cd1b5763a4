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

// ended reports whether the connection is no longer in the engine. The application may still hold
// it, to read what is buffered.
func (s State) ended() bool { return s == StateClosed || s == StateTimeWait }

// Events are what a connection has become ready for since NextReady last returned it.
// They are edge-triggered: read or write until ErrWouldBlock.
type Events uint8

const (
	// Readable: there is data, the peer's FIN, or an error.
	Readable Events = 1 << iota
	// Writable: there is room after a Write that was cut short, or Dial's attempt to
	// connect has succeeded or failed.
	Writable
	// Accepted: a connection has finished its handshake, and is in the queue of its
	// Listener for Accept.
	Accepted
	// Closed: the connection has ended in both directions. Buffered bytes can still
	// be read.
	Closed
)

// flags of a connection.
type flags uint32

const (
	flagOwned         flags = 1 << iota // the application holds the Conn
	flagPending                         // on Engine.pending
	flagReady                           // on Engine.ready
	flagBusy                            // Input or a timer is processing it
	flagInTable                         // in the flow table
	flagAckNow                          // an ACK goes out at the next Flush
	flagAckDelayed                      // data was received that is not acknowledged
	flagSendSYN                         // SYN or SYN-ACK goes out at the next Flush
	flagSendTLP                         // a tail loss probe goes out at the next Flush
	flagSendPersist                     // a window probe goes out at the next Flush
	flagSendKeepAlive                   // a keep-alive probe goes out at the next Flush
	flagPassive                         // opened by the peer
	flagFin                             // a FIN follows the queued data
	flagFinAcked                        // the FIN was acknowledged
	flagPeerFin                         // rcv.fin is set
	flagRecvFin                         // the peer's FIN was received in order
	flagReadShut                        // CloseRead: what arrives is discarded
	flagSack                            // RFC 2018 negotiated
	flagTS                              // RFC 7323 timestamps negotiated
	flagScale                           // RFC 7323 window scale negotiated
	flagNagle                           // RFC 1122 section 4.2.3.4
	flagKeepAlive                       // RFC 1122 section 4.2.3.6
	flagWantWrite                       // a Write was cut short
	flagCwndLimited                     // cwnd has limited sending since the last ACK
	flagReordered                       // RACK has seen reordering
	flagTLPOut                          // a tail loss probe is out
	flagTLPRetr                         // the tail loss probe is a retransmission
	flagDSack                           // the next ACK has a D-SACK block
	flagShrinkBuf                       // the receive buffer shrinks to its first size
	flagStarved                         // on Engine.starved
	flagSYNRetr                         // SYN or SYN-ACK was retransmitted: no RTT sample
	flagNewReno                         // the peer negotiated SACK, and sends no blocks
)

// Conn is a TCP connection. It belongs to its Engine and is used on the engine's
// goroutine only. The application holds it from Dial or Accept until Close or Abort. After
// that it must not be used: its memory serves another connection.
//
// Its fields are in groups. A connection has 512 bytes, in the order in which a segment
// needs them. Sequence numbers are modulo 2^32, and windows and buffers are in bytes. Each
// group has one unit of time.
type Conn struct {
	e *Engine
	// User is the application's, to find its own state by.
	User     any
	listener *Listener // until accepted

	tuple        Tuple
	id           uint32
	hash         uint32
	flags        flags
	pseudoSum    uint32 // checksum of the pseudo-header, without the length
	state        State
	events       Events
	err          uint8  // errno
	softErr      uint8  // errno of an ICMP error, for when the connection times out
	challengedAt uint32 // when a challenge ACK was last sent, in milliseconds; 0 is never

	keep   keepAlive
	timers timers
	snd    sender
	flight flight
	rcv    receiver
	rec    recovery
	cc     congestion
	ts     timestamps
	rtt    roundTrips
}

// keepAlive is the setting of SetKeepAlive, and the state of the probes. Times are in seconds.
type keepAlive struct {
	idle, interval uint16
	count          uint8
	unanswered     uint8 // probes without an answer, of keep-alive or of a closed window
}

// timers are four deadlines, which share one place in the wheel. They are set while
// segments are processed and sent, and run by Engine.Advance. Times are in nanoseconds of
// the engine's clock, and 0 is unset.
type timers struct {
	lossKind  lossTimer
	probeKind probeTimer
	backoff   uint8 // expirations since the last progress
	node      wheelNode
	lossAt    int64 // retransmission or persist timer
	probeAt   int64 // tail loss probe or reordering timer
	ackAt     int64 // delayed ACK
	keepAt    int64 // keep-alive; end of FIN-WAIT-2 once closed
}

// sender is the send sequence space (RFC 9293 section 3.3.1) and the send queue. Write fills
// the queue, output moves nxt, and acknowledgements move una and the window.
type sender struct {
	iss      seqNum
	una, nxt seqNum // nxt is never taken back
	wnd      uint32 // from una
	wl1, wl2 seqNum
	maxWnd   uint32
	mss      uint16   // of the peer and the path, options included
	scale    uint8    // of the peer's windows
	queue    queue    // from una
	pos      queuePos // of nxt
	maxBuf   uint32   // set by SetWriteBuffer; 0 is the engine's bounds
}

// flight is the list of segments in flight, the oldest first, and a second list, by the time
// of their last transmission, of those that are neither lost nor SACKed. output adds
// segments; acknowledgements take them off and mark them.
type flight struct {
	head, tail         uint32
	timeHead, timeTail uint32
	lostHint           uint32 // no segment before it is lost
	sackHint           uint32 // a segment in the block SACKed last
	lost               uint32 // bytes of segments that are lost
	sacked             uint32 // bytes of segments that are SACKed
	sackedSegs         uint16
	segs               uint16
}

// receiver is the receive sequence space and what was received. Input fills it, Read
// empties the queue, and each segment that is sent moves adv and lastAck. The time is in
// nanoseconds.
type receiver struct {
	nxt       seqNum
	adv       seqNum // the right edge ever advertised
	lastAck   seqNum // RFC 7323's Last.ACK.sent
	buf       uint32 // size of the receive buffer, reserved from the budget
	maxBuf    uint32 // set by SetReadBuffer; 0 is Config.MaxRecvBuffer
	mss       uint16 // the largest segments received: an estimate
	scale     uint8  // of the windows advertised
	quickAcks uint8  // data segments still to be acknowledged at once
	queue     queue
	ooo       oooList
	dsack     SackBlock // to be reported, with flagDSack
	fin       seqNum    // sequence number of the peer's FIN, with flagPeerFin
	drsSeq    seqNum    // what had been consumed at drsAt
	drsAt     int64     // start of a measurement for the size of the receive buffer
}

// recovery is loss detection and recovery: RACK-TLP (RFC 8985), NewReno (RFC 6582), rate
// reduction (RFC 6937) and undo. Acknowledgements and timers write it, and output counts
// what it sends. The time is in nanoseconds.
type recovery struct {
	rackAt       int64  // RACK.xmit_ts
	rackEnd      seqNum // RACK.end_seq
	rackFack     seqNum // RACK.fack
	rackRound    seqNum // SND.NXT when the reordering window was last widened
	tlpEnd       seqNum // TLP.end_seq
	point        seqNum // SND.NXT when loss was found
	undoMarker   seqNum // SND.UNA then
	undoRetrans  uint32 // retransmissions since that no D-SACK has reported
	prrDelivered uint32 // bytes
	prrOut       uint32 // bytes
	prrFlight    uint32 // RecoverFS of RFC 6937, in bytes
	dupAcks      uint16
	state        caState
	reoMult      uint8 // RACK.reo_wnd_mult
	reoPersist   uint8 // RACK.reo_wnd_persist
}

// congestion is the congestion window, in bytes, and the state of its algorithm. The algorithm
// writes it (see congestionControl); cwnd is also written by rateReduction, onRTO, and synAcked
// after the loss of a SYN. The time is in nanoseconds.
type congestion struct {
	cwnd, ssthresh         uint32
	priorCwnd, priorThresh uint32 // before the last loss, for undo; 0 is none
	alg                    ccState
	lastSent               int64 // when data was last sent
}

// timestamps are the state of RFC 7323 section 3, in milliseconds. recent and recentAt are
// written as segments arrive, firstRetr as they are sent again.
type timestamps struct {
	recent    uint32 // TS.Recent: the peer's clock
	recentAt  uint32 // when that was set, on the engine's clock
	offset    uint32 // from the engine's clock to the one that the peer sees
	firstRetr uint32 // TSval of the first retransmission of a recovery
}

// roundTrips are measured round trips, in microseconds. Acknowledgements write them.
type roundTrips struct {
	srtt, rttvar, rto uint32 // RFC 6298
	min               uint32 // the least of all; all ones is none yet
	rack              uint32 // RACK.rtt
	rcv               uint32 // measured as a receiver; 0 is none yet
}

// sendFin queues a FIN and changes the state. The FIN waits for queued data, and for the end of the
// handshake.
func (c *Conn) sendFin() {
	c.flags |= flagFin
	switch c.state {
	case StateEstablished:
		c.state = StateFinWait1
	case StateCloseWait:
		c.state = StateLastAck
	}
	c.schedule(0)
}

// finSent reports whether the FIN was sent.
func (c *Conn) finSent() bool { return c.flags&flagFin != 0 && c.snd.nxt == c.sndEnd()+1 }

// sndEnd is the sequence number after the last byte that was written.
func (c *Conn) sndEnd() seqNum {
	if c.state == StateSynSent || c.state == StateSynReceived { // the SYN comes first
		return (c.snd.iss + 1).add(c.snd.queue.n)
	}
	if c.flags&flagFinAcked != 0 {
		return c.snd.una - 1
	}
	return c.snd.una.add(c.snd.queue.n)
}

// unsent is how many written bytes were never sent.
func (c *Conn) unsent() uint32 {
	if end := c.sndEnd(); c.snd.nxt.before(end) {
		return end.sub(c.snd.nxt)
	}
	return 0
}

// schedule sets flags of what is due, and puts the connection on the list of those that
// Flush sends for.
func (c *Conn) schedule(due flags) {
	c.flags |= due
	if c.flags&flagPending == 0 && !c.state.ended() {
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

// fail ends the connection with an error, and sends nothing.
func (c *Conn) fail(errno syscall.Errno) {
	if c.err == 0 {
		c.err = uint8(errno)
	}
	c.finish(StateClosed)
}

// reset ends the connection with a RST (RFC 9293 section 3.10.5). It is sent now, if there is a
// frame: later there is no connection to send it.
func (c *Conn) reset(errno syscall.Errno) {
	if c.state != StateSynSent {
		c.e.sendReset(c)
	}
	c.fail(errno)
}

// finish takes the connection out of the engine. The receive queue stays until the application
// closes.
func (c *Conn) finish(s State) {
	e := c.e
	if c.state.ended() {
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
	c.timers.lossAt, c.timers.probeAt, c.timers.ackAt, c.timers.keepAt = 0, 0, 0, 0
	c.timers.lossKind, c.timers.probeKind = lossNone, probeNone
	c.dropSegments()
	e.used -= int64(c.snd.queue.mem)
	c.snd.queue.free(e.chunks)
	c.snd.pos = queuePos{}
	c.rcv.ooo.free(e)
	e.used -= int64(c.rcv.buf)
	c.rcv.buf = 0
	c.notify(Closed | Readable | Writable)
	c.release()
}

// release frees the memory once neither the application nor a list of the engine refers to the
// connection.
func (c *Conn) release() {
	if !c.state.ended() || c.flags&(flagOwned|flagPending|flagReady|flagBusy|flagStarved) != 0 || c.listener != nil {
		return
	}
	e := c.e
	c.rcv.queue.free(e.chunks)
	c.User, c.e = nil, nil
	e.used -= connCost
	e.conns.put(c.id)
}
