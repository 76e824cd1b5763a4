package socketapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shardnet/driver/memnic"
	"shardnet/stack"
	"shardnet/test/testutil"
)

// funcs is a Handler made of functions; nil ones do what NopHandler does. It
// checks the order of its calls.
type funcs struct {
	t        testing.TB
	open     func(c *EventConn)
	data     func(c *EventConn, p []byte) int
	writable func(c *EventConn)
	close    func(c *EventConn, err error)

	opened, closed atomic.Int64
	over           sync.Map // *EventConn: true
	within         []atomic.Bool
}

func (f *funcs) enter(c *EventConn, call string) func() {
	if _, over := f.over.Load(c); over {
		f.t.Errorf("%s after OnClose", call)
	}
	if f.within[c.Shard()].Swap(true) {
		f.t.Errorf("%s within another call of the shard", call)
	}
	return func() { f.within[c.Shard()].Store(false) }
}

func (f *funcs) OnOpen(c *EventConn) {
	defer f.enter(c, "OnOpen")()
	f.opened.Add(1)
	if f.open != nil {
		f.open(c)
	}
}

func (f *funcs) OnData(c *EventConn, p []byte) int {
	defer f.enter(c, "OnData")()
	if len(p) == 0 {
		f.t.Error("OnData without data")
	}
	if f.data != nil {
		return f.data(c, p)
	}
	return len(p)
}

func (f *funcs) OnWritable(c *EventConn) {
	defer f.enter(c, "OnWritable")()
	if f.writable != nil {
		f.writable(c)
	}
}

func (f *funcs) OnClose(c *EventConn, err error) {
	defer f.enter(c, "OnClose")()
	f.over.Store(c, true)
	f.closed.Add(1)
	if f.close != nil {
		f.close(c, err)
	}
}

// handle serves f, and checks at the end of the test that every connection that
// was opened was closed, once.
func (w *world) handle(t testing.TB, lc ListenConfig, f *funcs) *Server {
	t.Helper()
	f.t = t
	f.within = make([]atomic.Bool, w.server.Shards())
	s, err := lc.handle(w.server, "tcp", "198.18.0.1:0", f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Abort()
		select {
		case <-s.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("server does not end: %d connections", s.Connections())
		}
		if o, c := f.opened.Load(), f.closed.Load(); o != c {
			t.Errorf("%d OnOpen, %d OnClose", o, c)
		}
	})
	return s
}

// echoData sends back what it can, and leaves the rest for later.
func echoData(c *EventConn, p []byte) int {
	n, err := c.Write(p)
	if err != nil && !errors.Is(err, ErrBackPressure) {
		return len(p)
	}
	return n
}

func (w *world) dialTo(t testing.TB, s *Server) *Conn {
	t.Helper()
	c, err := w.tryDialTo(t, s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// tryDialTo is dialTo for a server that may reset the connection before whoever
// dials has learned of it.
func (w *world) tryDialTo(t testing.TB, s *Server) (*Conn, error) {
	nc, err := w.tryDial("tcp", s.Addr().String())
	if err != nil {
		return nil, err
	}
	c := nc.(*Conn)
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, nil
}

func TestHandlerEcho(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		var errs sync.Map
		f := &funcs{data: echoData, close: func(c *EventConn, err error) { errs.Store(c, err) }}
		s := w.handle(t, ListenConfig{}, f)
		var wg sync.WaitGroup
		for i, size := range []int{0, 1, 100, 5000, 70_000, 3 << 20, 3 << 20} {
			data := make([]byte, size)
			rand.NewChaCha8([32]byte{byte(i)}).Read(data)
			c := w.dialTo(t, s)
			wg.Go(func() {
				if _, err := c.Write(data); err != nil {
					t.Error(err)
				}
				c.CloseWrite()
			})
			wg.Go(func() {
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("sent %d bytes, got %d, %v", len(data), len(got), err)
				}
			})
		}
		wg.Wait()
		testutil.Eventually(t, "all connections have ended", func() bool { return s.Connections() == 0 })
		testutil.Eventually(t, "OnClose was called", func() bool { return f.closed.Load() == 7 })
		errs.Range(func(_, err any) bool {
			if err != nil {
				t.Errorf("OnClose: %v, want nil", err)
			}
			return true
		})
	})
}

