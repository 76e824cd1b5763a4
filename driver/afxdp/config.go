package afxdp

import (
	"errors"
	"net/netip"
	"slices"

	"shardnet/driver/internal/preflight"
)

// What keeps Open from opening. They come wrapped, with what they are about. An
// interface that is down is driver.ErrLinkDown.
var (
	ErrNoInterface   = preflight.ErrNoInterface
	ErrNotEthernet   = preflight.ErrNotEthernet
	ErrNoPermission  = preflight.ErrNoPermission
	ErrNoAFXDP       = preflight.ErrNoAFXDP
	ErrProgramExists = preflight.ErrProgramExists
	ErrTooManyQueues = preflight.ErrTooManyQueues
	ErrQueueTaken    = preflight.ErrQueueTaken
	ErrNoXDP         = preflight.ErrNoXDP
	ErrNoZeroCopy    = preflight.ErrNoZeroCopy
	ErrLockedMemory  = preflight.ErrLockedMemory
	ErrBadAddress    = preflight.ErrBadAddress
	ErrHostAddress   = preflight.ErrHostAddress
	ErrMTU           = preflight.ErrMTU

	// ErrNoBusyPoll: the kernel has no SO_PREFER_BUSY_POLL.
	ErrNoBusyPoll = errors.New("kernel can't prefer busy polling: it takes Linux 5.11; do without BusyPoll")
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
	// Their memory is 2 KiB each up to an MTU of 1774, 4 up to 3822; above, those
	// beyond 2 * RxRing have 8 or 12 KiB, which with the defaults makes 40 MiB a
	// queue at an MTU of 9000.
	RxRing, TxRing, Frames int

	// NoSegmentation sends every frame by the TX ring. Otherwise, in the modes
	// that copy and on an interface with one queue, TCP segments in a row leave as
	// one packet by a packet socket, which the kernel, or the NIC, cuts again: that
	// takes a bulk sender about half the time.
	NoSegmentation bool

	// BusyPoll moves the kernel's receive work for a queue from the interrupt to the
	// queue's owner, who does it in Receive (SO_PREFER_BUSY_POLL, Linux 5.11:
	// Documentation/networking/napi.rst). It keeps that work on the owner's CPU.
	// It takes effect where the interface's interrupts are held back, by its
	// napi_defer_hard_irqs and gro_flush_timeout in sysfs, which are the
	// operator's to set.
	BusyPoll bool
}

// Mode is how frames pass between NIC and process. Whatever is asked for, what is
// in force is Info().Mode.
type Mode = preflight.Mode

// The modes. All but Auto are got exactly, or Open fails.
const (
	Auto     = preflight.Auto     // the first of the following that works
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
