package txq

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"shardnet/driver"
	"shardnet/stack/drop"
)

const (
	// maxFree is how many empty frames are kept for writers.
	maxFree = 256
	// maxReplies bounds the replies in place that wait for room in the TX ring: what four
	// turns receive.
	maxReplies = 4 * 64
	// maxRotations bounds what one turn sends, so that writers on other cores don't keep
	// the loop from receiving.
	maxRotations = 4
)

// Queue is the transmit queue of one shard.
type Queue struct {
	q    driver.Queue
	kick func() // wakes the loop if it sleeps

	// resolve looks a neighbor up, with the lock free: see LockNeighbor.
	resolve func(dst netip.Addr)
	// drainBacklog has netstack write what waits into free frames, with the lock held. It
	// reports whether packets are left.
	drainBacklog func() (left bool)

	mu sync.Mutex // guards what follows
	locked

	waiting   atomic.Bool   // frames are queued, or packets are in the backlog
	neighbors neighborCache // under mu, but for its generation

	loopOnly
}

// locked is guarded by Queue.mu.
type locked struct {
	free       []driver.Frame // empty
	queued     []driver.Frame // filled, to be sent, oldest first
	backlogged bool           // packets wait in netstack's backlog
	closed     bool
	sentUDP    uint64 // datagrams written here
	ipID       uint32 // last identification that was given out
	drops      drop.Counts
}

// loopOnly belongs to the loop.
type loopOnly struct {
	acks     *ackFilter     // nil: every ACK is sent
	saved    uint64         // ACKs not sent
	starved  bool           // packets wait in the backlog and the driver had no empty frame
	inFlight []driver.Frame // taken from queued, not yet taken by the driver
	spareBuf []driver.Frame // queued and inFlight change places with it
	replies  []driver.Frame // received frames that became replies in place
	segments []driver.Frame // the TCP engine's
}

// New returns the transmit side of q. kick wakes the shard's loop.
func New(q driver.Queue, kick func()) *Queue {
	t := &Queue{q: q, kick: kick}
	t.free = make([]driver.Frame, 0, maxFree)
	t.queued = make([]driver.Frame, 0, maxFree)
	t.spareBuf = make([]driver.Frame, 0, maxFree)
	t.replies = make([]driver.Frame, 0, maxReplies)
	t.acks = newACKFilter()
	t.ipID = rand.Uint32()
	t.neighbors.init()
	t.resolve = func(netip.Addr) {}
	t.drainBacklog = func() bool { return false }
	return t
}

// Attach sets what netstack does for the queue, before there is traffic: to resolve a
// neighbor and report it by Resolved, with the lock free, and to write what waits in its
// backlog into free frames, with the lock held.
func (t *Queue) Attach(resolve func(dst netip.Addr), drainBacklog func() (left bool)) {
	t.resolve, t.drainBacklog = resolve, drainBacklog
}

// Lock and Unlock bracket the calls that say so. Any goroutine may take the lock, with
// netstack's or the engine's held.
func (t *Queue) Lock()   { t.mu.Lock() }
func (t *Queue) Unlock() { t.mu.Unlock() }

// Ready reports whether a writer may write now: the queue is open and no packet waits
// before its own. Locked.
func (t *Queue) Ready() bool { return !t.closed && !t.backlogged }

// Closed reports whether the queue was closed. Locked.
func (t *Queue) Closed() bool { return t.closed }

// Free is how many frames Take gives. Locked.
func (t *Queue) Free() int { return len(t.free) }

// Peek is the frame that Take gives next; there is one. Locked.
func (t *Queue) Peek() driver.Frame { return t.free[len(t.free)-1] }

// Take takes a free frame, which the caller fills and gives to Put. There is one. Locked.
func (t *Queue) Take() driver.Frame {
	n := len(t.free) - 1
	f := t.free[n]
	t.free = t.free[:n]
	return f
}

// Put queues f, from Take, to be sent. Locked; Sent follows once the lock is free.
func (t *Queue) Put(f driver.Frame) {
	t.queued = append(t.queued, f)
	t.waiting.Store(true)
}

// Backlogged notes that packets wait in netstack's backlog. Locked.
func (t *Queue) Backlogged() {
	t.backlogged = true
	t.waiting.Store(true)
}

// Sent wakes the loop, for what Put and Backlogged left.
func (t *Queue) Sent() { t.kick() }

// SentUDP counts a datagram. Locked.
func (t *Queue) SentUDP() { t.sentUDP++ }

// Drop counts a packet that is not sent. Locked.
func (t *Queue) Drop(r drop.Reason) { t.drops[r]++ }