// TestHandlerKeepsTheRest has the handler consume whole lines only, whatever the
// pieces they come in; and long ones, through both ways of keeping the rest.
func TestHandlerKeepsTheRest(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		f := &funcs{data: func(c *EventConn, p []byte) (n int) {
			for {
				i := bytes.IndexByte(p[n:], '\n')
				if i < 0 {
					return n
				}
				fmt.Fprintf(c, "%d ", i)
				n += i + 1
			}
		}}
		s := w.handle(t, ListenConfig{}, f)
		c := w.dialTo(t, s)
		var in, want strings.Builder
		rnd := rand.New(rand.NewPCG(1, 2))
		for _, n := range []int{0, 1, 7, 100, 3000, 9000, 70_000, 200_000, 8192, 8191, 5, 0} {
			in.WriteString(strings.Repeat("x", n) + "\n")
			fmt.Fprintf(&want, "%d ", n)
		}
		in.WriteString("not a line")
		go func() {
			for rest := in.String(); len(rest) > 0; {
				n := min(1+rnd.IntN(3000), len(rest))
				c.Write([]byte(rest[:n]))
				rest = rest[n:]
			}
			c.CloseWrite()
		}()
		if got, err := io.ReadAll(c); err != nil || string(got) != want.String() {
			t.Errorf("got %q, %v, want %q", got, err, want.String())
		}
	})
}

// TestHandlerBackPressure has a peer that does not read: writes are cut short,
// reading stops, and both go on when the peer reads.
func TestHandlerBackPressure(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		const total = 8 << 20
		var cut, writable, reads atomic.Int64
		conns := make(chan *EventConn, 1)
		f := &funcs{
			open: func(c *EventConn) { conns <- c },
			data: func(c *EventConn, p []byte) int {
				if c.state&connFull != 0 {
					t.Error("OnData under back-pressure")
				}
				reads.Add(1)
				n, err := c.Write(p)
				if n < len(p) {
					if err != ErrBackPressure {
						t.Errorf("%d of %d bytes and %v", n, len(p), err)
					}
					if got := c.Buffered(); got != 5000 {
						t.Errorf("%d bytes buffered, want the limit of 5000", got)
					}
					cut.Add(1)
				}
				return n
			},
			writable: func(c *EventConn) {
				if c.Buffered() > 2500 {
					t.Errorf("OnWritable with %d bytes buffered", c.Buffered())
				}
				writable.Add(1)
			},
		}
		s := w.handle(t, ListenConfig{MaxUnsent: 5000}, f)
		c := w.dialTo(t, s)
		data := make([]byte, total)
		rand.NewChaCha8([32]byte{9}).Read(data)
		sent := start(func() (int, error) { n, err := c.Write(data); c.CloseWrite(); return n, err })
		testutil.Eventually(t, "a Write is cut short", func() bool { return cut.Load() > 0 })
		blocked(t, "socketapi.(*Conn).Write") // the window is closed
		kept := make(chan int)
		(<-conns).Post(func(c *EventConn) { kept <- c.in.len() })
		if n := <-kept; n > readBuffer {
			t.Errorf("%d bytes were read under back-pressure", n)
		}
		before := reads.Load()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d of %d bytes came back, %v", len(got), total, err)
		}
		if r := wait(t, sent); r.err != nil {
			t.Error(r.err)
		}
		if reads.Load() == before || writable.Load() != cut.Load() {
			t.Errorf("%d reads before, %d after; %d writes cut, %d OnWritable", before, reads.Load(), cut.Load(), writable.Load())
		}
	})
}

// TestHandlerGathers writes often in one callback: it leaves in few segments.
func TestHandlerGathers(t *testing.T) {
	onStacks(t, 1, testHandlerGathers)
}

