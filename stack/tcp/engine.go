package tcp

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"shardnet/stack/flow"
)

// ErrWouldBlock is returned by calls that can't be completed now: there is no data, no room, or no
// connection to accept. An event reports when to try again.
var ErrWouldBlock = flow.ErrWouldBlock

// Output takes the segments an Engine makes. Its methods must not call the engine.
type Output interface {
	// Frame returns memory for a segment of n bytes between t's addresses: TCP header,
	// options and payload. Output writes the headers before it. c is the segment's
	// connection, or nil if there is none. Frame returns nil if no frame is free: the
	// engine then tries again at the next Flush, or drops a reply.
	Frame(c *Conn, t *Tuple, n int) []byte
	// Send sends the segment, which is in the memory that Frame returned last.
	Send(c *Conn, seg []byte)
}

// Config configures an Engine. Zero values are the defaults, which are given after each field.
type Config struct {
	// Output takes segments. It has no default.
	Output Output
	// OnData, if set, is called with payload that arrived in order while the receive
	// queue is empty. The payload is part of Input's bytes. OnData returns how much it
	// consumed; the rest is buffered. It is called for connections that were accepted
	// or dialed, and may call their methods.
	OnData func(c *Conn, payload []byte) (consumed int)
	// Secret keys the flow table's hash, initial sequence numbers, timestamps and
	// cookies. It must be random, and may be shared by engines.
	Secret [32]byte
	// Memory bounds the memory of all connections, in bytes; 256 MiB.
	Memory int64
	// MTU is the path MTU, with the IP header; 1500.
	MTU int
	// RecvBuffer is the receive buffer of a connection that receives, 64 KiB, which
	// grows to MaxRecvBuffer, 4 MiB, for a peer and an application that are fast enough.
	// New and idle ones have 16 KiB at most.
	RecvBuffer, MaxRecvBuffer int
	// SendBuffer is the send buffer of a connection, 64 KiB, which grows with the
	// congestion window to MaxSendBuffer, 4 MiB.
	SendBuffer, MaxSendBuffer int
	// Burst bounds the segments of one connection in one Flush; 32.
	Burst int
	// Congestion names the algorithm of congestion control: "cubic" (RFC 9438), which is
	// the default, or "reno" (RFC 5681).
	Congestion string
	// MinRTO, 200 ms, and MaxRTO, 120 s, bound the retransmission timeout. RFC 6298
	// section 2.4 asks for a second; other stacks have long used 200 ms.
	MinRTO, MaxRTO time.Duration
	// DelayedAck is how long an ACK may wait; 40 ms (RFC 1122 allows 500).
	DelayedAck time.Duration
	// TimeWait is 2 MSL; 60 s. FinWait2 bounds FIN-WAIT-2 of a closed connection; 60 s.
	TimeWait, FinWait2 time.Duration
	// SynRetries, 6, and Retries, 15, are how often a segment is sent again before
	// the connection fails with ETIMEDOUT; a closed connection tries 8 times.
	SynRetries, Retries int
	// MaxTimeWait bounds the entries in TIME-WAIT; 65536. The oldest goes first.
	MaxTimeWait int
}

const orphanRetries = 8

