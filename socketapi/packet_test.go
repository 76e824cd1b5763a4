package socketapi

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

// echoPackets answers on c until it is closed, and waits for that at the end of
// the test.
func echoPackets(t testing.TB, c net.PacketConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 64<<10)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("ReadFrom: %v", err)
				}
				return
			}
			if _, err := c.WriteTo(buf[:n], from); err != nil && !errors.Is(err, net.ErrClosed) {
				t.Errorf("WriteTo: %v", err)
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
}

func udpPort(g *PacketGroup) uint16 { return uint16(g.LocalAddr().(*net.UDPAddr).Port) }

// ask sends p and reads the answer, and sends again when one got lost.
func ask(t testing.TB, c net.Conn, p []byte) []byte {
	t.Helper()
	buf := make([]byte, 64<<10)
	for range 20 {
		if _, err := c.Write(p); err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		n, err := c.Read(buf)
		if err == nil {
			return buf[:n]
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
	}
	t.Fatal("no answer to 20 datagrams")
	return nil
}

func TestPacketEcho(t *testing.T) {
	inWorlds(t, 4, func(t *testing.T, w *world) {
		for _, way := range []string{"group", "members", "mixed"} {
			for _, host := range []netip.Addr{server4, server6} {
				t.Run(fmt.Sprintf("%s %v", way, host), func(t *testing.T) {
					g := w.listenPacket(t, w.server, "udp", ":0")
					if way != "members" {
						echoPackets(t, g)
					}
					if way != "group" {
						for i := range g.Len() {
							echoPackets(t, g.PacketConn(i))
						}
					}
					address := netip.AddrPortFrom(host, udpPort(g)).String()
					for i := range 32 {
						c := w.dial(t, "udp", address)
						p := fmt.Appendf(nil, "datagram %d", i)
						if got := ask(t, c, p); !bytes.Equal(got, p) {
							t.Errorf("got %q, sent %q", got, p)
						}
						if got := c.RemoteAddr().String(); got != address {
							t.Errorf("RemoteAddr is %s, dialled %s", got, address)
						}
						c.Close()
					}
				})
			}
		}
	})
}

// TestPacketAddresses sees that addresses are plain, though the socket takes both
// families.
func TestPacketAddresses(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		g := w.listenPacket(t, w.server, "udp", ":0")
		c := w.listenPacket(t, w.client, "udp", "198.18.0.2:0").PacketConn(0)
		to := netip.AddrPortFrom(server4, udpPort(g))
		from := c.LocalAddr().(*net.UDPAddr).AddrPort()
		buf := make([]byte, 16)
		read := map[string]func() (any, error){
			"ReadFromUDPAddrPort": func() (any, error) { _, a, err := g.PacketConn(0).ReadFromUDPAddrPort(buf); return a, err },
			"ReadFromUDP":         func() (any, error) { _, a, err := g.PacketConn(0).ReadFromUDP(buf); return a.AddrPort(), err },
			"ReadFrom": func() (any, error) {
				_, a, err := g.PacketConn(0).ReadFrom(buf)
				return a.(*net.UDPAddr).AddrPort(), err
			},
			"group ReadFromUDPAddrPort": func() (any, error) { _, a, err := g.ReadFromUDPAddrPort(buf); return a, err },
			"group ReadFromUDP":         func() (any, error) { _, a, err := g.ReadFromUDP(buf); return a.AddrPort(), err },
			"group ReadFrom":            func() (any, error) { _, a, err := g.ReadFrom(buf); return a.(*net.UDPAddr).AddrPort(), err },
		}
		mapped := netip.AddrPortFrom(netip.AddrFrom16(to.Addr().As16()), to.Port())
		write := map[string]func() (int, error){
			"WriteToUDPAddrPort":        func() (int, error) { return c.WriteToUDPAddrPort([]byte("x"), to) },
			"WriteToUDPAddrPort mapped": func() (int, error) { return c.WriteToUDPAddrPort([]byte("x"), mapped) },
			"WriteToUDP":                func() (int, error) { return c.WriteToUDP([]byte("x"), net.UDPAddrFromAddrPort(mapped)) },
			"WriteTo":                   func() (int, error) { return c.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(to)) },
		}
		g.SetReadDeadline(time.Now().Add(10 * time.Second))
		for wname, wf := range write {
			for rname, rf := range read {
				if n, err := wf(); n != 1 || err != nil {
					t.Fatalf("%s: %d, %v", wname, n, err)
				}
				if a, err := rf(); a != from || err != nil {
					t.Errorf("%s: address %v and %v, want %v", rname, a, err, from)
				}
			}
		}
	})
}

