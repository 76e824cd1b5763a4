package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Host is one network namespace. Its methods may be called from any goroutine,
// until the lab is closed.
type Host struct {
	name string
	ns   netns.NsHandle
	nl   *netlink.Handle

	mu    sync.Mutex
	links int // names given to interfaces so far
	procs []*os.Process
}

func newHost(name string) (*Host, error) {
	h := &Host{name: name}
	err := onThread(nil, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare network namespace: %w", err)
		}
		var err error
		if h.ns, err = netns.GetFromPath("/proc/thread-self/ns/net"); err != nil {
			return fmt.Errorf("open network namespace: %w", err)
		}
		path := filepath.Join(nsDir, name)
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
		if err != nil {
			return err
		}
		f.Close()
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("name network namespace: %w", err)
		}
		quietIPv6()
		return nil
	})
	if err == nil {
		h.nl, err = netlink.NewHandleAt(h.ns, unix.NETLINK_ROUTE)
	}
	if err == nil {
		err = h.loopbackUp()
	}
	if err != nil {
		return nil, errors.Join(err, h.close())
	}
	return h, nil
}

// quietIPv6 sets the defaults for interfaces to come, in the calling thread's
// namespace. It is best effort, as /proc/sys may be read-only in a container:
// addresses are also added with IFA_F_NODAD.
func quietIPv6() {
	for _, kv := range [][2]string{
		{"disable_ipv6", "0"},
		{"accept_dad", "0"},
		{"accept_ra", "0"},
		{"router_solicitations", "0"},
	} {
		for _, scope := range []string{"all", "default"} {
			_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/"+kv[0], []byte(kv[1]), 0)
		}
	}
}

func (h *Host) loopbackUp() error {
	lo, err := h.nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := h.nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// Name is the namespace's name, as "ip netns exec" takes it.
func (h *Host) Name() string { return h.name }

// Do runs fn on a thread inside the namespace and returns what fn returns. Files,
// sockets and processes that fn itself opens belong to the namespace for good;
// goroutines that fn starts run outside. If fn ends its goroutine, as t.FailNow
// does, so does Do.
func (h *Host) Do(fn func() error) error {
	return onThread(&h.ns, fn)
}

// onThread runs fn on a thread of its own, inside ns unless nil, and puts the
// thread back where it was. A thread that can't be put back is not given back
// to the Go runtime, which then ends it: nothing else ever runs in the wrong
// namespace. That is why fn gets a goroutine of its own.
func onThread(ns *netns.NsHandle, fn func() error) error {
	var err error
	exited := true
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		var origin netns.NsHandle
		if origin, err = netns.GetFromPath("/proc/thread-self/ns/net"); err != nil {
			err = fmt.Errorf("open current network namespace: %w", err)
			exited = false
			runtime.UnlockOSThread()
			return
		}
		defer func() {
			if netns.Set(origin) == nil {
				runtime.UnlockOSThread()
			}
			_ = origin.Close()
		}()
		if ns != nil {
			if err = netns.Set(*ns); err != nil {
				err = fmt.Errorf("enter network namespace: %w", err)
				exited = false
				return
			}
		}
		err = fn()
		exited = false
	}()
	<-done
	if exited {
		runtime.Goexit()
	}
	return err
}

// Command is exec.Command, for Start.
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	return exec.Command(name, args...)
}

// Start starts cmd inside the namespace. The caller waits for it as usual; a
// process still alive when the lab closes is killed. Cmd.SysProcAttr.Pdeathsig
// must not be set: it fires when the starting thread ends, not the process.
func (h *Host) Start(cmd *exec.Cmd) error {
	if err := h.Do(cmd.Start); err != nil {
		return err
	}
	h.mu.Lock()
	h.procs = append(h.procs, cmd.Process)
	h.mu.Unlock()
	return nil
}

// Run starts cmd inside the namespace and waits for it.
func (h *Host) Run(cmd *exec.Cmd) error {
	if err := h.Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// Listen is net.Listen with a kernel socket of this host.
func (h *Host) Listen(network, address string) (ln net.Listener, err error) {
	err = h.Do(func() error {
		ln, err = net.Listen(network, address)
		return err
	})
	return ln, err
}

// ListenPacket is net.ListenPacket with a kernel socket of this host.
func (h *Host) ListenPacket(network, address string) (pc net.PacketConn, err error) {
	err = h.Do(func() error {
		pc, err = net.ListenPacket(network, address)
		return err
	})
	return pc, err
}

// Dial is net.Dialer.DialContext with a kernel socket of this host. The address
// must be an IP literal with a port: looking up names leaves the thread, and so
// the namespace. It holds a thread until connected.
func (h *Host) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	err = h.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Sysctl sets a key under /proc/sys of this host, written with dots or slashes:
// "net.ipv4.ip_local_port_range". Only keys under net are the host's own.
func (h *Host) Sysctl(key, value string) error {
	if !strings.ContainsRune(key, '/') {
		key = strings.ReplaceAll(key, ".", "/")
	}
	return h.Do(func() error {
		return os.WriteFile("/proc/sys/"+key, []byte(value), 0)
	})
}

// AddRoute adds a route to dst by way of a gateway.
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	route := &netlink.Route{Dst: ipNet(dst.Masked()), Gw: via.AsSlice()}
	if err := h.nl.RouteAdd(route); err != nil {
		return fmt.Errorf("add route to %s via %s: %w", dst, via, err)
	}
	return nil
}

// Netlink is a route netlink handle in this namespace, for what this package
// does not offer. It belongs to the host, which closes it.
func (h *Host) Netlink() *netlink.Handle { return h.nl }

func (h *Host) close() error {
	h.mu.Lock()
	for _, p := range h.procs {
		_ = p.Kill() // os.ErrProcessDone is the usual case
	}
	h.mu.Unlock()
	if h.nl != nil {
		h.nl.Close()
	}
	var errs []error
	if h.ns > 0 {
		errs = append(errs, deleteLinks(h.ns), h.ns.Close())
	}
	return errors.Join(append(errs, removeName(h.name))...)
}
