package preflight

import "errors"

// What can be in the way. Each is wrapped in an error that names the interface,
// queue, address or figure it is about.
var (
	ErrNoInterface   = errors.New("no such interface")
	ErrNotEthernet   = errors.New("not an Ethernet interface")
	ErrNoPermission  = errors.New("not permitted")
	ErrNoAFXDP       = errors.New("kernel has no AF_XDP")
	ErrProgramExists = errors.New("another XDP program is in place")
	ErrTooManyQueues = errors.New("more queues than the interface has")
	ErrQueueTaken    = errors.New("queue is taken")
	ErrNoXDP         = errors.New("no XDP in that mode")
	ErrNoZeroCopy    = errors.New("no zero-copy")
	ErrLockedMemory  = errors.New("too little locked memory allowed")
	ErrBadAddress    = errors.New("not an address a stack can own")
	ErrHostAddress   = errors.New("address is the host's own")
	ErrMTU           = errors.New("MTU is too large for a frame")
)