// TestPacketBoundaries sends empty, large and too large datagrams and reads with
// short buffers.
func TestPacketBoundaries(t *testing.T) {
	inWorlds(t, 1, func(t *testing.T, w *world) {
		g := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
		c := w.dial(t, "udp", g.LocalAddr().String())
		g.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 64<<10)
		for _, size := range []int{0, 1, 1400, 1473, 9000} {
			p := bytes.Repeat([]byte{byte(size)}, size)
			if n, err := c.Write(p); n != size || err != nil {
				t.Fatalf("Write of %d bytes: %d, %v", size, n, err)
			}
			if n, _, err := g.ReadFrom(buf); err != nil || !bytes.Equal(buf[:n], p) {
				t.Errorf("a datagram of %d bytes came as %d, %v", size, n, err)
			}
		}
		c.Write([]byte("long"))
		c.Write([]byte("next"))
		if n, _, err := g.ReadFrom(buf[:2]); n != 2 || err != nil || string(buf[:2]) != "lo" {
			t.Errorf("read %q, %v into two bytes", buf[:n], err)
		}
		if n, _, err := g.ReadFrom(buf); err != nil || string(buf[:n]) != "next" {
			t.Errorf("read %q, %v after a datagram that was cut", buf[:n], err)
		}
		if _, err := c.Write(make([]byte, 65508)); !errors.Is(err, syscall.EMSGSIZE) {
			t.Errorf("Write of a datagram too large: %v, want EMSGSIZE", err)
		}
	})
}

func TestPacketConnRefused(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		c := w.dial(t, "udp", "198.18.0.1:9")
		c.SetDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 16)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		// The answer to the first datagram may be told by the next call, whichever.
		_, err := c.Read(buf)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Read: %v, want ECONNREFUSED", err)
		}
	})
}

// TestPacketGroupHome checks that answers leave from the shard where the peer was
// heard last.
func TestPacketGroupHome(t *testing.T) {
	w := newFakeWorld(t, 4)
	g := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
	buf := make([]byte, 16)
	for range 32 {
		c := w.listenPacket(t, w.client, "udp", "198.18.0.2:0").PacketConn(0)
		from := c.LocalAddr().(*net.UDPAddr)
		c.WriteTo([]byte("x"), g.LocalAddr())
		_, a, err := g.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		want := from.Port % 4 // where the fake delivers it
		before := g.members[want].flow.(*fakePacketFlow).sent
		if _, err := g.WriteToUDPAddrPort([]byte("y"), a); err != nil {
			t.Fatal(err)
		}
		if got := g.members[want].flow.(*fakePacketFlow).sent; got != before+1 {
			t.Errorf("the answer to %v did not leave from shard %d", a, want)
		}
	}
	// When its home is closed, another member answers.
	peer := addrPortOf("198.18.0.2", 4242)
	g.peers.set(peer, 2)
	g.PacketConn(2).Close()
	if n, err := g.WriteToUDPAddrPort([]byte("z"), peer); n != 1 || err != nil {
		t.Errorf("write to a peer whose shard is closed: %d, %v", n, err)
	}
}

func TestHomes(t *testing.T) {
	var h peerShardCache
	spread := make([]int, 4)
	for i := range 4096 {
		a := addrPortOf(fmt.Sprintf("198.18.%d.%d", i/256, i%256), uint16(i))
		first := h.get(a, 4)
		if first != h.get(a, 4) {
			t.Fatalf("%v has two shards", a)
		}
		spread[first]++
	}
	for i, n := range spread {
		if n < 900 || n > 1150 {
			t.Errorf("shard %d is home to %d of 4096 strangers", i, n)
		}
	}
	// Many more peers than slots push each other out, and who came last is right.
	h = peerShardCache{}
	for i := range 100_000 {
		a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), uint16(i>>4))
		h.set(a, i%3)
		if got := h.get(a, 3); got != i%3 {
			t.Fatalf("%v was set to shard %d and is at %d", a, i%3, got)
		}
		if got := h.get(a, 1); got != 0 {
			t.Fatalf("home %d of one shard", got)
		}
	}
}

