package enginetcp

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/stack/internal/clock"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/steer"
	"shardnet/stack/internal/txq"
	"shardnet/stack/tcp"
)

// Config is what a TCP stands on. All of it is needed; Attach adds netstack.
type Config struct {
	Shard    loop.Shard
	Running  *loop.Running
	Clock    *clock.Clock
	Queue    driver.Queue // for empty frames, on the loop
	Tx       *txq.Queue
	Steering *steer.Table
	Own      steer.Addresses
	MAC      [6]byte
	MTU      int
	Memory   int64    // bytes for all connections
	Secret   [32]byte // keys what the engine keeps from peers
}

// TCP is one shard's.
//
// The loop holds mu per batch and per flush; application calls hold it for the call. So a
// Read that finds data and a Write that finds room cross to the shard by a lock that is
// mostly free, without a channel, a queue or another copy. It is released while handlers
// run, and while the loop gives netstack its packets.
//
// Lock order: netstack's port lock, mu, then netstack's route, neighbor and demultiplexer
// locks, the transmit queue's lock, and Post. Under mu nobody reserves or releases a port,
// or takes another shard's mu.
type TCP struct {
	cfg Config
	ns  *netstack.Netstack
	// active is set when a socket was opened: until then no packet is looked up.
	active atomic.Bool
	// left is set when a call left something for the loop: segments to send, or
	// connections with events.
	left atomic.Bool

	mu sync.Mutex
	guarded

	slow slowPath // has a lock of its own

	loopOnly
}

// guarded is guarded by TCP.mu.
type guarded struct {
	engine           *tcp.Engine
	out              output
	accepted, dialed uint64
}

// loopOnly belongs to the loop.
type loopOnly struct {
	locked  bool // the loop holds mu; written under it
	short   bool // the last flush had not enough frames
	dirty   bool // the engine was given something since the last flush
	now     int64
	timerAt int64 // until then Advance has nothing to do, unless dirty or left is set
	seg     tcp.Segment
}

// New returns a shard's TCP. Attach must follow before there is traffic.
func New(cfg Config) (*TCP, error) {
	f := &TCP{cfg: cfg}
	f.timerAt = math.MaxInt64
	f.out.init(f)
	var err error
	f.engine, err = tcp.New(cfg.Clock.Nanos(), tcp.Config{
		Output: &f.out,
		OnData: f.onData,
		Secret: cfg.Secret,
		Memory: cfg.Memory,
		MTU:    cfg.MTU,
	})
	return f, err
}

// Attach gives f the netstack that has the ports and the slow path.
func (f *TCP) Attach(ns *netstack.Netstack) { f.ns = ns }

// Active implements netstack.Engine.
func (f *TCP) Active() bool { return f.active.Load() }

// Deferred reports whether a call left something for DrainDeferred or Flush. Any goroutine
// may call it.
func (f *TCP) Deferred() bool { return f.left.Load() }

// lock takes mu, unless the loop has it, and unlock gives it back, if it has.
// Loop only.
func (f *TCP) lock() {
	if !f.locked {
		f.mu.Lock()
		f.locked = true
	}
}

func (f *TCP) unlock() {
	if f.locked {
		f.locked = false
		f.mu.Unlock()
	}
}

// unlockAndKick ends a call of an application, which has taken mu.
func (f *TCP) unlockAndKick() {
	work := f.engine.Pending() || f.engine.Ready()
	f.mu.Unlock()
	if work {
		f.wake()
	}
}

// unlockAndKickAlways is unlockAndKick for calls that may have armed a timer.
func (f *TCP) unlockAndKickAlways() {
	f.mu.Unlock()
	f.wake()
}

// wake has the loop look at what was left for it.
func (f *TCP) wake() {
	if !f.left.Load() {
		f.left.Store(true)
		f.cfg.Shard.Kick()
	}
}

// StartTurn runs the engine's timers. Loop only, as are the methods below.
func (f *TCP) StartTurn(now int64) {
	f.now = now
	if now < f.timerAt || !f.active.Load() {
		return
	}
	f.lock()
	f.out.now = now
	f.dirty = true
	f.engine.Advance(now)
	f.unlock()
}

// Input gives the engine p, a segment that is eligible for the fast path and whose checksum
// is right. It returns false if the engine has neither a connection nor a listener for it:
// it is netstack's, or nobody's, which netstack refuses. The payload is in p's frame, and is
// done with when Input returns. EndBatch follows before anything else is called.
func (f *TCP) Input(p *wire.Packet) bool {
	if tcp.ParseSegment(&f.seg, p.L4, p.Src, p.Dst) != nil {
		return false
	}
	f.lock()
	f.out.now = f.now
	f.dirty = true
	return f.engine.Input(f.now, &f.seg) != tcp.NoConnection
}

// Owns reports whether p's connection is of this engine. Any goroutine that does not hold
// mu may call it.
func (f *TCP) Owns(p *wire.Packet) bool {
	if !f.active.Load() {
		return false
	}
	t := tcp.MakeTuple(p.Destination(), p.Source())
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.engine.Owns(&t)
}

// OwnsHere is Owns on the loop. EndBatch follows.
func (f *TCP) OwnsHere(p *wire.Packet) bool {
	t := tcp.MakeTuple(p.Destination(), p.Source())
	f.lock()
	return f.engine.Owns(&t)
}

