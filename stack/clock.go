package stack

import (
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// tickShift makes a tick of the timer wheel 2^20 ns, about a millisecond, as
// fine as the kernel's own jiffies.
const tickShift = 20

// shardClock is the tcpip.Clock of one shard's netstack.
//
// While the loop runs, the time is read once a turn and cached: NowMonotonic is
// otherwise 6-10 % of the CPU. While the loop sleeps nobody refreshes the
// cache, so callers read the real clock. Timers fire on the loop, at most a turn
// before their time (as they are counted from the cached time) and a tick and a
// turn after it.
//
// NowMonotonic, Now and AfterFunc may be called from any goroutine; refresh,
// park and runTimers belong to the loop.
type shardClock struct {
	base   time.Time
	cached atomic.Int64 // nanoseconds since base, or 0 when the loop sleeps
	last   atomic.Int64 // the last reading handed out

	mu      sync.Mutex
	wheel   *wheel
	wakeAt  uint64 // tick for which the loop has arranged to wake, under mu
	onEarly func() // called, without mu, when a timer is armed before wakeAt

	// The loop's own.
	due  []*wheelTimer // scratch
	tick uint64        // of the last runTimers; 0 after park
}

var _ tcpip.Clock = (*shardClock)(nil)

// newShardClock returns a clock. onEarly wakes the loop.
func newShardClock(onEarly func()) *shardClock {
	// A base some time back keeps zero out of the clock's range, as netstack
	// takes a zero MonotonicTime for unset, and makes timestamps of different
	// shards differ.
	back := time.Hour + time.Duration(rand.Int63n(int64(time.Hour)))
	return &shardClock{base: time.Now().Add(-back), wheel: newWheel(), onEarly: onEarly}
}

func (c *shardClock) real() int64 { return int64(time.Since(c.base)) }

func (c *shardClock) nanos() int64 {
	if n := c.cached.Load(); n != 0 {
		return n
	}
	return c.real()
}

// Now implements tcpip.Clock.
func (c *shardClock) Now() time.Time { return time.Now() }

// NowMonotonic implements tcpip.Clock. No two readings are the same, and none is
// before another: where the cached time was handed out already, the next reading
// is a nanosecond later. Netstack stamps segments with it when they are sent, and
// its RACK takes segments of one stamp for lost as soon as the first of them is
// acknowledged (rackControl.detectLoss has RFC 8985's RACK_sent_after the wrong way
// round for equal times).
func (c *shardClock) NowMonotonic() tcpip.MonotonicTime {
	n := c.nanos()
	for {
		last := c.last.Load()
		n = max(n, last+1)
		if c.last.CompareAndSwap(last, n) {
			return tcpip.MonotonicTime{}.Add(time.Duration(n))
		}
	}
}

// AfterFunc implements tcpip.Clock. f runs on the shard's loop.
func (c *shardClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &wheelTimer{fn: f, clock: c}
	c.arm(t, d)
	return t
}

func (c *shardClock) arm(t *wheelTimer, d time.Duration) {
	at := uint64(c.nanos()+max(int64(d), 0))>>tickShift + 1
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

// Stop implements tcpip.Timer.
func (t *wheelTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.wheel.remove(t)
}

// Reset implements tcpip.Timer.
func (t *wheelTimer) Reset(d time.Duration) { t.clock.arm(t, d) }

// refresh reads the clock, caches it for this turn, and returns it.
func (c *shardClock) refresh() int64 {
	n := c.real()
	c.cached.Store(n)
	return n
}

// runTimers runs what is due at now and returns how many ran. The wheel is not
// locked while they run.
func (c *shardClock) runTimers(now int64) int {
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

// park is called by the loop before it sleeps. It stops the caching of the
// time, and returns for how long the loop may sleep: until the next timer, or
// < 0 for ever. From here until the next runTimers, arming an earlier timer
// calls onEarly.
func (c *shardClock) park() time.Duration {
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
	return max(time.Duration(int64(tick<<tickShift)-c.real()), 0)
}
