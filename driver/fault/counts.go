package fault

import "sync/atomic"

// Counts are what happened to the frames of one direction of a queue.
type Counts struct {
	Frames       uint64 // came to the line, from the NIC or from the caller
	Dropped      uint64
	Corrupted    uint64
	Duplicated   uint64
	Reordered    uint64 // kept back to be overtaken
	Delayed      uint64 // waited for the bottleneck, the delay or both
	QueueDropped uint64 // found the bottleneck's queue full
	Overflowed   uint64 // lost because Config.Limit frames were held already
	// DuplicateShort is duplicates that were due but not made, for want of a
	// frame.
	DuplicateShort uint64

	Held int // frames held back at the moment
}

// counters are written by the owner of the queue and read by anyone.
type counters struct {
	frames, dropped, corrupted, duplicated, reordered atomic.Uint64
	delayed, queueDropped, overflowed, duplicateShort atomic.Uint64
	allocShort                                        atomic.Uint64 // of duplicateShort, those Stats.AllocShort knows
	held                                              atomic.Int64
}

// inc adds one to a counter that has one writer.
func inc(c *atomic.Uint64) { c.Store(c.Load() + 1) }

func (c *counters) read() Counts {
	return Counts{
		Frames:         c.frames.Load(),
		Dropped:        c.dropped.Load(),
		Corrupted:      c.corrupted.Load(),
		Duplicated:     c.duplicated.Load(),
		Reordered:      c.reordered.Load(),
		Delayed:        c.delayed.Load(),
		QueueDropped:   c.queueDropped.Load(),
		Overflowed:     c.overflowed.Load(),
		DuplicateShort: c.duplicateShort.Load(),
		Held:           int(c.held.Load()),
	}
}
