package socketapi

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestDialRefused(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for _, address := range []string{"198.18.0.1:9", "[2001:db8::1]:9"} {
			_, err := w.tryDial("tcp", address)
			var oe *net.OpError
			if !errors.Is(err, syscall.ECONNREFUSED) || !errors.As(err, &oe) || oe.Addr.String() != address {
				t.Errorf("dial %s: %v, want ECONNREFUSED", address, err)
			}
		}
	})
}

func TestDialGivesUp(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		address := nobody4.String() + ":80"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		expired, cancel2 := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel2()
		<-expired.Done()
		for _, tc := range []struct {
			name string
			d    Dialer
			ctx  context.Context
			want error
		}{
			{"timeout", Dialer{Timeout: 30 * time.Millisecond}, t.Context(), context.DeadlineExceeded},
			{"deadline", Dialer{Deadline: time.Now().Add(30 * time.Millisecond)}, t.Context(), context.DeadlineExceeded},
			{"negative timeout", Dialer{Timeout: -1}, t.Context(), context.DeadlineExceeded},
			{"context over", Dialer{}, expired, context.DeadlineExceeded},
			{"canceled", Dialer{Timeout: time.Hour}, ctx, context.Canceled},
			{"canceled before", Dialer{}, ctx, context.Canceled},
		} {
			r := start(func() (int, error) { _, err := tc.d.dial(tc.ctx, w.client, "tcp", address); return 0, err })
			if tc.name == "canceled" {
				blocked(t, "socketapi.(*Dialer).dial")
				cancel()
			}
			err := wait(t, r).err
			var oe *net.OpError
			if !errors.As(err, &oe) || oe.Op != "dial" || !errors.Is(err, tc.want) || oe.Timeout() != (tc.want == context.DeadlineExceeded) {
				t.Errorf("%s: %v, want a *net.OpError with %v", tc.name, err, tc.want)
			}
		}
		if w.fake != nil {
			w.fake.mu.Lock()
			defer w.fake.mu.Unlock()
			if n := len(w.client.(*fakeHost).flows); n != 0 {
				t.Errorf("%d attempts were left behind", n)
			}
		}
	})
}

// TestDialWaits completes attempts while the dialer sleeps, well and badly.
func TestDialWaits(t *testing.T) {
	w := newFakeWorld(t, 1)
	g := w.listen(t, "tcp", "198.18.0.1:0")
	w.fake.hold = true
	for address, want := range map[string]error{g.Addr().String(): nil, "198.18.0.1:9": syscall.ECONNREFUSED} {
		r := start(func() (int, error) { _, err := w.tryDial("tcp", address); return 0, err })
		blocked(t, "socketapi.(*Dialer).dial")
		w.fake.release()
		if got := wait(t, r); !errors.Is(got.err, want) {
			t.Errorf("dial %s: %v, want %v", address, got.err, want)
		}
	}
}

func TestDialerShards(t *testing.T) {
	inWorlds(t, 4, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", "198.18.0.1:0")
		echo(t, g)
		p := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
		dial := func(d *Dialer, network string) int {
			address := g.Addr().String()
			if network == "udp" {
				address = p.LocalAddr().String()
			}
			c, err := d.dial(t.Context(), w.client, network, address)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if network == "tcp" {
				ask(t, c, []byte("x"))
			}
			return c.(interface{ Shard() int }).Shard()
		}
		for _, network := range []string{"tcp", "udp"} {
			for _, tc := range []struct {
				shards []int
				want   []int
			}{
				{nil, []int{0, 1, 2, 3, 0, 1}},
				{[]int{2}, []int{2, 2}},
				{[]int{3, 1}, []int{3, 1, 3}},
			} {
				d := Dialer{Shards: tc.shards}
				for i, want := range tc.want {
					if got := dial(&d, network); got != want {
						t.Errorf("%s with Shards %v: connection %d is on shard %d, want %d", network, tc.shards, i, got, want)
					}
				}
			}
		}
		d := Dialer{Shards: []int{4}}
		if _, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String()); err == nil || !strings.Contains(err.Error(), "no such shard") {
			t.Errorf("dial from shard 4 of 4: %v", err)
		}
	})
}