// onData is the engine's Config.OnData: it offers payload, in its frame, to a
// connection that takes it there. Handlers call what they like, so mu is
// free meanwhile: to the engine, what happens then is what a callback may do.
func (f *TCP) onData(c *tcp.Conn, payload []byte) int {
	fl, ok := c.User.(*connFlow)
	if !ok || fl.inFrame == nil {
		return 0
	}
	h := fl.inFrame
	f.locked = false
	f.mu.Unlock()
	f.cfg.Running.Task = h
	n := h.HandleSegment(payload)
	f.mu.Lock()
	f.locked = true
	return n
}

// EndBatch ends a run of inputs: it dispatches their events, and gives mu back.
func (f *TCP) EndBatch() {
	if f.locked {
		f.dispatchEvents()
		f.unlock()
	}
}

// DrainDeferred dispatches the events that calls left, and gives the engine what came by the
// slow path. It returns how many of both there were.
func (f *TCP) DrainDeferred() int {
	if !f.left.Load() || !f.active.Load() {
		return 0
	}
	n := f.inputSlow()
	f.lock()
	n += f.dispatchEvents()
	f.unlock()
	return n
}

// dispatchEvents passes on the events of connections, and returns how many had any. The
// loop holds mu.
func (f *TCP) dispatchEvents() (n int) {
	for {
		c, ev := f.engine.NextReady()
		if c == nil {
			return n
		}
		n++
		if ev&tcp.Accepted != 0 {
			if l := c.Listener(); l != nil {
				l.User.(*listener).ready.event(f, flow.Readable)
			}
			continue // Accept tells of what else there is
		}
		if fl, ok := c.User.(*connFlow); ok {
			fl.ready.event(f, flowEvents(ev))
		}
	}
}

func flowEvents(ev tcp.Events) (e flow.Events) {
	if ev&tcp.Readable != 0 {
		e |= flow.Readable
	}
	if ev&tcp.Writable != 0 {
		e |= flow.Writable
	}
	if ev&tcp.Closed != 0 {
		e |= flow.Readable | flow.Writable | flow.Closed
	}
	return e
}

// Flush sends what connections owe, and gives the frames to the transmit queue. It returns
// how many there were, and whether there is more to send than the turn's share.
func (f *TCP) Flush() (sent int, more bool) {
	left := f.left.Load()
	if left {
		f.left.Store(false)
	}
	if !left && !f.dirty || !f.active.Load() {
		return 0, false
	}
	f.lock()
	f.out.now = f.now
	if f.engine.Pending() {
		more = f.out.flush(f.now)
	}
	f.dirty, f.short = f.engine.Pending(), f.out.short
	if f.engine.Ready() || f.slow.waiting.Load() {
		f.wake() // for the next turn: a Write found memory again, or netstack sent to this very host
	}
	f.timerAt = math.MaxInt64
	if at, ok := f.engine.NextTimer(); ok {
		f.timerAt = at
	}
	f.out.refill()
	sent = len(f.out.queued)
	f.cfg.Tx.Send(f.out.queued)
	f.out.queued = f.out.queued[:0]
	f.unlock()
	return sent, more
}

// Stuck reports whether connections have something to send and had no frame for it.
func (f *TCP) Stuck() bool { return f.dirty && f.short }

// NextTimer is how long the loop may sleep for the engine, or less than zero for
// ever.
func (f *TCP) NextTimer() time.Duration {
	if f.timerAt == math.MaxInt64 || !f.active.Load() {
		return -1
	}
	return max(time.Duration(f.timerAt-f.cfg.Clock.Real()), 0)
}

// Counts are the engine's counters, and what the engine does not count.
type Counts struct {
	tcp.Stats
	Accepted, Dialed uint64
}

// Counts returns the counters, and adds the packets that were dropped to d. Any goroutine may
// call it.
func (f *TCP) Counts(d *drop.Counts) Counts {
	f.slow.mu.Lock()
	d[drop.SlowPathFull] += f.slow.dropped
	f.slow.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	d[drop.NeighborQueue] += f.out.dropped
	return Counts{f.engine.Stats(), f.accepted, f.dialed}
}

// CloseConnections closes every connection in order.
func (f *TCP) CloseConnections() {
	f.mu.Lock()
	f.engine.SetTime(f.cfg.Clock.Nanos())
	f.engine.All(func(c *tcp.Conn) bool {
		if fl, ok := c.User.(*connFlow); ok {
			fl.giveUp(true)
		} else {
			c.Close()
		}
		return true
	})
	f.unlockAndKickAlways()
}

// Connections is how many connections have not ended, those in TIME-WAIT and in the
// handshake aside.
func (f *TCP) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.engine.Stats()
	return s.Conns - s.HalfOpen
}

// AbortConnections resets what is left.
func (f *TCP) AbortConnections() {
	f.mu.Lock()
	f.engine.SetTime(f.cfg.Clock.Nanos())
	f.engine.AbortAll()
	f.unlockAndKickAlways()
}

// Close gives the frames back, after the loop has ended.
func (f *TCP) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cfg.Queue.Release(f.out.free)
	f.cfg.Queue.Release(f.out.queued)
	f.out.free, f.out.queued, f.out.closed = nil, nil, true
}
