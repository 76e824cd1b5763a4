package socketapi

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
)

func TestConnConformance(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for _, address := range []string{"198.18.0.1:0", "[2001:db8::1]:0"} {
			t.Run(address, func(t *testing.T) {
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					var lc ListenConfig
					g, err := lc.listen(w.server, "tcp", address)
					if err != nil {
						return nil, nil, nil, err
					}
					c1, err := w.tryDial("tcp", g.Addr().String())
					if err != nil {
						return nil, nil, nil, err
					}
					c2, err := g.Accept()
					if err != nil {
						return nil, nil, nil, err
					}
					return c1, c2, func() {
						c1.Close()
						c2.Close()
						g.Close()
					}, nil
				})
			})
		}
	})
}

func TestConnAddresses(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		if got, want := c.RemoteAddr().String(), s.LocalAddr().String(); got != want {
			t.Errorf("client's RemoteAddr is %s, server's LocalAddr %s", got, want)
		}
		if got, want := s.RemoteAddr().String(), c.LocalAddr().String(); got != want {
			t.Errorf("server's RemoteAddr is %s, client's LocalAddr %s", got, want)
		}
		local := c.LocalAddr().(*net.TCPAddr)
		if !local.IP.Equal(net.IP(client4.AsSlice())) || len(local.IP) != 4 || local.Port == 0 || local.Network() != "tcp" {
			t.Errorf("client's LocalAddr is %#v", local)
		}
		if c.LocalAddr() != c.LocalAddr() {
			t.Error("LocalAddr differs from call to call")
		}
		before := s.RemoteAddr().String()
		c.Close()
		s.Close()
		if got := s.RemoteAddr().String(); got != before {
			t.Errorf("RemoteAddr is %s after Close, was %s", got, before)
		}
	})
}

// TestConnOptions sets everything there is to set on a live connection.
func TestConnOptions(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		g := w.listenPacket(t, w.server, "udp", ":0")
		for name, err := range map[string]error{
			"SetNoDelay":         c.SetNoDelay(false),
			"SetKeepAlive":       c.SetKeepAlive(false),
			"SetKeepAlivePeriod": c.SetKeepAlivePeriod(time.Minute),
			"SetLinger":          c.SetLinger(-1),
			"SetReadBuffer":      c.SetReadBuffer(1 << 18),
			"SetWriteBuffer":     c.SetWriteBuffer(1 << 18),
			"UDP SetReadBuffer":  g.SetReadBuffer(1 << 18),
			"UDP SetWriteBuffer": g.SetWriteBuffer(1 << 18),
			"UDP deadline":       g.PacketConn(0).SetWriteDeadline(time.Time{}),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if f, ok := c.flow.(*fakeFlow); ok {
			// SetKeepAlivePeriod leaves probes off, and the interval alone.
			if want := (net.KeepAliveConfig{Idle: time.Minute}); f.keepAlive != want {
				t.Errorf("probes are %+v, want %+v", f.keepAlive, want)
			}
			if err := c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1}); err != nil {
				t.Error(err)
			}
			if want := (net.KeepAliveConfig{Enable: true, Interval: 15 * time.Second, Count: 9}); f.keepAlive != want {
				t.Errorf("probes are %+v, want %+v", f.keepAlive, want)
			}
		}
		// SetLinger(0) makes Close a reset.
		if err := c.SetLinger(0); err != nil {
			t.Error(err)
		}
		c.Close()
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the peer of a lingering Close reads %v, want ECONNRESET", err)
		}
	})
}

func TestConnHalfClose(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		request := bytes.Repeat([]byte("request "), 40_000) // more than the buffers hold
		go func() {
			if _, err := c.Write(request); err != nil {
				t.Errorf("Write: %v", err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
		}()
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, request) {
			t.Fatalf("server read %d bytes and %v, want the %d sent and EOF", len(got), err, len(request))
		}
		if _, err := s.Write([]byte("answer")); err != nil {
			t.Fatalf("Write after the peer's CloseWrite: %v", err)
		}
		s.Close()
		if got, err := io.ReadAll(c); err != nil || string(got) != "answer" {
			t.Fatalf("client read %q and %v after CloseWrite", got, err)
		}
	})
}

func TestConnCloseReadWakesReader(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s, _ := w.pair(t)
		r := start(func() (int, error) { return s.Read(make([]byte, 1)) })
		blocked(t, "socketapi.(*Conn).Read")
		if err := s.CloseRead(); err != nil {
			t.Fatal(err)
		}
		if got := wait(t, r); got.n != 0 || got.err != io.EOF {
			t.Errorf("Read returned %d and %v after CloseRead, want EOF", got.n, got.err)
		}
	})
}

func TestConnZeroLength(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		if n, err := c.Write(nil); n != 0 || err != nil {
			t.Errorf("Write(nil) is %d, %v", n, err)
		}
		// Returns at once, though there is nothing to read, and past the deadline
		// too: so it is in package net.
		if n, err := s.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) is %d, %v", n, err)
		}
		s.SetDeadline(time.Unix(1, 0))
		if n, err := s.Read(nil); n != 0 || err != nil {
			t.Errorf("Read(nil) past the deadline is %d, %v", n, err)
		}
		if _, err := s.Write(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write(nil) past the deadline: %v", err)
		}
		s.Close()
		if _, err := s.Read(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Read(nil) after Close: %v", err)
		}
		if _, err := s.Write(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write(nil) after Close: %v", err)
		}
	})
}

