package afxdp

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/wiretest"
	"shardnet/driver/netlab"
)

// openIn opens in the interface's namespace.
func openIn(i *netlab.Interface, cfg Config) (dev *Device, err error) {
	if cfg.Addresses == nil {
		cfg.Addresses = addresses("198.18.0.200") // any
	}
	if cfg.Interface == "" {
		cfg.Interface = i.Name
	}
	err = i.Host.Do(func() (err error) {
		dev, err = Open(&cfg)
		return err
	})
	return dev, err
}

// addresses are those of s, in subnets of 256.
func addresses(s ...string) (as []netip.Prefix) {
	for _, s := range s {
		a := netip.MustParseAddr(s)
		as = append(as, netip.PrefixFrom(a, a.BitLen()-8))
	}
	return as
}

func TestOpenErrors(t *testing.T) {
	host := netip.MustParsePrefix("198.18.0.1/24")
	a, _ := netlab.Pair(t, netlab.End{Addresses: []netip.Prefix{host}}, netlab.End{}, netlab.LinkConfig{Queues: 2})
	for _, tt := range []struct {
		name string
		cfg  Config
		is   error // nil: text alone
		text string
	}{
		{"interface", Config{Interface: "nope"}, ErrNoInterface, `no such interface: "nope" (there are: lo, `},
		{"queues", Config{Queues: 3}, ErrTooManyQueues, "3 asked for"},
		{"host's address", Config{Addresses: addresses("198.18.0.1")}, ErrHostAddress, "198.18.0.1"},
		{"ring", Config{RxRing: 100}, nil, "RX ring of 100 entries, want a power of two"},
		{"negative ring", Config{TxRing: -1}, nil, "TX ring of -1 entries"},
		{"frames", Config{RxRing: 64, Frames: 64}, nil, "64 frames a queue, want more than the RX ring's 64"},
		{"mode", Config{Mode: 9}, nil, "unknown mode 9"},
		{"zero-copy on veth", Config{Mode: ZeroCopy}, ErrNoZeroCopy, "queue 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dev, err := openIn(a, tt.cfg)
			if err == nil {
				dev.Close()
				t.Fatal("Open succeeds")
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("error is not %v: %v", tt.is, err)
			}
			if !strings.HasPrefix(err.Error(), "open AF_XDP device: ") || !strings.Contains(err.Error(), tt.text) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want a line with %q", err, tt.text)
			}
		})
	}
	if _, err := Open(nil); err == nil || err.Error() != "open AF_XDP device: no interface named" {
		t.Errorf("Open(nil) gives %v", err)
	}
	// None of the failures has left anything behind that is in the way.
	dev, err := openIn(a, Config{Addresses: addresses("198.18.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenTwice(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: 2})
	first, err := openIn(a, Config{Addresses: addresses("198.18.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if dev, err := openIn(a, Config{Addresses: addresses("198.18.0.3")}); !errors.Is(err, ErrProgramExists) {
		if err == nil {
			dev.Close()
		}
		t.Errorf("second Open gives %v, want %v", err, ErrProgramExists)
	}
}

func TestOpenQueueTaken(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: 2})
	var s *socket
	err := a.Host.Do(func() (err error) {
		s, err = openSocket(socketConfig{
			ifindex: a.Index, queue: 1, flags: unix.XDP_COPY, chunks: 64, chunkSize: 2048, rxRing: 32, txRing: 32, fillRing: 32,
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = openIn(a, Config{})
	if !errors.Is(err, ErrQueueTaken) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "queue 1") {
		t.Errorf("Open gives %v, want %v on queue 1", err, ErrQueueTaken)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	dev, err := openIn(a, Config{})
	if err != nil {
		t.Fatalf("Open of a queue just given up: %v", err)
	}
	dev.Close()
}

// TestRebind opens and closes the same queues over and over: nothing is left that
// keeps them.
func TestRebind(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	for i := range 100 {
		dev, err := openIn(a, Config{Addresses: addresses("198.18.0.2"), RxRing: 64, TxRing: 64, Mode: Copy})
		if err != nil {
			t.Fatalf("open %d: %v", i, err)
		}
		if err := dev.Close(); err != nil {
			t.Fatalf("close %d: %v", i, err)
		}
		if err := dev.Close(); err != nil {
			t.Fatalf("second close %d: %v", i, err)
		}
	}
	link, err := a.Host.Netlink().LinkByName(a.Name)
	if err != nil {
		t.Fatal(err)
	}
	if x := link.Attrs().Xdp; x != nil && x.Attached {
		t.Error("an XDP program is left on the interface")
	}
}

// TestLinkDown sets the interface down and up: Flush says so, and what waits in
// the ring leaves later.
func TestLinkDown(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	da, err := openIn(a, Config{Addresses: addresses("198.18.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	defer da.Close()
	db, err := openIn(b, Config{Addresses: addresses("198.18.0.2")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := a.SetDown(); err != nil {
		t.Fatal(err)
	}
	frame := wiretest.UDPFrame(t, da.Info().MAC, db.Info().MAC, "198.18.0.1", "198.18.0.2", 100)
	q := da.Queue(0)
	fs := make([]driver.Frame, 1)
	if q.Alloc(fs) != 1 {
		t.Fatal("no frame")
	}
	fs[0].Data = append(fs[0].Data, frame...)
	if n, err := q.Transmit(fs); n != 1 || err != nil {
		t.Fatalf("Transmit: %d, %v", n, err)
	}
	if err := q.Flush(); !errors.Is(err, driver.ErrLinkDown) {
		t.Errorf("Flush gives %v, want %v", err, driver.ErrLinkDown)
	}
	if err := a.SetUp(); err != nil {
		t.Fatal(err)
	}
	if err := a.WaitUp(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := wiretest.ReceiveOne(t, db.Queue(0)); string(got) != string(frame) {
		t.Errorf("received %d bytes, want the %d that waited", len(got), len(frame))
	}
}

func TestInfo(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{Queues: 2})
	for _, tt := range []struct {
		ask  Mode
		want string
	}{{Auto, "native copy"}, {Copy, "native copy"}, {Generic, "generic copy"}} {
		dev, err := openIn(a, Config{Mode: tt.ask, Queues: 1})
		if err != nil {
			t.Fatalf("%v: %v", tt.ask, err)
		}
		info := dev.Info()
		if want := addresses("198.18.0.200"); !slices.Equal(info.Addresses, want) {
			t.Errorf("redirects packets to %v, want %v", info.Addresses, want)
		}
		if info.Driver != "afxdp" || info.Interface != a.Name || info.Mode != tt.want || info.Queues != 1 ||
			info.MAC.String() != a.MAC.String() || !info.Offloads.RxChecksumPartial || info.RSS != nil {
			t.Errorf("%v: Info is %+v, want mode %s, 1 queue", tt.ask, info, tt.want)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSocketsAreNotInherited holds that a child process does not keep the queue.
func TestSocketsAreNotInherited(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	dev, err := openIn(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	flags, err := unix.FcntlInt(uintptr(dev.queues[0].sock.fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: not close-on-exec", flags, err)
	}
}

// TestDeviceGone removes the interface under the driver.
func TestDeviceGone(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	dev, err := openIn(a, Config{})
	if err != nil {
		t.Fatal(err)
	}
	q := dev.Queue(0)
	errs := make(chan error, 1)
	go func() { // asleep when it happens
		for {
			if err := q.Wait(-1); err != nil {
				errs <- err
				return
			}
		}
	}()
	if err := b.Delete(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-errs:
		if !errors.Is(err, driver.ErrDeviceGone) {
			t.Errorf("Wait gives %v, want %v", err, driver.ErrDeviceGone)
		}
	case <-time.After(10 * time.Second):
		t.Error("Wait sleeps on after the interface was removed")
		q.Wake()
	}
	for name, call := range map[string]func() error{
		"Flush": q.Flush,
		"Wait":  func() error { return q.Wait(0) },
		"Receive": func() error {
			_, err := q.Receive(make([]driver.Frame, 1))
			return err
		},
		"Transmit": func() error {
			_, err := q.Transmit(make([]driver.Frame, 1))
			return err
		},
	} {
		if err := call(); !errors.Is(err, driver.ErrDeviceGone) {
			t.Errorf("%s gives %v, want %v", name, err, driver.ErrDeviceGone)
		}
	}
	if err := dev.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestOpenNativeRefused opens a veth whose other end has more queues to send, or a
// larger MTU, than native XDP takes: Auto is the best there is all the same, and
// says what it is.
func TestOpenNativeRefused(t *testing.T) {
	lab := netlab.Test(t)
	host, err := lab.AddHost("a")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(v *netlink.Veth){
		"queues": func(v *netlink.Veth) { v.PeerNumTxQueues = 2 },
		"MTU":    func(v *netlink.Veth) { v.PeerMTU = 9000 },
	} {
		t.Run(name, func(t *testing.T) {
			attrs := netlink.NewLinkAttrs()
			attrs.Name, attrs.NumRxQueues, attrs.NumTxQueues = "va", 1, 1
			veth := netlink.NewVeth(attrs)
			veth.PeerName = "vb"
			change(veth)
			nl := host.Netlink()
			if err := nl.LinkAdd(veth); err != nil {
				t.Fatal(err)
			}
			defer nl.LinkDel(veth)
			if err := nl.LinkSetUp(veth); err != nil {
				t.Fatal(err)
			}
			va := &netlab.Interface{Host: host, Name: "va"}
			dev, err := openIn(va, Config{Mode: Copy})
			if !errors.Is(err, ErrNoXDP) || !strings.Contains(err.Error(), name) {
				if err == nil {
					dev.Close()
				}
				t.Errorf("Open in native mode gives %v, want %v and %q", err, ErrNoXDP, name)
			}
			if dev, err = openIn(va, Config{}); err != nil {
				t.Fatal(err)
			}
			if got := dev.Info().Mode; got != "generic copy" {
				t.Errorf("mode is %q", got)
			}
			if err := dev.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDroppedWithoutClose holds that the memory of a device nobody closed is not
// the collector's, as the kernel may still write there, and that of a closed one
// is.
func TestDroppedWithoutClose(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	collected := make(chan struct{})
	var fd int
	func() {
		dev, err := openIn(a, Config{RxRing: 64, TxRing: 64})
		if err != nil {
			t.Fatal(err)
		}
		s := dev.queues[0].sock
		fd = s.fd
		runtime.AddCleanup(&s.umem[0], func(c chan struct{}) { close(c) }, collected)
	}()
	for range 5 {
		runtime.GC()
	}
	select {
	case <-collected:
		t.Fatal("the memory of an open device was collected")
	default:
	}
	pinned.Lock()
	var s *socket
	for p := range pinned.sockets {
		if p.fd == fd {
			s = p
		}
	}
	pinned.Unlock()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	s = nil
	for end := time.Now().Add(5 * time.Second); ; {
		runtime.GC()
		select {
		case <-collected:
			return
		default:
		}
		if time.Now().After(end) {
			t.Fatal("the memory of a closed device is never collected")
		}
	}
}
