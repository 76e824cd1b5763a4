package afxdp

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/preflight"
	"shardnet/driver/internal/xdpprog"
	"shardnet/driver/internal/xskwait"
)

// Device is an opened NIC, a driver.Device.
type Device struct {
	info    driver.Info
	program *xdpprog.Program
	queues  []*queue

	closeOnce sync.Once
	closeErr  error
}

// Open opens queues of the interface and takes over the packets to the given
// addresses. Errors are single lines, and wrap one of the Err variables where one
// fits.
//
// It must be called, and its interface is looked up, in the network namespace
// the NIC is in; afterwards the device may be used from anywhere.
func Open(cfg *Config) (*Device, error) {
	d, err := open(cfg)
	if err != nil {
		return nil, fmt.Errorf("open AF_XDP device: %w", err)
	}
	return d, nil
}

func open(cfg *Config) (*Device, error) {
	c, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	link, err := preflight.Check(preflight.Request{
		Interface: c.Interface,
		Queues:    c.Queues,
		Addresses: c.Addresses,
	})
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
	modes := []Mode{c.Mode}
	if c.Mode == Auto {
		modes = []Mode{ZeroCopy, Copy, Generic}
	}
	var tried []error
	for _, m := range modes {
		d, err := openMode(c, link, size, m)
		if err == nil {
			return d, nil
		}
		tried = append(tried, fmt.Errorf("%v: %w", m, err))
		if !notSupported(err) {
			break
		}
	}
	// The last is what stands in the way: those before it are only not supported.
	return nil, tried[len(tried)-1]
}

// notSupported reports whether a lesser mode may do what err says can't be done.
func notSupported(err error) bool {
	return errors.Is(err, ErrNoXDP) || errors.Is(err, ErrNoZeroCopy) || errors.Is(err, unix.EOPNOTSUPP)
}

// openMode opens the device in exactly one mode.
func openMode(c Config, link *preflight.Link, size int, mode Mode) (_ *Device, err error) {
	attach, flags := xdpprog.Native, uint16(unix.XDP_USE_NEED_WAKEUP)
	switch mode {
	case ZeroCopy:
		flags |= unix.XDP_ZEROCOPY
	case Generic:
		attach = xdpprog.Generic
		fallthrough
	case Copy:
		flags |= unix.XDP_COPY
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
	for i := range link.Queues {
		s, err := openSocket(socketConfig{
			ifindex: link.Index, queue: i, flags: flags,
			frames: c.Frames, frameSize: size, rxRing: c.RxRing, txRing: c.TxRing, fillRing: c.RxRing,
		})
		if err != nil {
			return nil, preflight.BindError(err, link, i, mode == ZeroCopy)
		}
		q := newQueue(s, size, link.MTU, mode == ZeroCopy)
		if q.waiter, err = xskwait.New(s.file, q.received); err != nil {
			return nil, errors.Join(err, s.close())
		}
		d.queues = append(d.queues, q)
		zero, err := isZeroCopy(s.fd)
		if err != nil {
			return nil, fmt.Errorf("ask queue %d for its mode: %w", i, err)
		}
		if zero != (mode == ZeroCopy) {
			return nil, fmt.Errorf("queue %d of %s: %w", i, link.Name, ErrNoZeroCopy)
		}
	}
	// Only now, when every queue is there, is traffic taken from the kernel.
	for i, q := range d.queues {
		if err := prog.SetSocket(i, q.sock.fd); err != nil {
			return nil, err
		}
	}
	d.info = driver.Info{
		Driver:    "afxdp",
		Interface: link.Name,
		Mode:      mode.String(),
		MAC:       link.MAC,
		MTU:       link.MTU,
		Queues:    link.Queues,
		FrameSize: size,
		RxRing:    c.RxRing,
		TxRing:    c.TxRing,
		Offloads:  driver.Offloads{RxChecksumPartial: link.ChecksumPartial()},
		RSS:       link.RSS(),
	}
	return d, nil
}

// Info implements driver.Device.
func (d *Device) Info() driver.Info { return d.info }

// Queue implements driver.Device.
func (d *Device) Queue(i int) driver.Queue { return d.queues[i] }

// Close takes the XDP program off the interface, which from then on is all the
// kernel's, and closes the queues. It is idempotent.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		errs := []error{d.program.Close()}
		for _, q := range d.queues {
			errs = append(errs, q.Close())
		}
		d.closeErr = errors.Join(errs...)
	})
	return d.closeErr
}
