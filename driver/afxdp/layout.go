package afxdp

import (
	"fmt"

	"shardnet/driver/internal/preflight"
)

const (
	// jumboChunk is the chunk of a UMEM whose packets may take several: a page,
	// the most the kernel takes.
	jumboChunk = 4096
	// maxSpan bounds the chunks of a packet. NICs receive into few: three hold
	// the MTUs in use, 9000 and somewhat above.
	maxSpan = 3
)

// layout is how a queue's UMEM is divided: frames of one chunk first, then, where
// the MTU needs them, frames of several. A chunk is what the kernel fills or sends
// with one descriptor.
type layout struct {
	chunkSize int
	chunks    int // frames of one chunk
	jumbos    int // frames of span chunks, side by side
	span      int // 1 without jumbos
}

// newLayout divides c.Frames frames. With jumbos half of those beyond the RX ring
// are such, and all beyond twice the RX ring.
func newLayout(c Config, mtu int) (layout, error) {
	if size, err := preflight.FrameSize(mtu); err == nil {
		return layout{chunkSize: size, chunks: c.Frames, span: 1}, nil
	}
	const room = jumboChunk - preflight.Headroom // for what is received
	packet := preflight.MaxHeader + mtu
	span := (packet + room - 1) / room
	if span > maxSpan {
		return layout{}, fmt.Errorf("%w: %d, at most %d (lower it: ip link set ... mtu)",
			ErrMTU, mtu, maxSpan*room-preflight.MaxHeader)
	}
	if c.RxRing < span || c.TxRing < span {
		return layout{}, fmt.Errorf("rings of %d and %d entries, and a packet of MTU %d takes %d", c.RxRing, c.TxRing, mtu, span)
	}
	chunks := c.RxRing + min(c.RxRing, (c.Frames-c.RxRing)/2)
	return layout{chunkSize: jumboChunk, chunks: chunks, jumbos: c.Frames - chunks, span: span}, nil
}

// sg reports whether packets may take several descriptors, which the kernel must
// be asked for (XDP_USE_SG).
func (l layout) sg() bool { return l.span > 1 }

// total is how many chunks the UMEM has.
func (l layout) total() int { return l.chunks + l.jumbos*l.span }

// frameSize is how many bytes a frame from Alloc holds.
func (l layout) frameSize() int { return l.span * l.chunkSize }
