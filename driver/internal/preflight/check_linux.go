package preflight

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/xdpprog"
)

// Request is what a driver wants to open.
type Request struct {
	Interface string
	Queues    int // 0 is all the interface has
	Addresses []netip.Prefix

	// LockedBytes returns how much memory the kernel will count as locked for so
	// many queues; nil is none.
	LockedBytes func(queues int) int
}

// Check returns the interface, once all that r asks for is possible. The first
// thing that is not is the error.
func Check(r Request) (*Link, error) {
	if err := Capabilities(); err != nil {
		return nil, err
	}
	if err := Kernel(); err != nil {
		return nil, err
	}
	link, err := FindLink(r.Interface)
	if err != nil {
		return nil, err
	}
	if r.Queues < 0 {
		return nil, fmt.Errorf("%d queues asked for", r.Queues)
	}
	if r.Queues > link.Queues {
		return nil, fmt.Errorf("%w: %d asked for, %s has %d", ErrTooManyQueues, r.Queues, link.Name, link.Queues)
	}
	if r.Queues > 0 {
		link.Queues = r.Queues
	}
	if link.Queues > xdpprog.MaxQueues {
		return nil, fmt.Errorf("%w: %d, and the XDP program serves %d", ErrTooManyQueues, link.Queues, xdpprog.MaxQueues)
	}
	if link.Program != 0 {
		return nil, fmt.Errorf("%w: program %d on %s; stop whoever owns it (bpftool net tells), or: ip link set %s xdp off",
			ErrProgramExists, link.Program, link.Name, link.Name)
	}
	if !link.Up {
		return nil, fmt.Errorf("%w: %s; set it up: ip link set %s up", driver.ErrLinkDown, link.Name, link.Name)
	}
	if err := Addresses(r.Addresses); err != nil {
		return nil, err
	}
	if r.LockedBytes != nil {
		if err := LockedMemory(r.LockedBytes(link.Queues)); err != nil {
			return nil, err
		}
	}
	return link, nil
}

// Capabilities says which of the capabilities AF_XDP needs the process lacks:
// CAP_NET_RAW for the sockets, CAP_NET_ADMIN and CAP_BPF for the XDP program.
func Capabilities() error {
	var missing []string
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_NET_RAW, "CAP_NET_RAW"}, {unix.CAP_BPF, "CAP_BPF"}} {
		ok, err := has(c.bit)
		if err != nil {
			return err
		}
		if !ok && c.bit == unix.CAP_BPF {
			ok, err = has(unix.CAP_SYS_ADMIN) // what CAP_BPF was split from
			if err != nil {
				return err
			}
		}
		if !ok {
			missing = append(missing, c.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: the process lacks %s (run it as root, or give it these capabilities)",
			ErrNoPermission, strings.Join(missing, ", "))
	}
	return nil
}

// has reads the effective capabilities of the calling thread.
func has(bit int) (bool, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return false, fmt.Errorf("read capabilities: %w", err)
	}
	return data[bit/32].Effective&(1<<(bit%32)) != 0, nil
}

// Kernel says whether the kernel has AF_XDP.
func Kernel() error {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("%w: it is built without CONFIG_XDP_SOCKETS, or older than 4.18", ErrNoAFXDP)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: open AF_XDP socket: %w", ErrNoPermission, err)
	}
	return fmt.Errorf("open AF_XDP socket: %w", err)
}

