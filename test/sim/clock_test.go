package sim

import (
	"container/heap"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// clock is the world's time, in nanoseconds. It is netstack's tcpip.Clock, too: timers run
// where the world's loop calls run, in the order of their times and of their
// making. (gVisor's own ManualClock runs equal times in any order, and does not tell
// the next one.)
type clock struct {
	mu     sync.Mutex // netstack sets timers on goroutines of its own
	now    int64
	order  uint64
	timers timers
}

// epoch is far from zero, which some take for no time at all.
const epoch = int64(time.Hour)

func (c *clock) read() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Now() time.Time { return time.Unix(0, c.read()) }

func (c *clock) NowMonotonic() tcpip.MonotonicTime {
	var t tcpip.MonotonicTime
	return t.Add(time.Duration(c.read()))
}

func (c *clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &timer{clock: c, f: f, index: -1}
	t.Reset(d)
	return t
}

// next is when the first timer is due.
func (c *clock) next() (at int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].at, true
}

// run calls what is due, and reports whether anything was.
func (c *clock) run() (any bool) {
	for {
		c.mu.Lock()
		if len(c.timers) == 0 || c.timers[0].at > c.now {
			c.mu.Unlock()
			return any
		}
		t := heap.Pop(&c.timers).(*timer)
		c.mu.Unlock()
		t.f()
		any = true
	}
}

// timer is a tcpip.Timer.
type timer struct {
	clock *clock
	f     func()
	at    int64
	order uint64
	index int // in the heap, -1 outside
}

func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	return true
}

func (t *timer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.index >= 0 {
		heap.Remove(&c.timers, t.index)
	}
	c.order++
	t.at, t.order = c.now+int64(max(d, 0)), c.order
	heap.Push(&c.timers, t)
}

// timers is a heap by time, then by the order of their setting.
type timers []*timer

func (h timers) Len() int { return len(h) }
func (h timers) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h timers) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timers) Push(x any) {
	t := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timers) Pop() any {
	t := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	t.index = -1
	return t
}
