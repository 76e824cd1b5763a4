package xdpprog

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where in the kernel's receive path the program runs.
type Mode int

const (
	// Native runs in the interface's driver, before the kernel has made a packet
	// of the frame.
	Native Mode = iota
	// Generic runs after that, on every interface, at the price of a copy.
	Generic
)

func (m Mode) String() string {
	if m == Generic {
		return "generic"
	}
	return "native"
}

var (
	// ErrBusy: another XDP program is on the interface.
	ErrBusy = errors.New("another XDP program is in place")
	// ErrPrivilege: the process may not load or attach it.
	ErrPrivilege = errors.New("not permitted")
	// ErrUnsupported: the kernel or the interface's driver can't.
	ErrUnsupported = errors.New("not supported")
)

// MaxQueues is how many queues the program serves.
const MaxQueues = 128

// Program is the program on one interface. Its methods are not safe for
// concurrent use.
type Program struct {
	objs   bpfObjects
	link   link.Link
	groups *groups
}

// Counts are how many frames the program saw.
type Counts struct {
	Passed     uint64 // to the kernel: not the stack's
	Redirected uint64 // to a socket
	Unbound    uint64 // the stack's, but passed to the kernel: their queue has no socket
}

// Attach loads the program, tells it the addresses it redirects, and attaches it
// to an interface of the calling thread's network namespace. Nothing is
// redirected before SetSocket. The interface also joins the solicited-node
// multicast groups of the IPv6 addresses, so that its filter lets neighbor
// solicitations for them through.
//
// With frags the program also takes frames in several buffers, as a large MTU
// needs (Linux 5.18); it finds what it looks at in the first of them. Without,
// it loads on older kernels as well.
func Attach(ifindex int, mode Mode, frags bool, owned []netip.Prefix) (*Program, error) {
	p := new(Program)
	if err := p.load(frags); err != nil {
		return nil, fmt.Errorf("load XDP program: %w", classify(err))
	}
	err := p.attach(ifindex, mode, owned)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load is loadBpfObjects with the flags that section "xdp.frags" would set: the
// same object serves both.
func (p *Program) load(frags bool) error {
	spec, err := loadBpf()
	if err != nil {
		return err
	}
	if frags {
		spec.Programs[bpfProgShardnetXdp].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	return spec.LoadAndAssign(&p.objs, nil)
}

func (p *Program) attach(ifindex int, mode Mode, owned []netip.Prefix) (err error) {
	for _, a := range owned {
		if err := p.own(a.Addr()); err != nil {
			return fmt.Errorf("tell XDP program of %v: %w", a.Addr(), err)
		}
	}
	if p.groups, err = joinSolicited(ifindex, owned); err != nil {
		return err
	}
	flags := link.XDPDriverMode
	if mode == Generic {
		flags = link.XDPGenericMode
	}
	l, err := link.AttachXDP(link.XDPOptions{Program: p.objs.ShardnetXdp, Interface: ifindex, Flags: flags})
	if err != nil {
		return fmt.Errorf("attach XDP program in %v mode: %w", mode, classify(err))
	}
	p.link = l
	return nil
}

func (p *Program) own(a netip.Addr) error {
	if a = a.Unmap(); a.Is4() {
		return p.objs.Owned4.Put(a.As4(), uint8(1))
	}
	return p.objs.Owned6.Put(a.As16(), uint8(1))
}

// SetSocket redirects what comes in on queue to the AF_XDP socket fd, which must
// be bound to that queue. The kernel forgets the socket when it is closed.
func (p *Program) SetSocket(queue, fd int) error {
	if err := p.objs.Xsks.Put(uint32(queue), uint32(fd)); err != nil {
		return fmt.Errorf("redirect queue %d: %w", queue, err)
	}
	return nil
}

// Counts returns the sums over all CPUs.
func (p *Program) Counts() (Counts, error) {
	var sums [3]uint64
	for i := range sums {
		var perCPU []uint64
		if err := p.objs.Counters.Lookup(uint32(i), &perCPU); err != nil {
			return Counts{}, fmt.Errorf("read XDP program's counters: %w", err)
		}
		for _, n := range perCPU {
			sums[i] += n
		}
	}
	return Counts{Passed: sums[0], Redirected: sums[1], Unbound: sums[2]}, nil
}

// Close takes the program off the interface, and the interface out of the groups.
// An interface that is gone has none.
func (p *Program) Close() error {
	var errs []error
	if p.link != nil {
		errs = append(errs, p.link.Close())
	}
	return errors.Join(append(errs, p.groups.leave(), p.objs.Close())...)
}

// classify adds what a caller can act on to an error of the kernel's.
func classify(err error) error {
	switch {
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%w: %w", ErrBusy, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", ErrPrivilege, err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: too few receive queues (a veth needs as many as its other end has to send): %w", ErrUnsupported, err)
	case errors.Is(err, unix.ERANGE):
		return fmt.Errorf("%w: too large an MTU (a veth's other end counts): %w", ErrUnsupported, err)
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL), errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	return err
}
