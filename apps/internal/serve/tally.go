package serve

import (
	"runtime"
	"sync/atomic"
)

// Tally counts what a server does, in cells that lie on cache lines of their
// own: a connection takes one cell when it begins and counts there, so that
// connections on different cores seldom write the same line.
type Tally struct {
	next  atomic.Uint32
	cells []Cell
}

// Cell holds the counters of some of the connections. Add to them freely; read
// the sums with Tally.Sum.
type Cell struct {
	Opened   atomic.Uint64 // connections ever begun
	Closed   atomic.Uint64 // connections ended
	Rejected atomic.Uint64 // connections refused
	Requests atomic.Uint64
	BytesIn  atomic.Uint64
	BytesOut atomic.Uint64
	Dropped  atomic.Uint64 // datagrams refused, or not sent

	_ [128 - 7*8]byte // two lines: processors prefetch them in pairs
}

// Sums are the totals over all cells.
type Sums struct {
	Opened, Closed, Rejected, Requests, BytesIn, BytesOut, Dropped uint64
}

// NewTally makes a tally with cells enough for the cores there are.
func NewTally() *Tally {
	n := 4
	for n < 2*runtime.GOMAXPROCS(0) && n < 128 {
		n *= 2
	}
	return &Tally{cells: make([]Cell, n)}
}

// Cell returns the next cell, in turn.
func (t *Tally) Cell() *Cell {
	return &t.cells[int(t.next.Add(1))&(len(t.cells)-1)]
}

// At returns the cell for shard i: one of its own, unless there are more shards
// than cores.
func (t *Tally) At(i int) *Cell { return &t.cells[i&(len(t.cells)-1)] }

// Sum adds up the cells. Counters that move meanwhile may be caught at
// different moments; each alone never goes back.
func (t *Tally) Sum() Sums {
	var s Sums
	for i := range t.cells {
		c := &t.cells[i]
		// Ends are read before beginnings, so that a difference of the two is
		// never negative.
		s.Closed += c.Closed.Load()
		s.Rejected += c.Rejected.Load()
		s.Requests += c.Requests.Load()
		s.BytesIn += c.BytesIn.Load()
		s.BytesOut += c.BytesOut.Load()
		s.Dropped += c.Dropped.Load()
	}
	for i := range t.cells {
		s.Opened += t.cells[i].Opened.Load()
	}
	return s
}