func testHandlerGathers(t *testing.T, w *world) {
	f := &funcs{data: func(c *EventConn, p []byte) int {
		for range 100 {
			if n, err := c.Writev([]byte("01234"), []byte("56789")); n != 10 || err != nil {
				t.Error(n, err)
			}
		}
		if c.Buffered() != 1000 {
			t.Errorf("%d bytes buffered", c.Buffered())
		}
		return len(p)
	}}
	s := w.handle(t, ListenConfig{}, f)
	c := w.dialTo(t, s)
	st := w.server.(stackHost)
	for range 3 {
		before := st.Stats().Queue.TxPackets
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if n := st.Stats().Queue.TxPackets - before; n > 4 { // acknowledgements among them
			t.Errorf("%d packets for 1000 bytes", n)
		}
	}
}

func TestHandlerTooMuchUnread(t *testing.T) {
	for _, limit := range []int{100, 20_000, 0} {
		inWorlds(t, 1, func(t *testing.T, w *world) {
			ended := make(chan error, 1)
			most := 0
			f := &funcs{
				data:  func(c *EventConn, p []byte) int { most = max(most, len(p)); return 0 },
				close: func(c *EventConn, err error) { ended <- err },
			}
			s := w.handle(t, ListenConfig{MaxBuffered: limit}, f)
			c := w.dialTo(t, s)
			go c.Write(make([]byte, 4<<20))
			if err := <-ended; !errors.Is(err, ErrTooMuchUnread) {
				t.Errorf("OnClose: %v", err)
			}
			if want := orDefault(limit, defaultMaxBuffered); most != want {
				t.Errorf("offered up to %d bytes, want %d", most, want)
			}
		})
	}
}

// TestHandlerCloses closes in every callback, and in several ways.
func TestHandlerCloses(t *testing.T) {
	type end struct {
		do   func(c *EventConn)
		peer error // what the peer reads in the end
		err  error // OnClose's
		pre  string
	}
	ends := map[string]end{
		"close":       {func(c *EventConn) { c.Write([]byte("bye")); c.Close(); c.Close() }, nil, nil, "bye"},
		"close write": {func(c *EventConn) { c.Write([]byte("bye")); c.CloseWrite() }, nil, nil, "bye"},
		"abort":       {func(c *EventConn) { c.Abort(); c.Abort() }, syscall.ECONNRESET, syscall.ECONNABORTED, ""},
		"close, abort": {func(c *EventConn) { c.Write([]byte("lost")); c.Close(); c.Abort() },
			syscall.ECONNRESET, syscall.ECONNABORTED, ""},
	}
	for name, e := range ends {
		for _, where := range []string{"OnOpen", "OnData", "Post", "Go"} {
			t.Run(name+"/"+where, func(t *testing.T) {
				inWorlds(t, 1, func(t *testing.T, w *world) {
					closed := make(chan error, 1)
					conns := make(chan *EventConn, 1)
					f := &funcs{
						open: func(c *EventConn) {
							if where == "OnOpen" {
								e.do(c)
							}
							conns <- c
						},
						data: func(c *EventConn, p []byte) int {
							switch where {
							case "OnData":
								e.do(c)
							case "Go":
								c.Go(func() func(*EventConn) { return e.do })
							}
							return len(p)
						},
						close: func(c *EventConn, err error) {
							if n, err := c.Write([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
								t.Errorf("Write in OnClose: %d, %v", n, err)
							}
							c.Close()
							c.Go(func() func(*EventConn) { t.Error("work of a closed connection"); return nil })
							c.Post(func(*EventConn) { t.Error("function posted to a closed connection") })
							closed <- err
						},
					}
					s := w.handle(t, ListenConfig{}, f)
					c, err := w.tryDialTo(t, s)
					if where == "OnOpen" && e.peer != nil && errors.Is(err, e.peer) {
						if err := <-closed; !errors.Is(err, e.err) {
							t.Errorf("OnClose: %v, want %v", err, e.err)
						}
						return
					}
					if err != nil {
						t.Fatal(err)
					}
					_, werr := c.Write([]byte("x"))
					ec := <-conns
					if where == "Post" {
						ec.Post(e.do)
					}
					got, err := io.ReadAll(c)
					if err == nil {
						err = werr // a reset is told once
					}
					if string(got) != e.pre && err == nil || !errors.Is(err, e.peer) {
						// A connection closed before its data is read is reset.
						if !(where == "OnOpen" || where == "Post") || !errors.Is(err, syscall.ECONNRESET) {
							t.Errorf("peer reads %q, %v, want %q, %v", got, err, e.pre, e.peer)
						}
					}
					c.CloseWrite()
					if err := <-closed; !errors.Is(err, e.err) {
						t.Errorf("OnClose: %v, want %v", err, e.err)
					}
				})
			})
		}
	}
}

func TestHandlerPeerResets(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		closed := make(chan error, 1)
		opened := make(chan bool, 1)
		f := &funcs{
			open:  func(c *EventConn) { opened <- true },
			close: func(c *EventConn, err error) { closed <- err },
		}
		s := w.handle(t, ListenConfig{}, f)
		c := w.dialTo(t, s)
		<-opened
		c.SetLinger(0)
		c.Close()
		var oe *net.OpError
		if err := <-closed; !errors.Is(err, syscall.ECONNRESET) || !errors.As(err, &oe) {
			t.Errorf("OnClose: %v, want a *net.OpError with ECONNRESET", err)
		}
	})
}

