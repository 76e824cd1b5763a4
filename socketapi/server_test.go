package socketapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/test/testutil"
)

// TestServerEndsUnderTraffic ends a server in each way while connections come, go
// and ask. OnClose must come for each (handle checks), and nothing may be left: of
// goroutines TestMain tells, of flows the stack.
func TestServerEndsUnderTraffic(t *testing.T) {
	ends := map[string]func(w *world, s *Server){
		"Close": func(_ *world, s *Server) { s.Close(); s.Close() },
		"Abort": func(_ *world, s *Server) { s.Abort() },
		"Shutdown, Close": func(_ *world, s *Server) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
			defer cancel()
			if err := s.Shutdown(ctx); err == nil {
				panic("connections ended on their own")
			}
			s.Close()
		},
		"from a callback": func(w *world, s *Server) { w.server.shard(0).Post(taskFunc(func() { s.Close() })) },
		"stack":           func(w *world, _ *Server) { w.server.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inWorlds(t, 2, func(t *testing.T, w *world) {
				var asked atomic.Int64
				f := &funcs{
					open: func(c *EventConn) { c.AfterFunc(time.Hour, func(*EventConn) {}) },
					data: func(c *EventConn, p []byte) int {
						asked.Add(1)
						if asked.Load()%7 == 0 {
							c.Go(func() func(*EventConn) { return func(c *EventConn) { c.Write([]byte("!")) } })
						}
						return echoData(c, p)
					},
				}
				s := w.handle(t, ListenConfig{}, f)
				stop := make(chan struct{})
				var wg sync.WaitGroup
				for i := range 8 {
					wg.Go(func() {
						for {
							select {
							case <-stop:
								return
							default:
							}
							ctx, cancel := context.WithTimeout(context.Background(), time.Second)
							var d Dialer
							c, err := d.dial(ctx, w.client, "tcp", s.Addr().String())
							cancel()
							if err != nil {
								continue
							}
							c.SetDeadline(time.Now().Add(5 * time.Second))
							for range 5 * i {
								if _, err := c.Write(make([]byte, 100*(i+1))); err != nil {
									break
								}
								if _, err := c.Read(make([]byte, 10_000)); err != nil {
									break
								}
							}
							c.Close()
						}
					})
				}
				// One that is there throughout, so that there is always something to end.
				idle := w.dialTo(t, s)
				if _, err := idle.Write([]byte("?")); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(idle, make([]byte, 1)); err != nil { // it is accepted then
					t.Fatal(err)
				}
				testutil.Eventually(t, "there is traffic", func() bool { return asked.Load() > 200 })
				end(w, s)
				select {
				case <-s.Done():
				case <-time.After(10 * time.Second):
					t.Errorf("server does not end: %d connections", s.Connections())
				}
				close(stop)
				wg.Wait()
				if _, err := io.Copy(io.Discard, idle); errors.Is(err, context.DeadlineExceeded) {
					t.Error("the idle connection was left open")
				}
				if n := s.Connections(); n != 0 {
					t.Errorf("%d connections", n)
				}
				if name == "stack" {
					return
				}
				if w.fake != nil {
					w.fake.mu.Lock()
					n := len(w.server.(*fakeHost).flows)
					w.fake.mu.Unlock()
					if n != 0 {
						t.Errorf("%d flows are left", n)
					}
				}
				if _, err := w.tryDial("tcp", s.Addr().String()); err == nil {
					t.Error("still listening")
				}
			})
		})
	}
}

// TestServerClose: what was written before leaves, to peers that read at once and
// to one that reads late.
func TestServerClose(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		const size = 400_000 // more than the stack takes at once
		data := bytes.Repeat([]byte("0123456789"), size/10)
		written := make(chan bool, 4)
		f := &funcs{data: func(c *EventConn, p []byte) int {
			if n, err := c.Write(data); n != len(data) {
				t.Errorf("%d bytes were taken, %v", n, err)
			}
			written <- true
			return len(p)
		}}
		s := w.handle(t, ListenConfig{MaxUnsent: 1 << 20}, f)
		var conns []*Conn
		for range 4 {
			c := w.dialTo(t, s)
			c.Write([]byte("x"))
			conns = append(conns, c)
		}
		for range conns {
			<-written
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for i, c := range conns {
			if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
				t.Errorf("connection %d: %d of %d bytes, %v", i, len(got), len(data), err)
			}
		}
		<-s.Done()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown of what has ended: %v", err)
		}
	})
}

// TestServerShutdown waits for the peers.
func TestServerShutdown(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		s := w.handle(t, ListenConfig{}, &funcs{data: echoData})
		c := w.dialTo(t, s)
		c.Write([]byte("x"))
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		ended := start(func() (int, error) { return 0, s.Shutdown(context.Background()) })
		testutil.Eventually(t, "it does not listen", func() bool {
			n, err := w.tryDial("tcp", s.Addr().String())
			if err == nil {
				n.Close()
			}
			return err != nil
		})
		c.Write([]byte("y")) // and is served still
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.Close()
		if r := wait(t, ended); r.err != nil {
			t.Error(r.err)
		}
		if err := s.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Close after Shutdown: %v", err)
		}
	})
}
