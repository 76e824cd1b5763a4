package runner

import (
	"errors"
	"fmt"
	"strings"

	"shardnet/driver"
	"shardnet/driver/fault"
)

// checkFaults finds faults that nothing can make happen.
func (c *Config) checkFaults() error {
	if c.Faults != nil && c.Driver == "kernel" {
		return errors.New("the kernel's frames can't be made to get lost here: leave out --fault, and use tc netem")
	}
	return nil
}

// wrapFaults puts the faults of cfg, if there are any, between dev and its user. When
// it fails it has closed dev.
func wrapFaults(dev driver.Device, cfg *Config) (driver.Device, *fault.Device, error) {
	if cfg.Faults == nil {
		return dev, nil, nil
	}
	bad, err := fault.Wrap(dev, *cfg.Faults)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w: change --fault", err), dev.Close())
	}
	return bad, bad, nil
}

// describeFaults says which faults are in force, as --fault takes them; "" is that
// nobody asked for any.
func (c *Config) describeFaults() string {
	if c.Faults == nil {
		return ""
	}
	return fmt.Sprintf("%v,dir=%v,seed=%d", withoutDefaults(*c.Faults), c.Faults.Dir, c.Faults.Seed)
}

// withoutDefaults is what of cfg is said only when it was asked for.
func withoutDefaults(cfg fault.Config) string {
	cfg.Dir, cfg.Seed = 0, 0
	if s := cfg.String(); s != "" {
		return s
	}
	return "drop=0"
}

// FaultCounters are what happened to a shard's frames in one direction.
type FaultCounters struct {
	Frames       uint64 `json:"frames"` // before any fault
	Dropped      uint64 `json:"dropped"`
	Corrupted    uint64 `json:"corrupted"`
	Duplicated   uint64 `json:"duplicated"`
	Reordered    uint64 `json:"reordered"`
	Delayed      uint64 `json:"delayed"`
	QueueDropped uint64 `json:"queue_dropped"` // at the bottleneck
	Overflowed   uint64 `json:"overflowed"`    // lost because too many were held back
}

func faultCounters(c fault.Counts) *FaultCounters {
	return &FaultCounters{
		Frames: c.Frames, Dropped: c.Dropped, Corrupted: c.Corrupted, Duplicated: c.Duplicated,
		Reordered: c.Reordered, Delayed: c.Delayed, QueueDropped: c.QueueDropped, Overflowed: c.Overflowed,
	}
}

// String has the faults that happened.
func (c *FaultCounters) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d frames", c.Frames)
	for _, n := range []struct {
		name  string
		value uint64
	}{
		{"dropped", c.Dropped}, {"corrupted", c.Corrupted}, {"duplicated", c.Duplicated}, {"reordered", c.Reordered},
		{"delayed", c.Delayed}, {"dropped at the bottleneck", c.QueueDropped}, {"held too many", c.Overflowed},
	} {
		if n.value > 0 {
			fmt.Fprintf(&b, ", %s %d", n.name, n.value)
		}
	}
	return b.String()
}