// TestHandlerWork takes each request off the shard and answers it in order when it
// comes back; the peer's FIN does not cut it off.
func TestHandlerWork(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		f := &funcs{data: func(c *EventConn, p []byte) int {
			if c.Value() == true {
				return 0 // one at a time
			}
			c.SetValue(true)
			b := p[0]
			c.Go(func() func(*EventConn) {
				answer := []byte{b + 1}
				return func(c *EventConn) {
					c.SetValue(false)
					c.Write(answer)
				}
			})
			return 1
		}}
		s := w.handle(t, ListenConfig{MaxBuffered: 2}, f)
		var wg sync.WaitGroup
		for range 8 {
			c := w.dialTo(t, s)
			wg.Go(func() {
				c.Write([]byte("abcdefgh"))
				c.CloseWrite()
				if got, err := io.ReadAll(c); err != nil || string(got) != "bcdefghi" {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		wg.Wait()
	})
}

// TestHandlerPost posts from many goroutines, and to another connection of the
// shard from within a callback.
func TestHandlerPost(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		var conns []*EventConn // of the one shard
		opened := make(chan *EventConn, 2)
		f := &funcs{
			open: func(c *EventConn) { conns = append(conns, c); opened <- c },
			data: func(_ *EventConn, p []byte) int {
				for _, c := range conns {
					c.Write(p)
				}
				return len(p)
			},
		}
		s := w.handle(t, ListenConfig{}, f)
		a, b := w.dialTo(t, s), w.dialTo(t, s)
		first := <-opened
		<-opened
		a.Write([]byte("x"))
		for _, c := range []*Conn{a, b} {
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Error(err)
			}
		}
		count := 0
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 100 {
					first.Post(func(c *EventConn) { count++ })
				}
			})
		}
		wg.Wait()
		done := make(chan int)
		first.Post(func(*EventConn) { done <- count })
		if n := <-done; n != 400 {
			t.Errorf("%d functions ran of 400", n)
		}
	})
}

