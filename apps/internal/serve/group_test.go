package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shardnet/test/testutil"
)

// TestMain fails a package that leaves goroutines or descriptors behind.
func TestMain(m *testing.M) { testutil.Main(m) }

// script is a listener whose Accept returns what it was told to, in order, and
// then blocks until Close.
type script struct {
	steps  []any // error or net.Conn
	closed chan struct{}
}

func (s *script) Accept() (net.Conn, error) {
	if len(s.steps) == 0 {
		<-s.closed
		return nil, net.ErrClosed
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if err, ok := step.(error); ok {
		return nil, err
	}
	return step.(net.Conn), nil
}

func (s *script) Close() error {
	select {
	case <-s.closed:
	default:
		close(s.closed)
	}
	return nil
}

func (s *script) Addr() net.Addr { return &net.TCPAddr{} }

func accept(err error) error { return &net.OpError{Op: "accept", Net: "tcp", Err: err} }

func TestServeRetriesAccept(t *testing.T) {
	for name, passing := range map[string]error{
		"out of descriptors": accept(os.NewSyscallError("accept4", syscall.EMFILE)),
		"aborted":            accept(os.NewSyscallError("accept4", syscall.ECONNABORTED)),
		"out of buffers":     accept(os.NewSyscallError("accept4", syscall.ENOBUFS)),
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			var g Group
			handled := make(chan struct{})
			served := make(chan error, 1)
			go func() {
				l := &script{[]any{passing, passing, passing, theirs}, make(chan struct{})}
				served <- g.Serve(l, func(net.Conn) { close(handled) })
			}()
			select {
			case <-handled:
			case <-time.After(testutil.Patience):
				t.Fatal("the connection after the errors was not accepted")
			}
			if err := g.Close(); err != nil {
				t.Fatal(err)
			}
			if err := <-served; err != ErrClosed {
				t.Errorf("Serve: %v, want ErrClosed", err)
			}
		})
	}
}

func TestServeReturnsLastingError(t *testing.T) {
	var g Group
	l := &script{[]any{accept(syscall.EINVAL)}, make(chan struct{})}
	if err := g.Serve(l, nil); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("Serve: %v, want EINVAL", err)
	}
	select {
	case <-l.closed:
	default:
		t.Error("Serve left its listener open")
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	var d, total time.Duration
	for range 20 {
		if next := nextBackoff(d); next < d || next > maxBackoff {
			t.Fatalf("pause after %v is %v", d, next)
		} else {
			d, total = next, total+next
		}
	}
	if d != maxBackoff || total < 10*time.Second {
		t.Errorf("after 20 errors the pause is %v (%v in all)", d, total)
	}
}

func TestServeEndsWhenTheListenerIsClosedElsewhere(t *testing.T) {
	l := listen(t)
	var g Group
	served := make(chan error, 1)
	go func() { served <- g.Serve(l, nil) }()
	l.Close()
	if err := <-served; err != ErrClosed {
		t.Errorf("Serve: %v, want ErrClosed", err)
	}
}

func TestServeAfterClose(t *testing.T) {
	var g Group
	g.Close()
	l := listen(t)
	if err := g.Serve(l, nil); err != ErrClosed {
		t.Errorf("Serve: %v, want ErrClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Serve on a closed group: %v, want net.ErrClosed", err)
	}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.ServePacket(pc, nil); err != ErrClosed {
		t.Errorf("ServePacket: %v, want ErrClosed", err)
	}
}

