package stack

import (
	"crypto/rand"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/stack/tcp"
)

// fastTCP is the shard's own TCP: a tcp.Engine, between the frames of the loop and
// the sockets of applications.
//
//	Shard.input      a plain segment, in its frame   fastTCP.input -> Engine.Input
//	                                                   payload -> SegmentHandler, in the frame
//	netstack         fragments, IP options, errors   fastTCP.inputWhole, icmpError
//	fastTCP.tell     Engine.NextReady                  -> Notify functions and tasks
//	fastTCP.flush    Engine.Flush -> Frame, Send       -> TX frames -> transmitter
//
// mu guards the engine and everything here but what is said to be the loop's. The
// loop holds it while it feeds a batch and while it flushes, a goroutine for the
// length of its call: so a Read that finds data and a Write that finds room
// cross to the shard by a lock that is free but for the time of a batch, without a
// channel, a queue or a copy more. It is not held while handlers run, nor while
// netstack does. Under it, Post, kick and the locks of ports and transmitter may be
// taken, and never another shard's.
type fastTCP struct {
	sh *Shard
	// active is set when a socket was opened: until then no packet is looked up.
	active atomic.Bool
	// left is set when a call left something for the loop: segments to send, or
	// connections with events.
	left atomic.Bool

	mu     sync.Mutex
	engine *tcp.Engine
	out    fastOutput
	opened fastCounts

	// The loop's own.
	held    bool // it holds mu
	touched bool // the engine was given something since the last flush
	now     int64
	timerAt int64 // until then Advance has nothing to do, unless touched or left is set
	seg     tcp.Segment

	strays strays
}

// fastCounts are what the engine does not count.
type fastCounts struct{ accepted, dialed, dropped uint64 }

func newFastTCP(sh *Shard, memory int64, secret [32]byte) (*fastTCP, error) {
	f := &fastTCP{sh: sh, timerAt: math.MaxInt64}
	f.out.init(f)
	var err error
	f.engine, err = tcp.New(sh.clock.nanos(), tcp.Config{
		Output: &f.out,
		OnData: f.onData,
		Secret: secret,
		Memory: memory,
		MTU:    sh.st.info.MTU,
	})
	return f, err
}

// newSecret keys what the engines of a stack keep from their peers.
func newSecret() (secret [32]byte, err error) {
	if _, err := rand.Read(secret[:]); err != nil {
		return secret, fmt.Errorf("read random bytes: %w", err)
	}
	return secret, nil
}

// hold takes mu, unless the loop has it, and release gives it back, if it has.
// Loop only.
func (f *fastTCP) hold() {
	if !f.held {
		f.mu.Lock()
		f.held = true
	}
}

func (f *fastTCP) release() {
	if f.held {
		f.held = false
		f.mu.Unlock()
	}
}

// leave ends a call of an application, which has taken mu.
func (f *fastTCP) leave() {
	work := f.engine.Pending() || f.engine.Ready()
	f.mu.Unlock()
	if work {
		f.wake()
	}
}

// leaveTimed is leave for calls that may have armed a timer.
func (f *fastTCP) leaveTimed() {
	f.mu.Unlock()
	f.wake()
}

// wake has the loop look at what was left for it.
func (f *fastTCP) wake() {
	if !f.left.Load() {
		f.left.Store(true)
		f.sh.kick()
	}
}

// begin is the engine's part of a turn's start. Loop only, as what follows.
func (f *fastTCP) begin(now int64) {
	f.now = now
	if now < f.timerAt || !f.active.Load() {
		return
	}
	f.hold()
	f.out.now = now
	f.touched = true
	f.engine.Advance(now)
	f.release()
}

// input gives the engine a plain segment, whose checksum is right. It returns false
// if it is no business of the engine's. The payload is p's frame, and is done with
// when input returns.
func (f *fastTCP) input(p *packet) bool {
	if tcp.ParseSegment(&f.seg, p.l4, p.src, p.dst) != nil {
		return false
	}
	f.hold()
	f.out.now = f.now
	f.touched = true
	if f.engine.Input(f.now, &f.seg) == tcp.NoConnection {
		return false // netstack's, or nobody's, which netstack refuses
	}
	f.sh.counters.local[tcpFast]++
	return true
}

// owns reports whether p's connection is of this engine. Any goroutine that does
// not hold mu may call it.
func (f *fastTCP) owns(p *packet) bool {
	if !f.active.Load() {
		return false
	}
	t := tupleOf(p)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.engine.Owns(&t)
}

// ownsHere is owns on the loop.
func (f *fastTCP) ownsHere(p *packet) bool {
	t := tupleOf(p)
	f.hold()
	return f.engine.Owns(&t)
}

// tupleOf is the connection of a received packet.
func tupleOf(p *packet) tcp.Tuple {
	return tcp.MakeTuple(netip.AddrPortFrom(addrOf(p.dst), p.dstPort), netip.AddrPortFrom(addrOf(p.src), p.srcPort))
}

