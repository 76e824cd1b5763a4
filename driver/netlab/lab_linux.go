package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// shareDir makes nsDir a shared mount of its own, as "ip netns" does at its first
// use: done by that while a lab is alive, it would cover the lab's own mounts,
// which then could not be removed.
func shareDir() error {
	const shared = unix.MS_SHARED | unix.MS_REC
	err := unix.Mount("", nsDir, "none", shared, "")
	if errors.Is(err, unix.EINVAL) { // not a mount yet
		if err = unix.Mount(nsDir, nsDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", nsDir, "none", shared, "")
		}
	}
	if err != nil {
		return fmt.Errorf("make %s a shared mount: %w", nsDir, err)
	}
	return nil
}

// nsDir is where iproute2 keeps named namespaces.
const nsDir = "/run/netns"

// serial tells apart the labs of one process.
var serial atomic.Uint32

// ownName matches the namespaces this package makes; the group is the pid.
var ownName = regexp.MustCompile(`^sn-([0-9]+)-[0-9]+-`)

// Lab is a set of namespaces and the links between them. Its methods may be
// called from any goroutine.
type Lab struct {
	prefix string

	mu     sync.Mutex
	hosts  map[string]*Host
	closed bool
}

// New returns an empty lab, after removing what labs of processes that no longer
// live left behind. Processes are looked up by pid in the caller's pid
// namespace: labs of one host in several pid namespaces that share /run would
// take each other for dead.
func New() (*Lab, error) {
	if err := os.MkdirAll(nsDir, 0o755); err != nil {
		return nil, fmt.Errorf("make directory for namespaces: %w", err)
	}
	if err := shareDir(); err != nil {
		return nil, err
	}
	if err := sweep(); err != nil {
		return nil, fmt.Errorf("remove left-over namespaces: %w", err)
	}
	return &Lab{
		prefix: fmt.Sprintf("sn-%d-%d-", os.Getpid(), serial.Add(1)),
		hosts:  make(map[string]*Host),
	}, nil
}

// AddHost makes a namespace with its loopback up. IPv6 duplicate address
// detection and router solicitation are off, so that addresses work at once and
// the wire is quiet.
func (l *Lab) AddHost(name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errors.New("add host: lab is closed")
	}
	if l.hosts[name] != nil {
		return nil, fmt.Errorf("add host: %q exists", name)
	}
	h, err := newHost(l.prefix + name)
	if err != nil {
		return nil, fmt.Errorf("add host %q: %w", name, err)
	}
	l.hosts[name] = h
	return h, nil
}

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hosts[name]
}

// Close kills the processes started in the lab's hosts, and removes its
// interfaces and namespaces. It is idempotent. A namespace lives on, without
// a name and without links, while somebody else holds a socket in it.
func (l *Lab) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, h := range l.hosts {
		errs = append(errs, h.close())
	}
	return errors.Join(errs...)
}

// sweep removes the namespaces of dead processes.
func sweep() error {
	entries, err := os.ReadDir(nsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		m := ownName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		pid, err := strconv.Atoi(m[1])
		if err != nil || !errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			continue
		}
		// Another process may be sweeping too: what is gone already is fine, and
		// what can't be removed is no reason to fail a new lab.
		if ns, err := netns.GetFromName(e.Name()); err == nil {
			_ = deleteLinks(ns)
			_ = ns.Close()
		}
		_ = removeName(e.Name())
	}
	return nil
}

// deleteLinks removes the veth pairs of a namespace at once; the kernel would do
// so only some time after the namespace's last user is gone.
func deleteLinks(ns netns.NsHandle) error {
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	links, err := nl.LinkList()
	if err != nil {
		return err
	}
	var errs []error
	for _, link := range links {
		if link.Type() != "veth" {
			continue
		}
		if err := nl.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete %s: %w", link.Attrs().Name, err))
		}
	}
	return errors.Join(errs...)
}

// removeName takes a namespace's name away. One that is gone is no error.
func removeName(name string) error {
	path := filepath.Join(nsDir, name)
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