// TestConnCloseUnblocks closes a connection under a reader, a second reader that
// waits for its turn, a writer and a second writer.
func TestConnCloseUnblocks(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s, _ := w.pair(t)
		big := make([]byte, 32<<20) // more than any buffer
		calls := []<-chan result{
			start(func() (int, error) { return s.Read(make([]byte, 1)) }),
			start(func() (int, error) { return s.Read(make([]byte, 1)) }),
			start(func() (int, error) { return s.Write(big) }),
			start(func() (int, error) { return s.Write(big) }),
		}
		blocked(t, "socketapi.(*Conn).Read")
		blocked(t, "socketapi.(*Conn).Write")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i, c := range calls {
			if r := wait(t, c); !errors.Is(r.err, net.ErrClosed) || r.n == len(big) {
				t.Errorf("call %d returned %d and %v, want net.ErrClosed", i, r.n, r.err)
			}
		}
	})
}

// TestConnWritesAreAtomic has writers whose messages each exceed the buffers.
func TestConnWritesAreAtomic(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		const writers, size = 4, 300_000
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				if n, err := c.Write(bytes.Repeat([]byte{byte(i)}, size)); n != size || err != nil {
					t.Errorf("Write: %d, %v", n, err)
				}
			})
		}
		msg := make([]byte, size)
		for range writers {
			if _, err := io.ReadFull(s, msg); err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(msg, msg[:1]); n != size {
				t.Fatalf("a message of writer %d is broken up: %d of its %d bytes in one piece", msg[0], n, size)
			}
		}
		wg.Wait()
	})
}

// TestConnStream sends much more than the buffers hold, both ways at once, in
// writes of all sizes.
func TestConnStream(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		const total = 2 << 20
		var wg sync.WaitGroup
		send := func(c *Conn, seed uint64) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			src := rand.NewChaCha8([32]byte{byte(seed)})
			for left := total; left > 0; {
				p := make([]byte, min(left, 1+rnd.IntN(100_000)))
				src.Read(p)
				if _, err := c.Write(p); err != nil {
					t.Errorf("Write: %v", err)
					return
				}
				left -= len(p)
			}
			c.CloseWrite()
		}
		receive := func(c *Conn, seed uint64) {
			want, got := sha256.New(), sha256.New()
			io.CopyN(want, rand.NewChaCha8([32]byte{byte(seed)}), total)
			if n, err := io.Copy(got, c); n != total || err != nil {
				t.Errorf("read %d bytes and %v, want %d", n, err, total)
			}
			if !bytes.Equal(want.Sum(nil), got.Sum(nil)) {
				t.Error("the bytes read are not those written")
			}
		}
		wg.Go(func() { send(s, 1) })
		wg.Go(func() { send(c, 2) })
		wg.Go(func() { receive(c, 1) })
		wg.Go(func() { receive(s, 2) })
		wg.Wait()
	})
}

func TestConnDeadlines(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		timedOut := func(what string, err error) {
			t.Helper()
			var ne net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%s: %v, want os.ErrDeadlineExceeded", what, err)
			}
		}
		s, c := w.pair(t)
		buf := make([]byte, 16)

		s.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		_, err := s.Read(buf)
		timedOut("Read until the deadline", err)

		// It stays expired, even with data there, and a new deadline revives.
		c.Write([]byte("x"))
		_, err = s.Read(buf)
		timedOut("Read past the deadline", err)
		s.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := s.Read(buf); n != 1 || err != nil {
			t.Errorf("Read with a new deadline: %d, %v", n, err)
		}

		// A deadline set under a Read takes effect on it: moved nearer, and past.
		for _, d := range []time.Duration{30 * time.Millisecond, -time.Second} {
			s.SetReadDeadline(time.Now().Add(time.Hour))
			r := start(func() (int, error) { return s.Read(buf) })
			blocked(t, "socketapi.(*Conn).Read")
			s.SetReadDeadline(time.Now().Add(d))
			timedOut("Read whose deadline came nearer", wait(t, r).err)
		}

		// Moved away in time, the old deadline does nothing.
		s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		r := start(func() (int, error) { return s.Read(buf) })
		s.SetReadDeadline(time.Time{})
		select {
		case got := <-r:
			t.Errorf("Read without a deadline returned %d, %v", got.n, got.err)
		case <-time.After(120 * time.Millisecond):
		}
		c.Write([]byte("y"))
		if got := wait(t, r); got.n != 1 || got.err != nil {
			t.Errorf("Read: %d, %v", got.n, got.err)
		}

		// A Write that runs into its deadline says how much it sent.
		big := make([]byte, 32<<20)
		c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		n, err := c.Write(big)
		timedOut("Write until the deadline", err)
		if n == 0 || n == len(big) {
			t.Errorf("Write took %d bytes of %d", n, len(big))
		}
		c.SetWriteDeadline(time.Time{})
		c.CloseWrite()
		if got, err := io.Copy(io.Discard, s); err != nil || got != int64(n) {
			t.Errorf("peer read %d bytes and %v, Write said %d", got, err, n)
		}
	})
}
