package tcp_test

import (
	"fmt"
	"net/netip"

	"shardnet/stack/tcp"
)

// wire is an Output that keeps segments until the other end takes them. A real one
// writes link and IP headers before each.
type wire struct{ segs [][]byte }

func (w *wire) Frame(_ *tcp.Conn, _ *tcp.Tuple, n int) []byte { return make([]byte, n) }
func (w *wire) Send(_ *tcp.Conn, seg []byte)                  { w.segs = append(w.segs, seg) }

// Two engines are joined by hand; the one that listens answers in the callback.
func Example() {
	client, server := netip.MustParseAddrPort("198.18.0.1:40000"), netip.MustParseAddrPort("198.18.0.2:7")
	var toServer, toClient wire
	now := int64(1e9) // nanoseconds, of any clock that does not go back

	a, err := tcp.New(now, tcp.Config{Output: &toServer})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, err := tcp.New(now, tcp.Config{Output: &toClient, OnData: func(c *tcp.Conn, p []byte) int {
		n, _ := c.Write(p)
		return n
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := b.Listen(server, false, 16)
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := a.Dial(now, tcp.MakeTuple(client, server))
	if err != nil {
		fmt.Println(err)
		return
	}
	c.Write([]byte("hello"))

	// carry gives what one engine has sent to the other, as one batch.
	carry := func(w *wire, from, to netip.AddrPort, e *tcp.Engine) {
		segs := w.segs
		w.segs = nil
		for _, b := range segs {
			var seg tcp.Segment
			if tcp.ParseSegment(&seg, b, from.Addr().AsSlice(), to.Addr().AsSlice()) == nil {
				e.Input(now, &seg)
			}
		}
	}
	for range 4 {
		now += 1e6
		a.Flush(now)
		carry(&toServer, client, server, b)
		for c, ev := b.NextReady(); c != nil; c, ev = b.NextReady() {
			if ev&tcp.Accepted != 0 {
				c, _ = l.Accept()
			}
			if p, err := c.Peek(); err == nil { // came before it was accepted
				n, _ := c.Write(p)
				c.Discard(n)
			}
		}
		b.Flush(now)
		carry(&toClient, server, client, a)
	}
	p := make([]byte, 100)
	n, err := c.Read(p)
	fmt.Println(string(p[:n]), err)
	// Output: hello <nil>
}
