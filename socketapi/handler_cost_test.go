package socketapi

import (
	"io"
	"reflect"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
	"testing"
	"time"
)

// TestEventConnSize keeps the documented size: the allocator's class for it.
func TestEventConnSize(t *testing.T) {
	if n := reflect.TypeFor[EventConn]().Size(); n > 80 {
		t.Errorf("an EventConn takes %d bytes, documented are 80", n)
	}
}

// TestHandlerAllocs counts what a request costs, on fakes, which do not allocate
// themselves: consumed at once or in two parts, gathered from many writes, too
// large for the room there is, and with a deadline that is moved.
func TestHandlerAllocs(t *testing.T) {
	w := newFakeWorld(t, 1)
	timeout := func(c *EventConn) { c.Abort() }
	for name, f := range map[string]*funcs{
		"echo": {data: echoData},
		"in two parts": {data: func(c *EventConn, p []byte) int {
			if len(p) < 2*requestSize {
				return 0
			}
			return echoData(c, p)
		}},
		"many writes": {data: func(c *EventConn, p []byte) int {
			for i := range p {
				c.Write(p[i : i+1])
			}
			return len(p)
		}},
		"deadline": {
			open: func(c *EventConn) { c.SetValue(c.AfterFunc(time.Hour, timeout)) },
			data: func(c *EventConn, p []byte) int {
				c.Value().(*EventTimer).Reset(time.Hour)
				return echoData(c, p)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			// The checks of funcs allocate: only its functions are called.
			f.t = t
			h := &bare{f: f}
			var lc ListenConfig
			s, err := lc.handle(w.server, "tcp", "198.18.0.1:0", h)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Abort()
			c := w.dialTo(t, s)
			out, in := make([]byte, requestSize), make([]byte, 2*requestSize)
			exchange := func() {
				c.Write(out)
				c.Write(out)
				if _, err := io.ReadFull(c, in); err != nil {
					t.Error(err)
				}
			}
			for range 10 {
				exchange()
			}
			allocs(t, "request", exchange)
		})
	}
	t.Run("back-pressure", func(t *testing.T) {
		var lc ListenConfig
		s, err := lc.handle(w.server, "tcp", "198.18.0.1:0", &bare{f: &funcs{data: echoData}})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Abort()
		c := w.dialTo(t, s)
		buf := make([]byte, fakeBuffer)
		exchange := func() {
			for range 4 {
				c.Write(buf)
			}
			for range 4 {
				if _, err := io.ReadFull(c, buf); err != nil {
					t.Error(err)
				}
			}
		}
		for range 20 {
			exchange()
		}
		allocs(t, "requests", exchange)
	})
}

const requestSize = 64

// bare calls the functions of a funcs without its checks.
type bare struct{ f *funcs }

func (b *bare) OnOpen(c *EventConn) {
	if b.f.open != nil {
		b.f.open(c)
	}
}
func (b *bare) OnData(c *EventConn, p []byte) int { return b.f.data(c, p) }
func (b *bare) OnWritable(*EventConn)             {}
func (b *bare) OnClose(*EventConn, error)         {}

// TestPacketHandlerAllocs: on the real stack, nothing between the frame and the
// handler allocates.
func TestPacketHandlerAllocs(t *testing.T) {
	w := newStackWorld(t, 1, flow.TransportDefault)
	s := w.handlePacket(t, "198.18.0.1:0", packetFunc(func(p *Packet) { p.Reply(p.Data) }))
	c := w.dial(t, "udp", s.Addr().String())
	buf := make([]byte, requestSize)
	n := testing.AllocsPerRun(200, func() {
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			t.Error(err)
		}
	})
	if !testutil.RaceEnabled && n != 0 {
		t.Errorf("%v allocations a datagram, client and server", n)
	}
}

// BenchmarkHandlerEcho is the event API's own cost, on fakes: a request and its
// reply of 64 bytes, with a client that is woken by a channel.
func BenchmarkHandlerEcho(b *testing.B) {
	w := newFakeWorld(b, 1)
	var lc ListenConfig
	s, err := lc.handle(w.server, "tcp", "198.18.0.1:0", &bare{f: &funcs{data: echoData}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Abort()
	c := w.dialTo(b, s)
	buf := make([]byte, requestSize)
	b.ReportAllocs()
	for b.Loop() {
		c.Write(buf)
		if _, err := io.ReadFull(c, buf); err != nil {
			b.Fatal(err)
		}
	}
}