func TestShutdownWaitsForHandlers(t *testing.T) {
	l := listen(t)
	var g Group
	release, woken := make(chan struct{}), make(chan error, 1)
	var returned atomic.Bool
	go g.Serve(l, func(c net.Conn) {
		_, err := c.Read(make([]byte, 1))
		woken <- err
		<-release
		returned.Store(true)
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !testutil.Poll(func() bool { return g.tracked() == 1 }) {
		t.Fatal("the connection was not accepted")
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Shutdown(context.Background()) }()
	var timeout net.Error
	if err := <-woken; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("Read in a shutdown: %v, want a timeout", err)
	}
	select {
	case <-ended:
		t.Error("Shutdown did not wait for the handler")
	default:
	}
	close(release)
	if err := <-ended; err != nil || !returned.Load() {
		t.Errorf("Shutdown: %v, handler returned: %v", err, returned.Load())
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("client's Read: %v, want EOF", err)
	}
}

func TestShutdownForcesWhenTheContextEnds(t *testing.T) {
	l := listen(t)
	var g Group
	stuck := make(chan struct{})
	go g.Serve(l, func(c net.Conn) {
		// A peer that does not read: only closing the connection ends this.
		for {
			if _, err := c.Write(make([]byte, 1<<16)); err != nil {
				close(stuck)
				return
			}
		}
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if !testutil.Poll(func() bool { return g.tracked() == 1 }) {
		t.Fatal("the connection was not accepted")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx); err != context.DeadlineExceeded {
		t.Errorf("Shutdown: %v, want DeadlineExceeded", err)
	}
	select {
	case <-stuck:
	case <-time.After(testutil.Patience):
		t.Error("the handler was not freed")
	}
}

// plain hides the netip methods of a *net.UDPConn.
type plain struct{ net.PacketConn }

func TestServePacket(t *testing.T) {
	for name, wrap := range map[string]func(net.PacketConn) net.PacketConn{
		"netip": func(pc net.PacketConn) net.PacketConn { return pc },
		"plain": func(pc net.PacketConn) net.PacketConn { return plain{pc} },
	} {
		t.Run(name, func(t *testing.T) {
			pc, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			var g Group
			served := make(chan error, 1)
			go func() {
				served <- g.ServePacket(wrap(pc), func(p *PacketConn) error {
					buf := make([]byte, 100)
					for {
						n, from, err := p.Read(buf)
						if err != nil {
							return err
						}
						if err := p.Write(append(buf[:n], '!'), from); err != nil {
							return err
						}
					}
				})
			}()
			c, err := net.Dial("udp", pc.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(testutil.Patience))
			for range 3 {
				buf := make([]byte, 100)
				if _, err := c.Write([]byte("hey")); err != nil {
					t.Fatal(err)
				}
				if n, err := c.Read(buf); err != nil || string(buf[:n]) != "hey!" {
					t.Fatalf("got %q, %v", buf[:n], err)
				}
			}
			if err := g.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if err := <-served; err != ErrClosed {
				t.Errorf("ServePacket: %v, want ErrClosed", err)
			}
		})
	}
}

// TestServePacketTwice has two loops on one socket, which end together.
func TestServePacketTwice(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var g Group
	served := make(chan error, 2)
	var reading atomic.Int32
	for range 2 {
		go func() {
			served <- g.ServePacket(pc, func(p *PacketConn) error {
				reading.Add(1)
				_, _, err := p.Read(make([]byte, 1))
				return err
			})
		}()
	}
	if !testutil.Poll(func() bool { return reading.Load() == 2 }) {
		t.Fatal("not both are served")
	}
	if err := g.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-served; err != ErrClosed {
			t.Errorf("ServePacket: %v, want ErrClosed", err)
		}
	}
}

func TestServePacketRetries(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var g Group
	calls := 0
	err = g.ServePacket(pc, func(*PacketConn) error {
		if calls++; calls < 3 {
			return &net.OpError{Op: "read", Err: syscall.ECONNREFUSED}
		}
		return io.ErrUnexpectedEOF
	})
	if calls != 3 || err != io.ErrUnexpectedEOF {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestTallySums(t *testing.T) {
	tally := NewTally()
	for i := range 1000 {
		c := tally.Cell()
		c.Opened.Add(1)
		c.Requests.Add(uint64(i))
		c.BytesOut.Add(2)
		if i%4 == 0 {
			c.Closed.Add(1)
		}
	}
	want := Sums{Opened: 1000, Closed: 250, Requests: 999 * 500, BytesOut: 2000}
	if got := tally.Sum(); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// tracked is how many connections the group has.
func (g *Group) tracked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
