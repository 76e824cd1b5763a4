package counter

import (
	"sync/atomic"

	"shardnet/stack/drop"
)

// Counter names one of a shard's counters; stack.Stats says what each means.
type Counter int

const (
	RxPackets Counter = iota
	WrongShard
	HandedOut
	HandedIn
	Copies
	ToEngine
	ToUDP
	ToNetstack
	Turns
	Sleeps
	Yields
	Timers
	LinkDowns
	ACKsSaved
	Merged
	RepliesInPlace
	HandlerStalls

	drops       // and as many as there are reasons
	numCounters = int(drops) + int(drop.NumReasons)
)

// Set is a shard's counters. The loop counts without atomics, and publishes once a turn;
// any goroutine may read what was published.
type Set struct {
	local     [numCounters]uint64
	last      [numCounters]uint64
	_         [64]byte
	published [numCounters]atomic.Uint64
	_         [64]byte
}

// Add counts n more. Loop only, as are Inc, Drop, Local and Publish.
func (s *Set) Add(c Counter, n int) { s.local[c] += uint64(n) }

// Inc counts one more.
func (s *Set) Inc(c Counter) { s.local[c]++ }

// Drop counts a packet that is dropped for reason r.
func (s *Set) Drop(r drop.Reason) { s.local[int(drops)+int(r)]++ }

// Store sets a counter that is kept elsewhere.
func (s *Set) Store(c Counter, v uint64) { s.local[c] = v }

// Local is the loop's own value, which may not be published yet.
func (s *Set) Local(c Counter) uint64 { return s.local[c] }

// Publish lets others see what was counted.
func (s *Set) Publish() {
	for i, v := range s.local {
		if v != s.last[i] {
			s.last[i] = v
			s.published[i].Store(v)
		}
	}
}

// Get is what was published. Any goroutine may call it.
func (s *Set) Get(c Counter) uint64 { return s.published[c].Load() }

// Drops adds what was published of the drops to d. Any goroutine may call it.
func (s *Set) Drops(d *drop.Counts) {
	for r := range d {
		d[r] += s.published[int(drops)+r].Load()
	}
}