func (cfg *Config) setDefaults() error {
	if cfg.Output == nil {
		return errors.New("make tcp engine: no output")
	}
	cfg.Memory = cmp.Or(cfg.Memory, 256<<20)
	cfg.MTU = cmp.Or(cfg.MTU, 1500)
	cfg.RecvBuffer = cmp.Or(cfg.RecvBuffer, 64<<10)
	cfg.MaxRecvBuffer = cmp.Or(cfg.MaxRecvBuffer, max(4<<20, cfg.RecvBuffer))
	cfg.SendBuffer = cmp.Or(cfg.SendBuffer, 64<<10)
	cfg.MaxSendBuffer = cmp.Or(cfg.MaxSendBuffer, max(4<<20, cfg.SendBuffer))
	cfg.Burst = cmp.Or(cfg.Burst, 32)
	cfg.SynRetries = cmp.Or(cfg.SynRetries, 6)
	cfg.Retries = cmp.Or(cfg.Retries, 15)
	cfg.MaxTimeWait = cmp.Or(cfg.MaxTimeWait, 1<<16)
	cfg.MinRTO = cmp.Or(cfg.MinRTO, 200*time.Millisecond)
	cfg.MaxRTO = cmp.Or(cfg.MaxRTO, 120*time.Second)
	cfg.DelayedAck = cmp.Or(cfg.DelayedAck, 40*time.Millisecond)
	cfg.TimeWait = cmp.Or(cfg.TimeWait, 60*time.Second)
	cfg.FinWait2 = cmp.Or(cfg.FinWait2, 60*time.Second)
	switch {
	case cfg.MTU < minMTU || cfg.MTU > 65535:
		return fmt.Errorf("make tcp engine: MTU of %d is not in %d to 65535", cfg.MTU, minMTU)
	case cfg.RecvBuffer < 2048 || cfg.MaxRecvBuffer < cfg.RecvBuffer || cfg.MaxRecvBuffer > 1<<29:
		return fmt.Errorf("make tcp engine: receive buffer of %d to %d bytes", cfg.RecvBuffer, cfg.MaxRecvBuffer)
	case cfg.SendBuffer < 2048 || cfg.MaxSendBuffer < cfg.SendBuffer || cfg.MaxSendBuffer > 1<<29:
		return fmt.Errorf("make tcp engine: send buffer of %d to %d bytes", cfg.SendBuffer, cfg.MaxSendBuffer)
	}
	return nil
}

// Engine holds the connections of one shard. It is single-threaded: its methods, and those of its
// connections and listeners, are called one after the other.
type Engine struct {
	cfg        Config
	congestion congestionControl
	now        int64 // nanoseconds: the time of the last call that had one
	used       int64 // see budget.go
	flowKey    sipKey
	isnKey     sipKey
	tsKey      sipKey
	cookieKey  sipKey
	conns      pool[Conn]
	segs       pool[sentSegment]
	ranges     pool[oooRange]
	waits      pool[timeWait]
	chunks     *chunks
	flows      flowTable
	wheel      wheel
	onTimer    func(ref uint32)

	listeners map[listenKey]*Listener // the first of those that share a key
	halfOpen  int
	waitHead  uint32 // TIME-WAIT, first to end first
	waitTail  uint32

	pending, flushing []uint32
	ready             []uint32
	starved           []uint32 // connections whose Write found no memory
	readyNext         int

	rcvScale   uint8
	challenges rateLimit
	resets     rateLimit
	stats      Stats
}

// Stats are counts since the engine was made.
type Stats struct {
	Received, Sent uint64 // segments
	Retransmitted  uint64 // segments sent again
	Timeouts       uint64 // retransmission timeouts
	Probes         uint64 // tail loss probes
	Recoveries     uint64 // times that loss was found by acknowledgements
	Undone         uint64 // reductions undone, as nothing was lost
	OutOfOrder     uint64 // segments received ahead of others
	Duplicates     uint64 // segments received that were received before
	Dropped        uint64 // segments that were unacceptable, or found no room
	PAWS           uint64 // segments too old by their timestamp
	Resets         uint64 // RSTs sent
	ChallengeAcks  uint64
	NoFrame        uint64 // times Output had none
	Overflows      uint64 // handshakes dropped: a backlog, or memory, was full
	Cookies        uint64 // SYNs answered with a cookie
	CookiesTaken   uint64 // connections made of one
	TimeWaits      int    // connections in TIME-WAIT
	HalfOpen       int    // connections in SYN-RECEIVED
	Conns          int    // connections with memory, without those in TIME-WAIT
	Memory         int64  // bytes of the budget in use
}

// waitRef marks references of TIME-WAIT entries in the flow table.
const waitRef = 1 << 31