// TestHandlerShares has one connection send without end: another is still served.
func TestHandlerShares(t *testing.T) {
	w := newFakeWorld(t, 1)
	type turn struct {
		c *EventConn
		n int
	}
	var turns []turn
	f := &funcs{data: func(c *EventConn, p []byte) int {
		if c.Value() == nil {
			c.SetValue(0)
		}
		turns = append(turns, turn{c, len(p)})
		c.SetValue(c.Value().(int) + len(p))
		return len(p)
	}}
	s := w.handle(t, ListenConfig{}, f)
	a, b := w.dialTo(t, s), w.dialTo(t, s)
	// Both have input before the shard's loop gets to them.
	hold := make(chan bool)
	w.server.shard(0).Post(taskFunc(func() { <-hold }))
	const size = 8 * turnBytes
	for _, c := range []*Conn{a, b} {
		w.fake.mu.Lock()
		c.flow.(*fakeFlow).out.cap = size
		w.fake.mu.Unlock()
		if _, err := c.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	close(hold)
	done := make(chan bool)
	testutil.Eventually(t, "all is read", func() bool {
		sum := 0
		w.server.shard(0).Post(taskFunc(func() {
			for _, u := range turns {
				sum += u.n
			}
			done <- true
		}))
		<-done
		return sum == 2*size
	})
	var run int
	var last *EventConn
	for _, u := range turns {
		if u.c != last {
			last, run = u.c, 0
		}
		if run += u.n; run > turnBytes+readBuffer {
			t.Errorf("one connection read %d bytes in a row", run)
		}
	}
}

type taskFunc func()

func (f taskFunc) RunOnShard() { f() }

func TestHandlerWrongCount(t *testing.T) {
	w := newFakeWorld(t, 1)
	for _, n := range []int{-1, 2} {
		closed := make(chan error, 1)
		f := &funcs{
			data:  func(*EventConn, []byte) int { return n },
			close: func(_ *EventConn, err error) { closed <- err },
		}
		s := w.handle(t, ListenConfig{}, f)
		w.dialTo(t, s).Write([]byte("x"))
		if err := <-closed; err == nil || !strings.Contains(err.Error(), "funcs consumed") {
			t.Errorf("OnClose: %v", err)
		}
	}
}

// TestHandlerStackCloses has connections in several states when the stack ends:
// in order, or because a shard's queue failed.
func TestHandlerStackCloses(t *testing.T) {
	test := func(t *testing.T, w *world, end func()) {
		var errs sync.Map
		f := &funcs{
			data: func(c *EventConn, p []byte) int {
				switch p[0] {
				case 'w':
					c.Write(make([]byte, 1<<20)) // and nobody reads
				case 'c':
					c.Write(make([]byte, 1<<20))
					c.Close()
				case 't':
					c.AfterFunc(time.Hour, func(*EventConn) { t.Error("timer of a closed connection") })
				case 'g':
					c.Go(func() func(*EventConn) {
						<-w.server.Done()
						return func(*EventConn) {}
					})
				}
				return 0
			},
			close: func(c *EventConn, err error) { errs.Store(c, err) },
		}
		s := w.handle(t, ListenConfig{}, f)
		for _, kind := range "iwctgiwctg" {
			c := w.dialTo(t, s)
			c.Write([]byte(string(kind)))
		}
		testutil.Eventually(t, "all are connected", func() bool { return f.opened.Load() == 10 })
		end()
		<-s.Done()
		if n := f.closed.Load(); n != 10 {
			t.Errorf("OnClose came for %d of 10 connections", n)
		}
		errs.Range(func(_, err any) bool {
			if err != nil && !errors.Is(err.(error), net.ErrClosed) {
				t.Errorf("OnClose: %v, want net.ErrClosed", err)
			}
			return true
		})
		if s.Connections() != 0 {
			t.Errorf("%d connections", s.Connections())
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := s.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("second Close: %v", err)
		}
	}
	inWorlds(t, 2, func(t *testing.T, w *world) {
		test(t, w, func() { w.server.Close() })
	})
	t.Run("fails", func(t *testing.T) {
		w := newFakeWorld(t, 2)
		test(t, w, func() {
			w.server.shard(0).(*fakeShard).kill()
			w.server.Close()
		})
	})
	t.Run("device fails", func(t *testing.T) {
		onStacks(t, 2, func(t *testing.T, w *world) {
			test(t, w, func() { w.device.Close() }) // under the stack
		})
	})
}

// slowHandler blocks its shard, as no handler should.
type slowHandler struct{ funcs }

func (h *slowHandler) OnData(c *EventConn, p []byte) int {
	time.Sleep(30 * time.Millisecond)
	return len(p)
}

// TestHandlerIsNamed: the stack's log names the handler that blocked its shard.
func TestHandlerIsNamed(t *testing.T) {
	var log lockedBuffer
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	st, err := stack.New(a, &stack.Config{
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24")}, CloseTimeout: 100 * time.Millisecond,
		HandlerLimit: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	client, err := stack.New(b, &stack.Config{
		Addresses: []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24")}, CloseTimeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	h := &slowHandler{funcs{t: t, within: make([]atomic.Bool, 1)}}
	if _, err := Handle(st, "tcp", ":7", h); err != nil {
		t.Fatal(err)
	}
	c, err := Dial(client, "tcp", "198.18.0.1:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte("x"))
	testutil.Eventually(t, "the log names the handler", func() bool { return strings.Contains(log.String(), "*socketapi.slowHandler") })
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
