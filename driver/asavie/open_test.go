//go:build linux && amd64

package asavie

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

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
		{"interface", Config{Interface: "nope"}, ErrNoInterface, `no such interface: "nope"`},
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
			if !strings.HasPrefix(err.Error(), "open asavie device: ") || !strings.Contains(err.Error(), tt.text) ||
				strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %q, want a line with %q", err, tt.text)
			}
		})
	}
	if _, err := Open(nil); err == nil || err.Error() != "open asavie device: no interface named" {
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
	rings, err := newRingMaps(testSocketOptions)
	if err != nil {
		t.Fatal(err)
	}
	var s *socket
	err = a.Host.Do(func() (err error) {
		s, err = openSocket(a.Index, 1, unix.XDP_COPY, testSocketOptions, rings, time.Now())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	before := countMaps(t, rings)
	_, err = openIn(a, Config{})
	if !errors.Is(err, ErrQueueTaken) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "queue 1") {
		t.Errorf("Open gives %v, want %v on queue 1", err, ErrQueueTaken)
	}
	if after := countMaps(t, rings); after != before {
		t.Errorf("%d rings mapped after Open failed, %d before", after, before)
	}
	if err := s.close(false); err != nil {
		t.Fatal(err)
	}
	dev, err := openIn(a, Config{})
	if err != nil {
		t.Fatalf("Open of a queue just given up: %v", err)
	}
	dev.Close()
}

func TestOpenMTU(t *testing.T) {
	a, b := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{MTU: 3000})
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
	if info := da.Info(); info.MTU != 3000 || info.FrameSize != 4096 {
		t.Errorf("MTU %d, frame size %d, want 3000 and 4096", info.MTU, info.FrameSize)
	}
	// A frame as long as the MTU allows gets through.
	big := wiretest.UDPFrame(t, da.Info().MAC, db.Info().MAC, "198.18.0.1", "198.18.0.2", 3000-28)
	wiretest.Transmit(t, da.Queue(0), big)
	if got := wiretest.ReceiveOne(t, db.Queue(0)); string(got) != string(big) {
		t.Errorf("received %d bytes, want the %d sent", len(got), len(big))
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
		if info.Driver != "asavie" || info.Interface != a.Name || info.Mode != tt.want || info.Queues != 1 ||
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