// New returns an engine. now is in nanoseconds, of a monotonic clock. Later calls take the time of
// the same clock.
func New(now int64, cfg Config) (*Engine, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	cc, err := findCongestionControl(cfg.Congestion)
	if err != nil {
		return nil, fmt.Errorf("make tcp engine: %w", err)
	}
	e := &Engine{cfg: cfg, congestion: cc, now: now, chunks: newChunks(), listeners: make(map[listenKey]*Listener)}
	master := sipKey{binary.LittleEndian.Uint64(cfg.Secret[:]), binary.LittleEndian.Uint64(cfg.Secret[8:])}
	second := sipKey{binary.LittleEndian.Uint64(cfg.Secret[16:]), binary.LittleEndian.Uint64(cfg.Secret[24:])}
	derive := func(label uint64) sipKey {
		a, b := master.start(), second.start()
		a.round2(label)
		b.round2(label)
		return sipKey{a.finish4(), b.finish4()}
	}
	e.flowKey, e.isnKey, e.tsKey, e.cookieKey = derive(1), derive(2), derive(3), derive(4)
	e.conns = newPool[Conn](7, 0)
	e.segs = newPool[sentSegment](10, 0)
	e.ranges = newPool[oooRange](8, 0)
	e.waits = newPool[timeWait](10, 0)
	e.flows = newFlowTable(func(ref uint32) *Tuple {
		if ref&waitRef != 0 {
			return &e.waits.at(ref &^ waitRef).tuple
		}
		return &e.conns.at(ref).tuple
	})
	e.wheel = newWheel(now, func(ref uint32) *wheelNode { return &e.conns.at(ref).timers.node })
	e.onTimer = func(ref uint32) { e.conns.at(ref).onTimer() }
	for 65535<<e.rcvScale < cfg.MaxRecvBuffer && e.rcvScale < maxScale {
		e.rcvScale++
	}
	return e, nil
}

// Stats returns the engine's counts.
func (e *Engine) Stats() Stats {
	s := e.stats
	s.TimeWaits, s.HalfOpen, s.Conns, s.Memory = e.waits.live, e.halfOpen, e.conns.live, e.used
	return s
}

// newConn makes a connection that is not yet in the flow table. It returns nil without memory.
func (e *Engine) newConn(t *Tuple, hash uint32) *Conn {
	if !e.reserve(connCost) {
		return nil
	}
	buf := e.initialRcvBuf()
	if buf == 0 {
		e.used -= connCost
		return nil
	}
	id := e.conns.get()
	c := e.conns.at(id)
	*c = Conn{e: e, id: id, tuple: *t, hash: hash, pseudoSum: uint32(t.pseudoSum())}
	c.snd.mss = e.ownMSS(t)
	c.rcv.buf, c.rcv.mss, c.rcv.quickAcks = buf, defaultMSS, initialQuickAcks
	c.rec.reoMult = 1
	c.rtt.rto, c.rtt.min = uint32(initialRTO/time.Microsecond), ^uint32(0)
	c.setISS(e.isn(t))
	c.ts.offset = uint32(t.hostMAC(&e.tsKey))
	c.initCongestion()
	return c
}

// setISS sets the initial sequence number, which is also the first recovery point (RFC 6582 section
// 3.2, step 1).
func (c *Conn) setISS(iss seqNum) {
	c.snd.iss, c.snd.una, c.snd.nxt, c.rec.point = iss, iss, iss+1, iss
}

// isn returns an initial sequence number (RFC 6528 section 3): a clock of about 4 µs, plus a keyed
// hash of the tuple.
func (e *Engine) isn(t *Tuple) seqNum {
	return seqNum(e.now>>12) + seqNum(t.mac(&e.isnKey, 0))
}

func (e *Engine) millis() uint32 { return uint32(e.now / int64(time.Millisecond)) }

// Verdict is the result of Input.
type Verdict uint8

const (
	// Taken: the engine has processed or dropped the segment.
	Taken Verdict = iota
	// NoConnection: the segment has no connection and no listener. Reject answers it
	// with a RST.
	NoConnection
)

// Input processes a received segment, and does not keep its payload. Flush sends what the
// connection replies. Only replies that belong to no connection are sent at once.
func (e *Engine) Input(now int64, s *Segment) Verdict {
	e.now = now
	e.stats.Received++
	h := s.Tuple.hash(&e.flowKey)
	ref := e.flows.find(h, &s.Tuple)
	if ref&waitRef != 0 {
		if !e.timeWaitInput(ref&^waitRef, s) {
			return Taken
		}
		ref = 0 // a new connection may begin
	}
	if ref == 0 {
		return e.listenInput(s, h)
	}
	e.conns.at(ref).process(s)
	return Taken
}