// TestPacketWriteBlocks takes away the room to send.
func TestPacketWriteBlocks(t *testing.T) {
	w := newFakeWorld(t, 1)
	g := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
	c := g.PacketConn(0)
	f := c.flow.(*fakePacketFlow)
	to := netip.AddrPortFrom(client4, 9)
	write := func() (int, error) { return g.WriteToUDPAddrPort([]byte("x"), to) }

	f.setFull(true)
	r := start(write)
	blocked(t, "socketapi.(*PacketConn).WriteToUDPAddrPort")
	f.setFull(false)
	if got := wait(t, r); got.n != 1 || got.err != nil {
		t.Errorf("write once there was room: %d, %v", got.n, got.err)
	}
	f.setFull(true)
	g.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := write(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("write until the deadline: %v", err)
	}
	g.SetWriteDeadline(time.Time{})
	r = start(write)
	blocked(t, "socketapi.(*PacketConn).WriteToUDPAddrPort")
	g.Close()
	if got := wait(t, r); !errors.Is(got.err, net.ErrClosed) {
		t.Errorf("write under Close: %v", got.err)
	}
}

func TestPacketCloseAndDeadline(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		g := w.listenPacket(t, w.server, "udp", ":0")
		buf := make([]byte, 16)
		readers := func() []<-chan result {
			var rs []<-chan result
			for _, c := range []net.PacketConn{g, g, g.PacketConn(0), g.PacketConn(1), g.PacketConn(1)} {
				rs = append(rs, start(func() (int, error) { n, _, err := c.ReadFrom(make([]byte, 16)); return n, err }))
			}
			blocked(t, "socketapi.(*PacketGroup).ReadFrom")
			blocked(t, "socketapi.(*PacketConn).ReadFrom")
			return rs
		}
		rs := readers()
		g.SetDeadline(time.Now())
		for _, r := range rs {
			if got := wait(t, r); !errors.Is(got.err, os.ErrDeadlineExceeded) {
				t.Errorf("read: %v, want os.ErrDeadlineExceeded", got.err)
			}
		}
		if _, err := g.WriteTo(buf, &net.UDPAddr{IP: client4.AsSlice(), Port: 9}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v, want os.ErrDeadlineExceeded", err)
		}
		g.SetDeadline(time.Time{})
		rs = readers()
		g.PacketConn(0).Close() // the group goes on with the other
		if got := wait(t, rs[2]); !errors.Is(got.err, net.ErrClosed) {
			t.Errorf("read of a closed member: %v", got.err)
		}
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		for _, i := range []int{0, 1, 3, 4} {
			if got := wait(t, rs[i]); !errors.Is(got.err, net.ErrClosed) {
				t.Errorf("read under Close: %v", got.err)
			}
		}
		for name, f := range map[string]func() error{
			"Close":          g.Close,
			"SetDeadline":    func() error { return g.SetDeadline(time.Time{}) },
			"SetReadBuffer":  func() error { return g.SetReadBuffer(1 << 20) },
			"SetWriteBuffer": func() error { return g.SetWriteBuffer(1 << 20) },
			"Close member":   g.PacketConn(1).Close,
			"ReadFrom":       func() error { _, _, err := g.ReadFrom(buf); return err },
			"WriteTo":        func() error { _, err := g.WriteTo(buf, &net.UDPAddr{IP: client4.AsSlice(), Port: 9}); return err },
			"member's Read":  func() error { _, err := g.PacketConn(1).Read(nil); return err },
			"member's WriteTo": func() error {
				_, err := g.PacketConn(1).WriteTo(buf, &net.UDPAddr{IP: client4.AsSlice(), Port: 9})
				return err
			},
		} {
			if err := f(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s after Close: %v, want net.ErrClosed", name, err)
			}
		}
	})
}

// TestPacketRaces calls everything at once; the race detector is the judge.
func TestPacketRaces(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		for range 10 {
			g := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
			var wg sync.WaitGroup
			for i := range 2 {
				for _, c := range []net.PacketConn{g, g.PacketConn(i)} {
					wg.Go(func() {
						buf := make([]byte, 16)
						for {
							if _, _, err := c.ReadFrom(buf); errors.Is(err, net.ErrClosed) {
								return
							}
						}
					})
					wg.Go(func() {
						for i := range 100 {
							c.SetDeadline(time.Now().Add(time.Duration(i) * time.Millisecond))
							c.WriteTo([]byte("x"), g.LocalAddr())
						}
						c.Close()
					})
				}
			}
			wg.Wait()
			g.Close()
		}
	})
}
