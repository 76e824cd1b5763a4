package asavie

import "shardnet/driver/internal/preflight"

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
	ErrNoZeroCopy    = preflight.ErrNoZeroCopy
	ErrLockedMemory  = preflight.ErrLockedMemory
	ErrBadAddress    = preflight.ErrBadAddress
	ErrHostAddress   = preflight.ErrHostAddress
	ErrMTU           = preflight.ErrMTU
)
