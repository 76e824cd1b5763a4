package echo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/test/apptest"
	"shardnet/test/testutil"
)

// TestMain fails a package that leaves goroutines or descriptors behind.
func TestMain(m *testing.M) { testutil.Main(m) }

// each runs f as a subtest for each API an app is served by.
func each(t *testing.T, f func(t *testing.T, srv *Server, rig *apptest.Rig)) {
	apptest.Each(t, func(t *testing.T, api apptest.API) {
		srv := NewServer()
		f(t, srv, api.Serve(t, srv, ErrServerClosed))
	})
}

func TestTCPHalfClose(t *testing.T) {
	for family := range 2 {
		for _, size := range []int{0, 1, 1000, 5 << 20} {
			t.Run(fmt.Sprintf("%s/size=%d", []string{"IPv4", "IPv6"}[family], size), func(t *testing.T) {
				each(t, func(t *testing.T, srv *Server, rig *apptest.Rig) {
					c := rig.DialTo(t, "tcp", family).(apptest.CloseWriter)
					data := make([]byte, size)
					rand.NewChaCha8([32]byte{1}).Read(data)
					go func() {
						if _, err := c.Write(data); err != nil {
							t.Error(err)
						}
						c.CloseWrite()
					}()
					got, err := io.ReadAll(c)
					if err != nil {
						t.Fatal(err)
					}
					if sha256.Sum256(got) != sha256.Sum256(data) {
						t.Fatalf("sent %d bytes, got %d others back", len(data), len(got))
					}
					if !testutil.Poll(func() bool { return srv.Stats().Active == 0 }) {
						t.Error("the server kept the connection")
					}
					st := srv.Stats()
					if st.Connections != 1 || st.BytesIn != uint64(size) || st.BytesOut != uint64(size) || (st.Requests == 0) != (size == 0) {
						t.Errorf("%+v", st)
					}
				})
			})
		}
	}
}

// TestBulkThenLittle goes back and forth between the two sizes of buffers.
func TestBulkThenLittle(t *testing.T) {
	each(t, func(t *testing.T, _ *Server, rig *apptest.Rig) {
		c := rig.Dial(t, "tcp")
		data := make([]byte, 300_000)
		rand.NewChaCha8([32]byte{2}).Read(data)
		got := make([]byte, len(data))
		for range 3 {
			for i := range 3 * bulkReads {
				size := 100
				if i == 0 {
					size = len(data)
				}
				go c.Write(data[:size])
				if _, err := io.ReadFull(c, got[:size]); err != nil || !bytes.Equal(got[:size], data[:size]) {
					t.Fatalf("%d bytes: %v", size, err)
				}
			}
		}
	})
}

func TestManyConnections(t *testing.T) {
	each(t, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		const conns, rounds = 100, 20
		var wg sync.WaitGroup
		for i := range conns {
			wg.Go(func() {
				c, err := rig.TryDial("tcp", 0)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				for j := range rounds {
					_ = c.SetDeadline(time.Now().Add(testutil.Patience))
					msg := fmt.Appendf(nil, "connection %d, round %d", i, j)
					got := make([]byte, len(msg))
					if _, err := c.Write(msg); err != nil {
						t.Error(err)
						return
					}
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
						t.Errorf("sent %q, got %q, %v", msg, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if !testutil.Poll(func() bool { return srv.Stats().Active == 0 }) {
			t.Error("connections stay")
		}
		if st := srv.Stats(); st.Connections != conns || st.Requests < conns*rounds || st.BytesIn != st.BytesOut {
			t.Errorf("%+v", st)
		}
	})
}

func TestUDP(t *testing.T) {
	for family, name := range []string{"IPv4", "IPv6"} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, srv *Server, rig *apptest.Rig) {
				c := rig.DialTo(t, "udp", family)
				for _, size := range []int{0, 1, 1400, 9000, 60000} {
					msg := []byte(strings.Repeat("u", size))
					got := make([]byte, 65536)
					if _, err := c.Write(msg); err != nil {
						t.Fatal(err)
					}
					n, err := c.Read(got)
					if err != nil || !bytes.Equal(got[:n], msg) {
						t.Fatalf("sent %d bytes, got %d, %v", size, n, err)
					}
				}
				// The last answer may be here before it is counted there.
				if !testutil.Poll(func() bool { return srv.Stats().BytesOut == 70401 }) {
					t.Errorf("%+v", srv.Stats())
				}
				if st := srv.Stats(); st.Requests != 5 || st.Dropped != 0 {
					t.Errorf("%+v", st)
				}
			})
		})
	}
}

// TestShutdown has a connection idle, another in the middle of a transfer: the
// bytes that were read come back before the end.
func TestShutdown(t *testing.T) {
	each(t, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		idle, busy := rig.Dial(t, "tcp"), rig.Dial(t, "tcp")
		if _, err := busy.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		if !testutil.Poll(func() bool { s := srv.Stats(); return s.Active == 2 && s.BytesOut == 10 }) {
			t.Fatal("not served")
		}
		ctx, cancel := context.WithTimeout(context.Background(), testutil.Patience)
		defer cancel()
		if err := rig.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(busy); err != nil || string(got) != "last words" {
			t.Errorf("got %q, %v", got, err)
		}
		if got, err := io.ReadAll(idle); err != nil || len(got) != 0 {
			t.Errorf("got %q, %v", got, err)
		}
		if st := srv.Stats(); st.Active != 0 {
			t.Errorf("%+v", st)
		}
		if _, err := rig.TryDial("tcp", 0); err == nil {
			t.Error("still listening")
		}
	})
}

// TestResetByPeer: a connection that dies badly ends its handler, no more.
func TestResetByPeer(t *testing.T) {
	each(t, func(t *testing.T, srv *Server, rig *apptest.Rig) {
		c := rig.Dial(t, "tcp").(apptest.CloseWriter)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if !testutil.Poll(func() bool { return srv.Stats().BytesOut == 1 }) {
			t.Fatal("not served")
		}
		_ = c.SetLinger(0)
		c.Close()
		if !testutil.Poll(func() bool { return srv.Stats().Active == 0 }) {
			t.Error("the server kept the connection")
		}
		again := rig.Dial(t, "tcp")
		if _, err := again.Write([]byte("y")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(again, make([]byte, 1)); err != nil {
			t.Error(err)
		}
	})
}

func BenchmarkEcho(b *testing.B) {
	for _, api := range apptest.APIs {
		for _, network := range []string{"tcp", "udp"} {
			for _, size := range []int{64, 1024} {
				b.Run(fmt.Sprintf("%s/%s/size=%d", api, network, size), func(b *testing.B) {
					c := api.Serve(b, NewServer(), ErrServerClosed).Dial(b, network)
					_ = c.SetDeadline(time.Time{})
					msg, got := make([]byte, size), make([]byte, size)
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := c.Write(msg); err != nil {
							b.Fatal(err)
						}
						if _, err := io.ReadFull(c, got); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