// NextID gives out an identification for IP, of which the low 16 bits are not zero, and
// reserves n in a row. Locked.
func (t *Queue) NextID(n int) uint32 {
	if t.ipID++; uint16(t.ipID) == 0 {
		t.ipID++
	}
	id := t.ipID
	t.ipID += uint32(n) - 1
	return id
}

// Flush hands what was written to the driver and takes free frames from it. It returns
// how many frames the driver took. Loop only, as are the methods below.
func (t *Queue) Flush() (int, error) {
	if t.idle() {
		return 0, nil
	}
	sent := 0
	for _, list := range [...]*[]driver.Frame{&t.replies, &t.segments} {
		n, err := t.transmit(list)
		if sent += n; err != nil {
			return sent, err
		}
	}
	for range maxRotations {
		if len(t.inFlight) == 0 && !t.rotate() {
			break
		}
		n, err := t.q.Transmit(t.inFlight)
		sent += n
		t.inFlight = t.inFlight[n:]
		if err != nil {
			return sent, err
		}
		if len(t.inFlight) > 0 { // ring full
			break
		}
	}
	// Also when nothing was sent: the driver may have to be told to go on before it has a
	// frame, or room, again.
	return sent, t.q.Flush()
}

// Reply takes f, a received frame that became its own reply. It returns false when too
// many wait already; f is then still the caller's.
//
// Those that wait are missing where frames are received: a queue whose TX ring stands
// still would soon hear nothing any more.
func (t *Queue) Reply(f driver.Frame) bool {
	if len(t.replies) >= maxReplies {
		return false
	}
	t.replies = append(t.replies, f)
	return true
}

// Send takes frames of the TCP engine, to be sent.
func (t *Queue) Send(frames []driver.Frame) { t.segments = append(t.segments, frames...) }

// transmit hands frames of the loop's own to the driver, as far as it has room.
func (t *Queue) transmit(list *[]driver.Frame) (int, error) {
	if len(*list) == 0 {
		return 0, nil
	}
	n, err := t.q.Transmit(*list)
	*list = (*list)[:copy(*list, (*list)[n:])]
	return n, err
}

// rotate makes inFlight of what is queued, takes free frames, and moves the backlog into
// them. It returns false when there is nothing to send.
func (t *Queue) rotate() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refill()
	t.backlogged = t.drainBacklog()
	t.waiting.Store(t.backlogged)
	t.starved = t.backlogged
	if n := t.acks.filter(t.queued); n > 0 {
		t.saved += uint64(n)
		t.compact()
	}
	if len(t.queued) == 0 {
		return false
	}
	t.inFlight, t.queued, t.spareBuf = t.queued, t.spareBuf[:0], t.queued
	t.refill()
	return true
}

// compact takes back the frames that the filter emptied. Locked.
func (t *Queue) compact() {
	kept := t.queued[:0]
	for _, f := range t.queued {
		switch {
		case len(f.Data) > 0:
			kept = append(kept, f)
		case len(t.free) < maxFree:
			t.free = append(t.free, f)
		default:
			t.q.Release([]driver.Frame{f})
		}
	}
	t.queued = kept
}

// refill takes free frames from the driver. Locked.
func (t *Queue) refill() {
	if n := len(t.free); n < maxFree/2 {
		got := t.q.Alloc(t.free[n:maxFree])
		t.free = t.free[:n+got]
	}
}

// idle reports whether nothing waits to be sent.
func (t *Queue) idle() bool {
	return !t.waiting.Load() && len(t.inFlight) == 0 && len(t.replies) == 0 && len(t.segments) == 0
}

// Stuck reports whether something waits for the driver: frames it would not take, or
// packets for which it had no frame.
func (t *Queue) Stuck() bool {
	return len(t.inFlight) > 0 || len(t.replies) > 0 || len(t.segments) > 0 || t.starved
}

// ACKsSaved is how many pure ACKs the filter kept back.
func (t *Queue) ACKsSaved() uint64 { return t.saved }

// Waiting reports whether writers left frames or packets. Any goroutine may call it.
func (t *Queue) Waiting() bool { return t.waiting.Load() }

// Counts adds the packets that were dropped here to d, and returns how many datagrams were
// written. Any goroutine may call it.
func (t *Queue) Counts(d *drop.Counts) (sentUDP uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.Add(&t.drops)
	return t.sentUDP
}

// Close gives all frames back: writers are refused from now on. It is called when the loop
// has ended, once or more.
func (t *Queue) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	for _, list := range [...]*[]driver.Frame{&t.free, &t.queued, &t.inFlight, &t.replies, &t.segments} {
		t.q.Release(*list)
		*list = nil
	}
	t.spareBuf = nil
	t.waiting.Store(false)
}
