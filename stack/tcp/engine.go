package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// ErrWouldBlock is returned by calls that cannot go on at once: no data, no room,
// no connection waiting. Events tell when to try again.
var ErrWouldBlock = errors.New("operation would block")

// Output takes the segments an Engine makes. Its methods must not call the engine.
type Output interface {
	// Frame returns memory for a segment of n bytes between t's addresses: TCP header,
	// options and payload. The caller has put the headers before it. c is the segment's
	// connection, or nil if there is none. A nil answer means that no frame is
	// free: the engine tries again at the next Flush, or drops what is not worth it.
	Frame(c *Conn, t *Tuple, n int) []byte
	// Send sends the segment written to the memory that Frame returned last.
	Send(c *Conn, seg []byte)
}

// Config is what an Engine is made of. Zero values mean the defaults.
type Config struct {
	// Output takes segments. It has no default.
	Output Output
	// OnData, if set, is offered payload that arrived in order while nothing is
	// buffered before it, in the bytes given to Input, and returns how much of it was
	// consumed; the rest is buffered. It is called for connections that were
	// accepted or dialed, and may call their methods.
	OnData func(c *Conn, payload []byte) (consumed int)
	// Secret keys the flow table's hash, initial sequence numbers, timestamps and
	// cookies. It must be random, and may be shared by engines.
	Secret [32]byte
	// Memory bounds what all connections take, in bytes; 256 MiB.
	Memory int64
	// MTU is the path's, IP header included; 1500.
	MTU int
	// RecvBuffer is the receive buffer of a connection that receives, 64 KiB, which
	// grows to MaxRecvBuffer, 4 MiB, for a peer and an application that are fast enough.
	// New and idle ones have 16 KiB at most.
	RecvBuffer, MaxRecvBuffer int
	// SendBuffer is how much a connection takes to be sent, 64 KiB; with the
	// congestion window it grows to MaxSendBuffer, 4 MiB.
	SendBuffer, MaxSendBuffer int
	// Burst bounds the segments of one connection in one Flush; 32.
	Burst int
	// Congestion names the algorithm of congestion control: "cubic" (RFC 9438), which is
	// the default, or "reno" (RFC 5681).
	Congestion string
	// MinRTO, 200 ms, and MaxRTO, 120 s, bound the retransmission timeout. RFC 6298
	// section 2.4 asks for a second; the field's stacks have long used 200 ms.
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
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defD := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if cfg.Memory == 0 {
		cfg.Memory = 256 << 20
	}
	def(&cfg.MTU, 1500)
	def(&cfg.RecvBuffer, 64<<10)
	def(&cfg.MaxRecvBuffer, max(4<<20, cfg.RecvBuffer))
	def(&cfg.SendBuffer, 64<<10)
	def(&cfg.MaxSendBuffer, max(4<<20, cfg.SendBuffer))
	def(&cfg.Burst, 32)
	def(&cfg.SynRetries, 6)
	def(&cfg.Retries, 15)
	def(&cfg.MaxTimeWait, 1<<16)
	defD(&cfg.MinRTO, 200*time.Millisecond)
	defD(&cfg.MaxRTO, 120*time.Second)
	defD(&cfg.DelayedAck, 40*time.Millisecond)
	defD(&cfg.TimeWait, 60*time.Second)
	defD(&cfg.FinWait2, 60*time.Second)
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

// Engine holds the connections of one shard. It is single-threaded: all calls,
// of it and of its connections and listeners, are made on one goroutine or
// otherwise one after the other.
type Engine struct {
	cfg        Config
	congestion congestionControl
	now        int64 // nanoseconds, of the last call that gave a time
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
	Undone         uint64 // reductions taken back, as nothing was lost
	OutOfOrder     uint64 // segments received ahead of others
	Duplicates     uint64 // segments received that were received before
	Dropped        uint64 // segments not acceptable, or with no room for them
	PAWS           uint64 // segments too old by their timestamp
	Resets         uint64 // RSTs sent
	ChallengeAcks  uint64
	NoFrame        uint64 // times Output had none
	Overflows      uint64 // handshakes dropped: a backlog, or memory, was full
	Cookies        uint64 // SYNs answered with a cookie
	CookiesTaken   uint64 // connections made of one
	TimeWaits      int    // connections in TIME-WAIT
	HalfOpen       int    // connections in SYN-RECEIVED
	Conns          int    // all that have memory, those in TIME-WAIT aside
	Memory         int64  // bytes of the budget in use
}

// waitRef marks references of TIME-WAIT entries in the flow table.
const waitRef = 1 << 31

// New makes an engine. now is the time in nanoseconds of a clock that does not go
// back, the same that later calls are given.
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

// newConn makes a connection, not yet in the flow table. nil: no memory.
func (e *Engine) newConn(t *Tuple, hash uint32) *Conn {
	if !e.reserve(connCost) {
		return nil
	}
	grant := e.initialRcvBuf()
	if grant == 0 {
		e.used -= connCost
		return nil
	}
	id := e.conns.get()
	c := e.conns.at(id)
	*c = Conn{e: e, id: id, tuple: *t, hash: hash, pseudoSum: uint32(t.pseudoSum())}
	c.snd.mss = e.ownMSS(t)
	c.rcv.buf, c.rcv.mss, c.rcv.quickAcks = grant, defaultMSS, initialQuickAcks
	c.rec.reoMult = 1
	c.rtt.rto, c.rtt.min = uint32(initialRTO/time.Microsecond), ^uint32(0)
	c.setISS(e.isn(t))
	c.ts.offset = uint32(t.hostMAC(&e.tsKey))
	c.initCongestion()
	return c
}

// number gives the connection its initial sequence number. That is also the first
// recovery point (RFC 6582 section 3.2, step 1).
func (c *Conn) setISS(iss uint32) {
	c.snd.iss, c.snd.una, c.snd.nxt, c.rec.point = iss, iss, iss+1, iss
}

// isn is an initial sequence number (RFC 6528 section 3): a clock of about 4 µs,
// and a keyed hash of the connection's name.
func (e *Engine) isn(t *Tuple) uint32 {
	return uint32(e.now>>12) + uint32(t.mac(&e.isnKey, 0))
}

func (e *Engine) millis() uint32 { return uint32(e.now / int64(time.Millisecond)) }

// Verdict says what became of a segment given to Input.
type Verdict uint8

const (
	// Taken: the segment was one of the engine's, whatever came of it.
	Taken Verdict = iota
	// NoConnection: no connection and no listener is there for it. Reject answers
	// it with a RST.
	NoConnection
)

// Input processes a received segment. Its payload is only borrowed. What the
// connection has to say to it is sent by Flush, but for answers that belong to
// no connection.
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

// run processes a segment of the connection.
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

// Owns reports whether a segment with this tuple belongs to a connection of the
// engine, one in TIME-WAIT included.
func (e *Engine) Owns(t *Tuple) bool {
	return e.flows.find(t.hash(&e.flowKey), t) != 0
}

// Flush sends what connections owe: new data, retransmissions, ACKs. It is called
// once after a batch of Input and API calls. It returns true if connections have
// more to send, for want of frames or because they had their share of this turn.
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
			c.schedule()
			more = true
		case outputNoFrame:
			e.stats.NoFrame++
			c.schedule()
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

// Pending reports whether Flush has something to do.
func (e *Engine) Pending() bool { return len(e.pending) > 0 || len(e.starved) > 0 && e.hasSlack() }

// Ready reports whether NextReady has a connection to return, or may have.
func (e *Engine) Ready() bool { return e.readyNext < len(e.ready) }

// SetTime tells the engine the time, for calls of an application that come when it
// was last told a while ago.
func (e *Engine) SetTime(now int64) { e.now = max(e.now, now) }

// AbortAll resets every connection, those that were closed and those whose
// handshake is under way included, and forgets all in TIME-WAIT. Those that the
// application holds fail with ECONNABORTED.
func (e *Engine) AbortAll() {
	for k := range e.conns.slabs {
		items := e.conns.slabs[k].items
		for i := range items {
			if c := &items[i]; c.e != nil && !c.state.ended() {
				c.reset(syscall.ECONNABORTED)
			}
		}
	}
	for e.waitHead != 0 {
		e.dropWait(e.waitHead)
	}
}

// All calls f for each connection that the application holds, until f returns false.
// f may close it.
func (e *Engine) All(f func(c *Conn) bool) {
	for k := range e.conns.slabs {
		items := e.conns.slabs[k].items
		for i := range items {
			if c := &items[i]; c.e != nil && c.flags&flagOwned != 0 && !f(c) {
				return
			}
		}
	}
}

// Advance runs the timers that are due. What they have to send is sent by Flush.
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

// NextReady takes a connection off the list of those with events, or returns nil.
// Close and Abort take a connection's events with them.
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
