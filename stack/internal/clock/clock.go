package clock

import (
	"math/rand"
	"sync"
	"sync/atomic"
	"time"
)

// tickShift makes a tick of the timer wheel 2^20 ns, about a millisecond, as
// fine as the kernel's own jiffies.
const tickShift = 20

// Clock is one shard's clock. Times are nanoseconds since a base of its own.
//
// While the loop runs, the time is read once a turn and cached: to read it for each
// packet takes netstack 6-10 % of the CPU. While the loop sleeps nobody refreshes the
// cache, so callers read the real clock. Timers fire on the loop, at most a turn before
// their time (as they are counted from the cached time) and a tick and a turn after it.
//
// Refresh, Park and RunTimers belong to the loop; any goroutine may call the others.
type Clock struct {
	base   time.Time
	cached atomic.Int64 // nanoseconds since base, or 0 when the loop sleeps
	last   atomic.Int64 // the last reading handed out

	mu      sync.Mutex
	wheel   *wheel
	wakeAt  uint64 // tick for which the loop has arranged to wake, under mu
	onEarly func() // called, without mu, when a timer is armed before wakeAt

	// The loop's own.
	due  []*Timer // scratch
	tick uint64   // of the last RunTimers; 0 after Park
}

// New returns a clock. onEarly wakes the loop.
func New(onEarly func()) *Clock {
	// A base some time back keeps zero out of the clock's range, as netstack
	// takes a zero MonotonicTime for unset, and makes timestamps of different
	// shards differ.
	back := time.Hour + time.Duration(rand.Int63n(int64(time.Hour)))
	return &Clock{base: time.Now().Add(-back), wheel: newWheel(), onEarly: onEarly}
}

// Real reads the clock.
func (c *Clock) Real() int64 { return int64(time.Since(c.base)) }

// Nanos is the cached time, or the real one while the loop sleeps.
func (c *Clock) Nanos() int64 {
	if n := c.cached.Load(); n != 0 {
		return n
	}
	return c.Real()
}

// Unique is Nanos, but no two readings are the same, and none is before another: where
// the cached time was handed out already, the next reading is a nanosecond later.
// Netstack stamps segments with it when they are sent, and its RACK takes segments of one
// stamp for lost as soon as the first of them is acknowledged (rackControl.detectLoss has
// RFC 8985's RACK_sent_after the wrong way round for equal times).
func (c *Clock) Unique() int64 {
	n := c.Nanos()
	for {
		last := c.last.Load()
		n = max(n, last+1)
		if c.last.CompareAndSwap(last, n) {
			return n
		}
	}
}

// AfterFunc arms a timer: f runs on the loop once d has passed.
func (c *Clock) AfterFunc(d time.Duration, f func()) *Timer {
	t := &Timer{fn: f, clock: c}
	c.arm(t, d)
	return t
}

func (c *Clock) arm(t *Timer, d time.Duration) {
	at := uint64(c.Nanos()+max(int64(d), 0))>>tickShift + 1
	c.mu.Lock()
	c.wheel.remove(t)
	t.expiry = at
	c.wheel.insert(t)
	early := t.expiry < c.wakeAt
	c.mu.Unlock()
	if early {
		c.onEarly()
	}
}

// Stop disarms t and reports whether it was armed.
func (t *Timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.wheel.remove(t)
}

// Reset arms t anew, for d from now.
func (t *Timer) Reset(d time.Duration) { t.clock.arm(t, d) }

// Refresh reads the clock, caches it for this turn, and returns it.
func (c *Clock) Refresh() int64 {
	n := c.Real()
	c.cached.Store(n)
	return n
}

// RunTimers runs what is due at now and returns how many ran. The wheel is not
// locked while they run.
func (c *Clock) RunTimers(now int64) int {
	tick := uint64(now) >> tickShift
	if tick == c.tick {
		return 0
	}
	c.tick = tick
	c.mu.Lock()
	c.wakeAt = 0
	if tick == c.wheel.now {
		c.mu.Unlock()
		return 0
	}
	due := c.wheel.advance(tick, c.due[:0])
	c.mu.Unlock()
	for i, t := range due {
		due[i] = nil
		t.fn()
	}
	c.due = due
	return len(due)
}

// Park is called by the loop before it sleeps. It stops the caching of the
// time, and returns for how long the loop may sleep: until the next timer, or
// < 0 for ever. From here until the next RunTimers, arming an earlier timer
// calls onEarly.
func (c *Clock) Park() time.Duration {
	c.cached.Store(0)
	c.tick = 0
	c.mu.Lock()
	defer c.mu.Unlock()
	tick, _, _, ok := c.wheel.next()
	if !ok {
		c.wakeAt = ^uint64(0)
		return -1
	}
	c.wakeAt = tick
	return max(time.Duration(int64(tick<<tickShift)-c.Real()), 0)
}
