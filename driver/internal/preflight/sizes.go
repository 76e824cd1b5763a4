package preflight

import (
	"fmt"

	"shardnet/driver/wire"
)

// Bounds of an AF_XDP queue.
const (
	defaultRing = 2048
	maxRing     = 1 << 15
	maxFrames   = 8 * maxRing
)

// Headroom is what the kernel leaves free before a received frame
// (XDP_PACKET_HEADROOM).
const Headroom = 256

// MaxHeader is the longest link-layer header, which the MTU does not count.
const MaxHeader = wire.EthernetLen + wire.VLANLen

// MaxFrameMTU is the largest MTU whose packets FrameSize's frames hold.
const MaxFrameMTU = 4096 - Headroom - MaxHeader

// Queue fills in what a driver's user left zero: rings of 2048 entries, frames for two RX
// rings and a TX ring. It says whether an AF_XDP queue can have such rings and so many
// frames, and whether there is such a mode.
func Queue(rx, tx, frames *int, mode Mode) error {
	for _, ring := range []*int{rx, tx} {
		if *ring == 0 {
			*ring = defaultRing
		}
	}
	if *frames == 0 {
		*frames = 2**rx + *tx
	}
	if mode > Generic {
		return fmt.Errorf("unknown mode %d", mode)
	}
	return rings(*rx, *tx, *frames)
}

func rings(rx, tx, frames int) error {
	for _, ring := range []struct {
		name string
		size int
	}{{"RX", rx}, {"TX", tx}} {
		if n := ring.size; n < 1 || n > maxRing || n&(n-1) != 0 {
			return fmt.Errorf("%s ring of %d entries, want a power of two up to %d", ring.name, n, maxRing)
		}
	}
	if frames <= rx || frames > maxFrames {
		return fmt.Errorf("%d frames a queue, want more than the RX ring's %d, up to %d", frames, rx, maxFrames)
	}
	return nil
}

// FrameSize returns the size of a frame's memory that an MTU needs: the kernel
// takes 2048 or 4096, a page.
func FrameSize(mtu int) (int, error) {
	for _, size := range []int{2048, 4096} {
		if Headroom+MaxHeader+mtu <= size {
			return size, nil
		}
	}
	return 0, fmt.Errorf("%w: %d, at most %d (lower it: ip link set ... mtu)", ErrMTU, mtu, MaxFrameMTU)
}