// TestDialerPortsRunOut leaves one shard, and then all, without a free port.
func TestDialerPortsRunOut(t *testing.T) {
	w := newFakeWorld(t, 3)
	g := w.listen(t, "tcp", "198.18.0.1:0")
	var d Dialer
	for i := range 3 {
		w.client.shard(i).(*fakeShard).noPorts = true
		c, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String())
		if i == 2 {
			if !errors.Is(err, syscall.EADDRNOTAVAIL) {
				t.Errorf("with no ports anywhere: %v, want EADDRNOTAVAIL", err)
			}
			break
		}
		if err != nil {
			t.Fatalf("with ports on %d shards: %v", 2-i, err)
		}
		if s := c.(*Conn).Shard(); s <= i {
			t.Errorf("shard %d has no ports and dialled", s)
		}
		c.Close()
	}
}

func TestDialerLocalAddr(t *testing.T) {
	inWorlds(t, 3, func(t *testing.T, w *world) {
		g := w.listen(t, "tcp", "198.18.0.1:0")
		d := Dialer{LocalAddr: &net.TCPAddr{IP: client4.AsSlice(), Port: 7777}}
		c, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		s := accept(t, g)
		if got := s.RemoteAddr().String(); got != "198.18.0.2:7777" || c.LocalAddr().String() != got {
			t.Errorf("dialled from %s, came from %s", c.LocalAddr(), got)
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("Read: %d, %v", n, err)
		}
		for range 3 { // whichever shard's turn it is
			if _, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("second dial from the same port: %v, want EADDRINUSE", err)
			}
		}
		d.LocalAddr = &net.TCPAddr{IP: nobody4.AsSlice()}
		if _, err := d.dial(t.Context(), w.client, "tcp", g.Addr().String()); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("dial from another's address: %v, want EADDRNOTAVAIL", err)
		}
		// Zero fields leave the choice to the stack.
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4zero}
		c, err = d.dial(t.Context(), w.client, "tcp", g.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	})
}

// TestDialNetworks checks the networks and addresses Dial refuses itself.
func TestDialNetworks(t *testing.T) {
	w := newFakeWorld(t, 1)
	for _, tc := range []struct{ network, address, want string }{
		{"tcp", ":80", "missing host"},
		{"tcp", "0.0.0.0:80", "missing host"},
		{"udp", "[::]:80", "missing host"},
		{"tcp", "example.com:80", "literal IP address"},
		{"unix", "/tmp/x", "unknown network unix"},
		{"", "198.18.0.1:80", "unknown network"},
	} {
		_, err := w.tryDial(tc.network, tc.address)
		var oe *net.OpError
		if !errors.As(err, &oe) || oe.Op != "dial" || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("dial %s %s: %v, want a *net.OpError that says %q", tc.network, tc.address, err, tc.want)
		}
	}
	var de *net.DNSError
	if _, err := w.tryDial("tcp", "example.com:80"); !errors.As(err, &de) || !de.IsNotFound {
		t.Errorf("dial of a name: %v, want a *net.DNSError that is not found", err)
	}
}

func TestNilStack(t *testing.T) {
	var d Dialer
	for name, f := range map[string]func() error{
		"Listen":       func() error { _, err := Listen(nil, "tcp", ":80"); return err },
		"ListenPacket": func() error { _, err := ListenPacket(nil, "udp", ":80"); return err },
		"Dial":         func() error { _, err := Dial(nil, "tcp", "198.18.0.1:80"); return err },
		"Dialer.Dial":  func() error { _, err := d.Dial("tcp", "198.18.0.1:80"); return err },
	} {
		var oe *net.OpError
		if err := f(); !errors.As(err, &oe) || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v, want a *net.OpError", name, err)
		}
	}
}
