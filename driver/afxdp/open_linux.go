package afxdp

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/preflight"
	"shardnet/driver/internal/xdpprog"
	"shardnet/driver/internal/xskqueue"
	"shardnet/driver/wire"
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
	l, err := newLayout(c, link.MTU)
	if err != nil {
		return nil, err
	}
	if err := preflight.LockedMemory(link.Queues * l.total() * l.chunkSize); err != nil {
		return nil, err
	}
	modes := []Mode{c.Mode}
	if c.Mode == Auto {
		modes = []Mode{ZeroCopy, Copy, Generic}
	}
	var tried []error
	for _, m := range modes {
		d, err := openMode(c, link, l, m)
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

// oneBufferMTU is the largest MTU of which a driver may receive packets in one
// page: beside them and XDP's headroom it holds what socket buffers end with
// (skb_shared_info). veth can't tell more (veth_xdp_set).
const oneBufferMTU = 4096 - preflight.Headroom - 320 - wire.EthernetLen

// openMode opens the device in exactly one mode.
func openMode(c Config, link *preflight.Link, l layout, mode Mode) (_ *Device, err error) {
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
	if l.sg() {
		flags |= unix.XDP_USE_SG
	}
	prog, err := xdpprog.Attach(link.Index, attach, l.sg(), c.Addresses)
	if errors.Is(err, unix.ERANGE) && link.MTU > oneBufferMTU && mode == Copy {
		// The kernel gathers what is copied, if it is to be a chunk.
		prog, err = xdpprog.Attach(link.Index, attach, true, c.Addresses)
	}
	if err != nil {
		return nil, sgError(preflight.ProgramError(err, link), l, link)
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
			chunks: l.total(), chunkSize: l.chunkSize, rxRing: c.RxRing, txRing: c.TxRing, fillRing: c.RxRing,
			busyPoll: c.BusyPoll,
		})
		if err != nil {
			return nil, sgError(preflight.BindError(err, link, i, mode == ZeroCopy), l, link)
		}
		q := newQueue(s, l, link.MTU, mode == ZeroCopy)
		q.busyPoll = c.BusyPoll
		if err := q.Init(q, s.fd, s.file); err != nil {
			return nil, errors.Join(err, s.close())
		}
		if mode != ZeroCopy && link.Queues == 1 && !c.NoSegmentation {
			if q.segments, err = newSegmenter(link.Index); err != nil {
				return nil, errors.Join(err, q.Close())
			}
		}
		d.queues = append(d.queues, q)
		zero, err := xskqueue.IsZeroCopy(s.fd)
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
	d.info = link.Info("afxdp", mode)
	d.info.FrameSize, d.info.RxRing, d.info.TxRing = l.frameSize(), c.RxRing, c.TxRing
	d.info.Addresses = c.Addresses
	return d, nil
}

// sgError adds to an error what to do if it is for the MTU alone: packets in
// several descriptors are what an older kernel, or a NIC's driver, may refuse.
func sgError(err error, l layout, link *preflight.Link) error {
	remedy := fmt.Sprintf("ip link set %s mtu %d", link.Name, preflight.MaxFrameMTU)
	switch {
	case !l.sg():
		return err
	case errors.Is(err, ErrNoZeroCopy):
		return fmt.Errorf("%w (with several buffers a packet, as MTU %d takes; else: %s)", err, link.MTU, remedy)
	case errors.Is(err, ErrNoXDP), errors.Is(err, unix.EINVAL):
		return fmt.Errorf("%w: %d takes several buffers a packet, of Linux 6.6 and a NIC's driver that can (else: %s): %w", ErrMTU, link.MTU, remedy, err)
	}
	return err
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
