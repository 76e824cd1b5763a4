package fault

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Direction says which way the faults apply.
type Direction uint8

// Directions, to be combined. The zero Direction is Both.
const (
	RX   Direction = 1 << iota // frames from Receive
	TX                         // frames given to Transmit
	Both = RX | TX
)

// String returns the direction as Parse takes it.
func (d Direction) String() string {
	switch d {
	case 0, Both:
		return "both"
	case RX:
		return "rx"
	case TX:
		return "tx"
	}
	return fmt.Sprintf("Direction(%d)", uint8(d))
}

// Config is which faults happen, and how often. The zero Config has none.
// Probabilities are for each frame, from 0 to 1.
type Config struct {
	Seed uint64
	Dir  Direction

	Drop      float64
	Corrupt   float64 // one bit of the frame is flipped
	Duplicate float64
	Reorder   float64

	// Distance is how many later frames overtake a reordered one; 0 is 3, as
	// many as make TCP retransmit (RFC 5681, section 3.2).
	Distance int
	// Hold is how long a reordered frame waits to be overtaken before it goes
	// on anyway; 0 is 10 ms.
	Hold time.Duration

	Delay time.Duration

	// Rate is the bottleneck's in bits a second, for each queue and direction;
	// 0 is without limit. Queue is how many frames may be in it, counting the
	// one being sent; 0 is 64.
	Rate  int64
	Queue int

	// Limit bounds the frames held back in each direction of a queue, by
	// whatever fault; 0 is a quarter of the queue's frames, at most 1024.
	Limit int

	// Now is the clock; nil is time.Now. Wait sleeps in real time: who moves a
	// clock of another kind calls Wake afterwards. Readings before an earlier
	// one are taken as that one.
	Now func() time.Time
}

// Defaults of Config.
const (
	defaultDistance = 3
	defaultHold     = 10 * time.Millisecond
	defaultQueue    = 64
	maxLimit        = 1024
)

// validate returns what is wrong with the configuration, in the names Parse
// knows.
func (c *Config) validate() error {
	for _, p := range []struct {
		name string
		p    float64
	}{{"drop", c.Drop}, {"corrupt", c.Corrupt}, {"dup", c.Duplicate}, {"reorder", c.Reorder}} {
		if math.IsNaN(p.p) || p.p < 0 || p.p > 1 {
			return fmt.Errorf("%s=%v: not a probability from 0 to 1 (or 0%% to 100%%)", p.name, p.p)
		}
	}
	if c.Dir&^Both != 0 {
		return fmt.Errorf("dir=%v: not rx, tx or both", c.Dir)
	}
	for _, n := range []struct {
		name string
		n    int64
	}{
		{"delay", int64(c.Delay)}, {"hold", int64(c.Hold)}, {"rate", c.Rate},
		{"queue", int64(c.Queue)}, {"distance", int64(c.Distance)}, {"limit", int64(c.Limit)},
	} {
		if n.n < 0 {
			return fmt.Errorf("%s=%d: is negative", n.name, n.n)
		}
	}
	if c.Queue > 0 && c.Rate == 0 {
		return errors.New("queue needs rate: without one there is no bottleneck to queue at")
	}
	return nil
}

// active says whether there is anything to do in direction d.
func (c *Config) active(d Direction) bool {
	if c.Dir != 0 && c.Dir&d == 0 {
		return false
	}
	return c.Drop > 0 || c.Corrupt > 0 || c.Duplicate > 0 || c.Reorder > 0 || c.Delay > 0 || c.Rate > 0
}

// withDefaults fills in what was left zero, for a queue of so many frames, and
// checks what depends on them.
func (c Config) withDefaults(frames int) (Config, error) {
	if c.Distance == 0 {
		c.Distance = defaultDistance
	}
	if c.Hold == 0 {
		c.Hold = defaultHold
	}
	if c.Limit == 0 {
		c.Limit = min(max(frames/4, 1), maxLimit)
	}
	if c.Limit > frames {
		return c, fmt.Errorf("limit=%d: the queue has only %d frames", c.Limit, frames)
	}
	if c.Queue > c.Limit {
		return c, fmt.Errorf("queue=%d: no more than limit=%d frames may be held back", c.Queue, c.Limit)
	}
	if c.Queue == 0 {
		c.Queue = min(defaultQueue, c.Limit)
	}
	return c, nil
}