// process processes a segment of the connection.
func (c *Conn) process(s *Segment) {
	c.flags |= flagBusy
	c.input(s)
	c.flags &^= flagBusy
	if c.state.ended() {
		c.release()
	} else {
		c.arm()
	}
}

// Owns reports whether the engine has a connection with this tuple, TIME-WAIT included.
func (e *Engine) Owns(t *Tuple) bool {
	return e.flows.find(t.hash(&e.flowKey), t) != 0
}

// Flush sends what is due: new data, retransmissions and ACKs. It is called once after a batch of
// Input and API calls. It returns true if there is more to send: frames have run out, or a
// connection has used its share of this call.
func (e *Engine) Flush(now int64) (more bool) {
	e.now = now
	e.flushing, e.pending = e.pending, e.flushing[:0]
	for i, id := range e.flushing {
		c := e.conns.at(id)
		c.flags &^= flagPending
		if c.state.ended() {
			c.release()
			continue
		}
		switch c.output() {
		case outputMore:
			c.schedule(0)
			more = true
		case outputNoFrame:
			e.stats.NoFrame++
			c.schedule(0)
			e.pending = append(e.pending, e.flushing[i+1:]...)
			c.arm()
			return true
		}
		if !c.state.ended() {
			c.arm()
		}
	}
	e.wakeStarved()
	return more
}

// Pending reports whether Flush has work to do.
func (e *Engine) Pending() bool { return len(e.pending) > 0 || len(e.starved) > 0 && e.hasSlack() }

// Ready reports whether NextReady may have a connection to return.
func (e *Engine) Ready() bool { return e.readyNext < len(e.ready) }

// SetTime sets the engine's time, before calls of an application that come some time after the last
// call with a time.
func (e *Engine) SetTime(now int64) { e.now = max(e.now, now) }

// AbortAll resets all connections, including those that were closed and those in a handshake, and
// drops all TIME-WAIT entries. Connections that the application holds fail with ECONNABORTED.
func (e *Engine) AbortAll() {
	e.each(func(c *Conn) bool {
		if !c.state.ended() {
			c.reset(syscall.ECONNABORTED)
		}
		return true
	})
	for e.waitHead != 0 {
		e.dropWait(e.waitHead)
	}
}

// All calls f for each connection that the application holds, until f returns false. f may close
// the connection.
func (e *Engine) All(f func(c *Conn) bool) {
	e.each(func(c *Conn) bool { return c.flags&flagOwned == 0 || f(c) })
}

// each calls f for each connection that has memory, until f returns false.
func (e *Engine) each(f func(c *Conn) bool) {
	for k := range e.conns.slabs {
		items := e.conns.slabs[k].items
		for i := range items {
			if c := &items[i]; c.e != nil && !f(c) {
				return
			}
		}
	}
}

// Advance runs the timers that are due. Flush sends what they cause.
func (e *Engine) Advance(now int64) {
	e.now = now
	e.wheel.advance(now, e.onTimer)
	e.expireWaits()
	e.flows.migrate(migrateStep)
}

// NextTimer returns the time at which Advance has something to do. It may be
// earlier than the first timer is due; ok is false if there is none.
func (e *Engine) NextTimer() (at int64, ok bool) {
	tick, ok := e.wheel.next()
	at = int64(tick) << tickLog2
	if e.waitHead != 0 {
		if w := e.waits.at(e.waitHead); !ok || w.ends < at {
			at, ok = w.ends, true
		}
	}
	return at, ok
}

// NextReady returns the next connection with events, or nil. Close and Abort discard a connection's
// events.
func (e *Engine) NextReady() (*Conn, Events) {
	for e.readyNext < len(e.ready) {
		c := e.conns.at(e.ready[e.readyNext])
		e.readyNext++
		c.flags &^= flagReady
		ev := c.events
		c.events = 0
		if ev != 0 && (c.flags&flagOwned != 0 || c.listener != nil) {
			return c, ev
		}
		c.release()
	}
	e.ready, e.readyNext = e.ready[:0], 0
	return nil, 0
}
