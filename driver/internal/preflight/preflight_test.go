//go:build linux

package preflight

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/xdpprog"
	"shardnet/driver/netlab"
)

func TestCheck(t *testing.T) {
	a, _ := netlab.Pair(t,
		netlab.End{Name: "va", Addresses: []netip.Prefix{
			netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("2001:db8::1/64"),
		}},
		netlab.End{}, netlab.LinkConfig{Queues: 3, MTU: 1400})
	addrs := func(s ...string) (as []netip.Prefix) {
		for _, s := range s {
			a := netip.MustParseAddr(s)
			as = append(as, netip.PrefixFrom(a, a.BitLen()-8))
		}
		return as
	}
	for _, tt := range []struct {
		name string
		req  Request
		is   error
		text string
	}{
		{"all is well", Request{Interface: "va", Queues: 2, Addresses: addrs("198.18.0.2", "2001:db8::2")}, nil, ""},
		{"no such interface", Request{Interface: "nope"}, ErrNoInterface, `no such interface: "nope" (there are: lo, `},
		{"name too long", Request{Interface: strings.Repeat("x", 40)}, ErrNoInterface, "no such interface"},
		{"no name", Request{}, ErrNoInterface, "no such interface"},
		{"loopback", Request{Interface: "lo"}, ErrNotEthernet, "not an Ethernet interface: lo"},
		{"queues", Request{Interface: "va", Queues: 4}, ErrTooManyQueues, "more queues than the interface has: 4 asked for, va has 3"},
		{"host's v4", Request{Interface: "va", Addresses: addrs("198.18.0.2", "198.18.0.1")}, ErrHostAddress, "198.18.0.1 is configured on va"},
		{"host's v6", Request{Interface: "va", Addresses: addrs("2001:db8::1")}, ErrHostAddress, "2001:db8::1 is configured"},
		{"v4 as v6", Request{Interface: "va", Addresses: addrs("::ffff:198.18.0.2")}, ErrBadAddress, "write it as such: 198.18.0.2"},
		{"twice", Request{Interface: "va", Addresses: addrs("198.18.0.2", "198.18.0.2")}, ErrBadAddress, "198.18.0.2 is given twice"},
		{"twice with other lengths", Request{Interface: "va", Addresses: append(addrs("198.18.0.2"), netip.MustParsePrefix("198.18.0.2/16"))}, ErrBadAddress, "198.18.0.2 is given twice"},
		{"none", Request{Interface: "va"}, ErrBadAddress, "none is given"},
		{"zero", Request{Interface: "va", Addresses: []netip.Prefix{{}}}, ErrBadAddress, "the zero address"},
		{"too long a prefix", Request{Interface: "va", Addresses: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("198.18.0.2"), 33)}}, ErrBadAddress, "198.18.0.2 has no prefix length"},
		{"multicast", Request{Interface: "va", Addresses: addrs("ff02::1")}, ErrBadAddress, "ff02::1"},
		{"broadcast", Request{Interface: "va", Addresses: addrs("255.255.255.255")}, ErrBadAddress, "255.255.255.255"},
		{"unspecified", Request{Interface: "va", Addresses: addrs("0.0.0.0")}, ErrBadAddress, "0.0.0.0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var link *Link
			err := a.Host.Do(func() (err error) {
				link, err = Check(tt.req)
				return err
			})
			if !errors.Is(err, tt.is) || (err != nil && !strings.Contains(err.Error(), tt.text)) {
				t.Fatalf("Check gives %v, want %q", err, tt.text)
			}
			if err != nil {
				if strings.Contains(err.Error(), "\n") {
					t.Errorf("error is more than a line: %q", err)
				}
				return
			}
			want := Link{Name: "va", Index: a.Index, Kind: "veth", MAC: a.MAC, MTU: 1400, Up: true, Queues: 2}
			if link.MAC.String() != want.MAC.String() {
				t.Errorf("MAC is %v, want %v", link.MAC, want.MAC)
			}
			if link.Name != want.Name || link.Index != want.Index || link.Kind != want.Kind || link.MTU != want.MTU ||
				!link.Up || link.Queues != want.Queues || link.Program != 0 {
				t.Errorf("link is %+v, want %+v", *link, want)
			}
		})
	}
}

func TestCheckLinkDown(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{Name: "va"}, netlab.End{}, netlab.LinkConfig{Down: true})
	err := a.Host.Do(func() error {
		_, err := Check(Request{Interface: "va"})
		return err
	})
	if !errors.Is(err, driver.ErrLinkDown) || !strings.Contains(err.Error(), "ip link set va up") {
		t.Errorf("Check gives %v, want %v and what to do", err, driver.ErrLinkDown)
	}
}

