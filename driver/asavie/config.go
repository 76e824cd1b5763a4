package asavie

import (
	"errors"
	"net/netip"
	"slices"

	"shardnet/driver/internal/preflight"
)

// Config is what to open. Interface is required, the zero value is right for the
// rest. There is no default interface, so nil is an error.
type Config struct {
	// Interface is the name of the NIC, in the network namespace of the calling
	// thread.
	Interface string

	// Queues is how many of its queues to open, from 0 up; 0 is all. What comes
	// in on the others goes to the kernel.
	Queues int

	// Addresses are those the stack owns, at least one, each with the prefix length
	// of its subnet: packets to them, and ARP and NDP for them, come to the queues;
	// all others go on to the kernel. They must not be the host's.
	Addresses []netip.Prefix

	// Mode is how frames are to pass; Auto is the best there is.
	Mode Mode

	// RxRing and TxRing are the entries of each queue's rings, powers of two; 0
	// is 2048. Frames is how many frames each queue owns, more than RxRing; 0 is
	// 2 * RxRing + TxRing.
	RxRing, TxRing, Frames int
}

// Mode is how frames pass between NIC and process. Whatever is asked for, what is
// in force is Info().Mode.
type Mode = preflight.Mode

// The modes. All but Auto are got exactly, or Open fails.
const (
	Auto     = preflight.Auto     // native if the NIC's driver has XDP, zero-copy if it has that
	ZeroCopy = preflight.ZeroCopy // native XDP, the NIC reads and writes the frames
	Copy     = preflight.Copy     // native XDP, the kernel copies
	Generic  = preflight.Generic  // XDP after the kernel has made its packet; any NIC
)

// resolve fills in what was left zero, and checks the rest but the interface.
func (c *Config) resolve() (Config, error) {
	if c == nil || c.Interface == "" {
		return Config{}, errors.New("no interface named")
	}
	r := *c
	r.Addresses = slices.Clone(c.Addresses)
	if err := preflight.Queue(&r.RxRing, &r.TxRing, &r.Frames, r.Mode); err != nil {
		return Config{}, err
	}
	return r, nil
}