// onData is the engine's Config.OnData: it offers payload, in its frame, to a
// connection that takes it there. Handlers call what they like, so mu is
// free meanwhile: to the engine, what happens then is what a callback may do.
func (f *fastTCP) onData(c *tcp.Conn, payload []byte) int {
	fl, ok := c.User.(*fastFlow)
	if !ok || fl.inFrame == nil {
		return 0
	}
	h := fl.inFrame
	f.held = false
	f.mu.Unlock()
	f.sh.ran = h
	n := h.HandleSegment(payload)
	f.mu.Lock()
	f.held = true
	return n
}

// endBatch ends a run of inputs: it tells of their events, and gives mu back.
func (f *fastTCP) endBatch() {
	if f.held {
		f.tell()
		f.release()
	}
}

// takeLeft tells of what calls left, and takes the strays. It returns how many
// connections and strays there were.
func (f *fastTCP) takeLeft() int {
	if !f.left.Load() || !f.active.Load() {
		return 0
	}
	n := f.inputStrays()
	f.hold()
	n += f.tell()
	f.release()
	return n
}

// tell passes on the events of connections, and returns how many had any. The
// loop holds mu.
func (f *fastTCP) tell() (n int) {
	for {
		c, ev := f.engine.NextReady()
		if c == nil {
			return n
		}
		n++
		if ev&tcp.Accepted != 0 {
			if l := c.Listener(); l != nil {
				l.User.(*fastListener).ready.event(f.sh, Readable)
			}
			continue // Accept tells of what else there is
		}
		if fl, ok := c.User.(*fastFlow); ok {
			fl.ready.event(f.sh, fastEvents(ev))
		}
	}
}

func fastEvents(ev tcp.Events) (e Events) {
	if ev&tcp.Readable != 0 {
		e |= Readable
	}
	if ev&tcp.Writable != 0 {
		e |= Writable
	}
	if ev&tcp.Closed != 0 {
		e |= Readable | Writable | Closed
	}
	return e
}

// flush has connections send what they owe, and gives the frames to the
// transmitter. It returns how many there were, and whether there is more to send
// than the turn's share.
func (f *fastTCP) flush() (sent int, more bool) {
	left := f.left.Load()
	if left {
		f.left.Store(false)
	}
	if !left && !f.touched || !f.active.Load() {
		return 0, false
	}
	f.hold()
	f.out.now = f.now
	if f.engine.Pending() {
		more = f.out.flush(f.now)
	}
	f.touched = f.engine.Pending()
	if f.engine.Ready() || f.strays.waiting.Load() {
		f.wake() // for the next turn: a Write found memory again, or netstack sent to this very host
	}
	f.timerAt = math.MaxInt64
	if at, ok := f.engine.NextTimer(); ok {
		f.timerAt = at
	}
	f.out.restock()
	sent = len(f.out.filled)
	f.sh.tx.send(f.out.filled)
	f.out.filled = f.out.filled[:0]
	f.release()
	return sent, more
}

// stuck reports whether connections have something to send and had no frame for it.
func (f *fastTCP) stuck() bool { return f.touched && f.out.short }

// nextTimer is how long the loop may sleep for the engine, or less than zero for
// ever.
func (f *fastTCP) nextTimer() time.Duration {
	if f.timerAt == math.MaxInt64 || !f.active.Load() {
		return -1
	}
	return max(time.Duration(f.timerAt-f.sh.clock.real()), 0)
}

// stats returns the engine's counts.
func (f *fastTCP) stats() (tcp.Stats, fastCounts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.opened
	n.dropped = f.out.dropped
	return f.engine.Stats(), n
}

// closeAll closes every connection in order, for Stack.Close.
func (f *fastTCP) closeAll() {
	f.mu.Lock()
	f.engine.SetTime(f.sh.clock.nanos())
	f.engine.All(func(c *tcp.Conn) bool {
		if fl, ok := c.User.(*fastFlow); ok {
			fl.giveUp(true)
		} else {
			c.Close()
		}
		return true
	})
	f.leaveTimed()
}

// open is how many connections have not ended, those in TIME-WAIT and in the
// handshake aside.
func (f *fastTCP) open() int {
	s, _ := f.stats()
	return s.Conns - s.HalfOpen
}

// abortAll resets what is left.
func (f *fastTCP) abortAll() {
	f.mu.Lock()
	f.engine.SetTime(f.sh.clock.nanos())
	f.engine.AbortAll()
	f.leaveTimed()
}

// destroy gives the frames back, after the loop has ended.
func (f *fastTCP) destroy() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sh.q.Release(f.out.stock)
	f.sh.q.Release(f.out.filled)
	f.out.stock, f.out.filled, f.out.closed = nil, nil, true
}

// readiness is what an application asked to be told by. It is guarded by mu, but
// for posted.
type readiness struct {
	fn     func(Events)
	task   Task
	posted atomic.Bool // task is on the shard's list
	self   Task        // runs task: the socket that this is part of
}

// event tells of ev.
func (r *readiness) event(sh *Shard, ev Events) {
	switch {
	case r.task != nil:
		if !r.posted.Swap(true) {
			sh.Post(r.self)
		}
	case r.fn != nil:
		sh.noteWoken()
		r.fn(ev)
	}
}

// run is the socket's RunOnShard.
func (r *readiness) run(f *fastTCP) {
	r.posted.Store(false)
	f.mu.Lock()
	t := r.task
	f.mu.Unlock()
	if t != nil {
		f.sh.ran = t
		t.RunOnShard()
	}
}
