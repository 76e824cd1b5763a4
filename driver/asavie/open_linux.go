//go:build linux && amd64

package asavie

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"shardnet/driver/internal/preflight"
	"shardnet/driver/internal/xdpprog"
	"shardnet/driver/internal/xskqueue"
)

// bindPatience is how long a busy queue is tried: as long as the kernel may take
// to release one that was closed just before.
const bindPatience = time.Second

// Open opens queues of the interface and takes over the packets to the given
// addresses. Errors are single lines, and wrap one of the Err variables where one
// fits.
//
// It must be called, and its interface is looked up, in the network namespace
// the NIC is in; afterwards the device may be used from anywhere.
func Open(cfg *Config) (*Device, error) {
	d, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("open asavie device: %w", err)
	}
	return d, nil
}

func open(cfg *Config) (*Device, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	link, err := preflight.Check(preflight.Request{Interface: c.Interface, Queues: c.Queues, Addresses: c.Addresses})
	if err != nil {
		return nil, err
	}
	size, err := preflight.FrameSize(link.MTU)
	if err != nil {
		return nil, err
	}
	if err := preflight.LockedMemory(link.Queues * c.Frames * size); err != nil {
		return nil, err
	}
	mode := c.Mode
	if mode != Auto {
		return openMode(c, link, size, mode)
	}
	// Native XDP without a wish: the kernel then takes zero-copy where it can.
	d, err := openMode(c, link, size, Auto)
	if errors.Is(err, xdpprog.ErrUnsupported) || errors.Is(err, unix.EOPNOTSUPP) {
		return openMode(c, link, size, Generic)
	}
	return d, err
}

// openMode opens the device in exactly one mode; Auto is native XDP, copied or
// not.
func openMode(c Config, link *preflight.Link, size int, mode Mode) (_ *Device, err error) {
	opts := xdp.SocketOptions{
		NumFrames:        c.Frames,
		FrameSize:        size,
		FillRingNumDescs: c.RxRing,
		// Room for all frames: completions are taken in bulk.
		CompletionRingNumDescs: 1 << bits.Len(uint(c.Frames-1)),
		RxRingNumDescs:         c.RxRing,
		TxRingNumDescs:         c.TxRing,
	}
	rings, err := newRingMaps(opts)
	if err != nil {
		return nil, err
	}
	attach := xdpprog.Native
	if mode == Generic {
		attach = xdpprog.Generic
	}
	prog, err := xdpprog.Attach(link.Index, attach, false, c.Addresses)
	if err != nil {
		return nil, preflight.ProgramError(err, link)
	}
	d := &Device{program: prog}
	defer func() {
		if err != nil {
			_ = d.Close() // the error that matters is err
		}
	}()
	zero := 0
	for i := range link.Queues {
		s, err := openSocket(link.Index, i, bindFlags(mode), opts, rings, time.Now().Add(bindPatience))
		if err != nil {
			return nil, preflight.BindError(err, link, i, mode == ZeroCopy)
		}
		q, err := newQueue(s, link.MTU)
		if err != nil {
			return nil, errors.Join(err, s.close(false))
		}
		d.queues = append(d.queues, q)
		z, err := xskqueue.IsZeroCopy(s.fd)
		if err != nil {
			return nil, fmt.Errorf("ask queue %d for its mode: %w", i, err)
		}
		if z {
			zero++
		}
	}
	if mode, err = modeInForce(mode, zero, link.Queues); err != nil {
		return nil, err
	}
	// Only now, when every queue is there, is traffic taken from the kernel.
	for i, q := range d.queues {
		if err := prog.SetSocket(i, q.sock.fd); err != nil {
			return nil, err
		}
	}
	d.info = link.Info("asavie", mode)
	d.info.FrameSize, d.info.RxRing, d.info.TxRing = size, c.RxRing, c.TxRing
	d.info.Addresses = c.Addresses
	return d, nil
}

// bindFlags returns what to ask the kernel for. Without a flag it takes zero-copy
// where the NIC's driver has it, and copies where not.
func bindFlags(m Mode) uint16 {
	switch m {
	case ZeroCopy:
		return unix.XDP_ZEROCOPY
	case Copy, Generic:
		return unix.XDP_COPY
	}
	return 0
}

// modeInForce returns what the mode asked for and the sockets came to.
func modeInForce(asked Mode, zeroCopy, queues int) (Mode, error) {
	got := Copy
	switch {
	case asked == Generic:
		got = Generic
	case zeroCopy == queues:
		got = ZeroCopy
	case zeroCopy > 0:
		return 0, fmt.Errorf("%d of %d queues are zero-copy: there is no name for such a mode", zeroCopy, queues)
	}
	if asked != Auto && asked != got {
		return 0, fmt.Errorf("mode is %v: %w", got, ErrNoZeroCopy)
	}
	return got, nil
}