// Addresses says whether a stack may own the addresses beside the host: at least one,
// each a unicast address, given once, that no interface of the host has. The host would
// otherwise lose what arrives for it.
func Addresses(addrs []netip.Prefix) error {
	if len(addrs) == 0 {
		return fmt.Errorf("%w: none is given, and nothing would come to the queues", ErrBadAddress)
	}
	for i, p := range addrs {
		switch a := p.Addr(); {
		case !a.IsValid():
			return fmt.Errorf("%w: the zero address", ErrBadAddress)
		case !p.IsValid():
			return fmt.Errorf("%w: %v has no prefix length, or one that is too long", ErrBadAddress, a)
		case a.Is4In6():
			return fmt.Errorf("%w: %v is an IPv4 address, write it as such: %v", ErrBadAddress, a, a.Unmap())
		case a.IsUnspecified(), a.IsMulticast(), a.IsLoopback(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			return fmt.Errorf("%w: %v", ErrBadAddress, a)
		case slices.ContainsFunc(addrs[:i], func(p netip.Prefix) bool { return p.Addr() == a }):
			return fmt.Errorf("%w: %v is given twice", ErrBadAddress, a)
		}
	}
	own, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the host's addresses: %w", err)
	}
	for _, o := range own {
		host, ok := netip.AddrFromSlice(o.IP)
		if !ok {
			continue
		}
		for _, a := range addrs {
			if a.Addr() == host.Unmap() {
				return fmt.Errorf("%w: %v is configured on %s, and the kernel would lose what comes for it; use another, or: ip addr del %v dev %s",
					ErrHostAddress, a.Addr(), interfaceName(o.LinkIndex), o.IPNet, interfaceName(o.LinkIndex))
			}
		}
	}
	return nil
}

func interfaceName(index int) string {
	if l, err := netlink.LinkByIndex(index); err == nil {
		return l.Attrs().Name
	}
	return fmt.Sprintf("interface %d", index)
}

// LockedMemory says whether the process may lock so many bytes more, as far as
// its limit tells. CAP_IPC_LOCK is above the limit.
func LockedMemory(bytes int) error {
	if ok, err := has(unix.CAP_IPC_LOCK); err != nil || ok {
		return err
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		return fmt.Errorf("read the limit of locked memory: %w", err)
	}
	if uint64(bytes) > limit.Cur {
		return fmt.Errorf("%w: the rings need %s, the limit is %s (raise it with ulimit -l, or use fewer queues or smaller rings)",
			ErrLockedMemory, kib(uint64(bytes)), kib(limit.Cur))
	}
	return nil
}

func kib(bytes uint64) string { return fmt.Sprintf("%d KiB", (bytes+1023)/1024) }

// ProgramError puts into words why the XDP program is not on the interface. It
// keeps err, for errors.Is.
func ProgramError(err error, link *Link) error {
	switch {
	case errors.Is(err, xdpprog.ErrBusy):
		return fmt.Errorf("%w on %s: %w (see: ip link show %s)", ErrProgramExists, link.Name, err, link.Name)
	case errors.Is(err, xdpprog.ErrPrivilege):
		return fmt.Errorf("%w: %w", ErrNoPermission, err)
	case errors.Is(err, xdpprog.ErrUnsupported):
		return fmt.Errorf("%w on %s: %w", ErrNoXDP, link.Name, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: %s: %w", ErrNoInterface, link.Name, err)
	}
	return err
}

// BindError puts into words why an AF_XDP socket could not be made and bound to
// a queue of the interface. It keeps err, for errors.Is.
func BindError(err error, link *Link, queue int, zeroCopy bool) error {
	where := fmt.Sprintf("queue %d of %s", queue, link.Name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("bind %s: %w by another socket: %w", where, ErrQueueTaken, err)
	case zeroCopy && errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("bind %s: %w in this interface's driver: %w", where, ErrNoZeroCopy, err)
	case errors.Is(err, unix.ENOBUFS):
		return fmt.Errorf("bind %s: %w: %w", where, ErrLockedMemory, err)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("bind %s: %w: %w", where, ErrNoPermission, err)
	case errors.Is(err, unix.ENETDOWN):
		return fmt.Errorf("bind %s: %w (ip link set %s up): %w", where, driver.ErrLinkDown, link.Name, err)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("bind %s: %w: %w", where, ErrNoInterface, err)
	case errors.Is(err, unix.EAFNOSUPPORT):
		return fmt.Errorf("bind %s: %w: %w", where, ErrNoAFXDP, err)
	}
	return fmt.Errorf("bind %s: %w", where, err)
}
