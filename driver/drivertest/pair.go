package drivertest

import (
	"net/netip"
	"testing"
	"time"

	"shardnet/driver"
)

// Config is what the suite asks an opener for.
type Config struct {
	Queues int // of both ends

	// RxRing, TxRing and Frames are of A's queues, B has the driver's defaults.
	// Zero is the default. A driver that can't have just these takes the nearest
	// it can; the suite goes by Info and Stats.
	RxRing, TxRing, Frames int

	// AddrA and AddrB belong to the two ends: a device must receive all UDP
	// packets to its own.
	AddrA, AddrB netip.Prefix
}

// Pair is two opened devices at the ends of one cable.
type Pair struct {
	// A is the device under test. B hears it and answers, and is put through
	// much of the suite too; it may be of another driver.
	A, B driver.Device

	// Packets is how many packets the leak test moves; 0 is a million. A device
	// that pays a system call for each may ask for fewer. It is a tenth with
	// -short and under the race detector.
	Packets int

	// Uncounted says that the cable loses packets when overloaded and that
	// neither device can count them (a veth pair's own queue). Packets that are
	// not lost must still add up.
	Uncounted bool

	// Timeout bounds each thing that must happen soon; 0 is 20 seconds.
	Timeout time.Duration

	// SetLink, if the cable has such a thing, takes the link down and up.
	SetLink func(up bool) error
}

// OpenFunc opens a pair for one test. It fails the test when it can't. Each call
// opens the same two interfaces again, after those of the call before were
// closed; the suite closes what it was given.
type OpenFunc func(t *testing.T, cfg Config) Pair

// defaultTimeout is Pair.Timeout's default.
const defaultTimeout = 20 * time.Second