// onThread runs f on a thread that is thrown away, so that it may give up what
// it is allowed to do.
func onThread(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		f()
	}()
	<-done
}

// keep leaves the thread with these capabilities alone.
func keep(bits ...int) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for _, b := range bits {
		data[b/32].Effective |= 1 << (b % 32)
		data[b/32].Permitted |= 1 << (b % 32)
	}
	return unix.Capset(&hdr, &data[0])
}

func TestCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives up capabilities one by one")
	}
	for _, tt := range []struct {
		name string
		keep []int
		want string
	}{
		{"all", []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF}, ""},
		{"admin for bpf", []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN}, ""},
		{"no bpf", []int{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, "lacks CAP_BPF ("},
		{"none", nil, "lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF ("},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onThread(t, func() {
				if err := keep(tt.keep...); err != nil {
					t.Errorf("give up capabilities: %v", err)
					return
				}
				err := Capabilities()
				if (err == nil) != (tt.want == "") || (err != nil && (!errors.Is(err, ErrNoPermission) || !strings.Contains(err.Error(), tt.want))) {
					t.Errorf("Capabilities gives %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func TestLockedMemory(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: gives up CAP_IPC_LOCK")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
		t.Fatal(err)
	}
	if err := LockedMemory(1 << 40); err != nil {
		t.Errorf("with CAP_IPC_LOCK: %v", err)
	}
	onThread(t, func() {
		if err := keep(); err != nil {
			t.Errorf("give up capabilities: %v", err)
			return
		}
		if err := LockedMemory(1); err != nil {
			t.Errorf("one byte, limit %d: %v", limit.Cur, err)
		}
		if limit.Cur >= 1<<40 {
			return // no limit to run into
		}
		if err := LockedMemory(1 << 40); !errors.Is(err, ErrLockedMemory) {
			t.Errorf("a TiB, limit %d: %v, want %v", limit.Cur, err, ErrLockedMemory)
		}
	})
}

func TestBindError(t *testing.T) {
	link := &Link{Name: "va"}
	for _, tt := range []struct {
		in       error
		zeroCopy bool
		is       error
	}{
		{unix.EBUSY, false, ErrQueueTaken},
		{unix.EOPNOTSUPP, true, ErrNoZeroCopy},
		{unix.ENOBUFS, false, ErrLockedMemory},
		{unix.EPERM, false, ErrNoPermission},
		{unix.ENODEV, false, ErrNoInterface},
		{unix.ENETDOWN, false, driver.ErrLinkDown},
		{unix.EINVAL, false, unix.EINVAL},
	} {
		err := BindError(tt.in, link, 3, tt.zeroCopy)
		if !errors.Is(err, tt.is) || !errors.Is(err, tt.in) || !strings.HasPrefix(err.Error(), "bind queue 3 of va: ") {
			t.Errorf("BindError(%v) = %v, want %v and the cause", tt.in, err, tt.is)
		}
	}
	if err := BindError(nil, link, 0, false); err != nil {
		t.Errorf("BindError(nil) = %v", err)
	}
}

func TestFrameSize(t *testing.T) {
	for _, tt := range []struct {
		mtu, frame int
	}{{1500, 2048}, {1774, 2048}, {1775, 4096}, {3822, 4096}, {3823, 0}, {9000, 0}} {
		got, err := FrameSize(tt.mtu)
		if got != tt.frame || (err != nil) != (tt.frame == 0) || (err != nil && !errors.Is(err, ErrMTU)) {
			t.Errorf("FrameSize(%d) = %d, %v, want %d", tt.mtu, got, err, tt.frame)
		}
	}
}

func TestProgramError(t *testing.T) {
	link := &Link{Name: "va"}
	for _, tt := range []struct{ in, is error }{
		{xdpprog.ErrBusy, ErrProgramExists},
		{xdpprog.ErrPrivilege, ErrNoPermission},
		{unix.ENODEV, ErrNoInterface},
		{xdpprog.ErrUnsupported, ErrNoXDP},
	} {
		if err := ProgramError(tt.in, link); !errors.Is(err, tt.is) || !errors.Is(err, tt.in) {
			t.Errorf("ProgramError(%v) = %v, want %v and the cause", tt.in, err, tt.is)
		}
	}
}
