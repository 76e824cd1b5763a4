package socketapi

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"shardnet/test/testutil"
)

// allocs checks that f does not allocate, on any goroutine, on average.
func allocs(t *testing.T, what string, f func()) {
	t.Helper()
	if testutil.RaceEnabled {
		f() // the race detector allocates
		return
	}
	if n := testing.AllocsPerRun(40, f); n != 0 {
		t.Errorf("%s: %v allocations", what, n)
	}
}

// TestReadAllocs reads bytes that are there, on fakes and on the real stack,
// which is idle meanwhile.
func TestReadAllocs(t *testing.T) {
	inWorlds(t, 2, func(t *testing.T, w *world) {
		s, c := w.pair(t)
		if _, err := c.Write(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1)
		read := func() {
			if n, err := s.Read(buf); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		read()
		allocs(t, "Read", read)

		g := w.listenPacket(t, w.server, "udp", ":0")
		p := w.listenPacket(t, w.client, "udp", "198.18.0.2:0").PacketConn(0)
		to := netip.AddrPortFrom(server4, udpPort(g))
		for range 50 {
			if _, err := p.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				t.Fatal(err)
			}
		}
		if st, ok := w.server.(stackHost); ok {
			testutil.Eventually(t, "all datagrams have arrived", func() bool { return st.Stats().UDPReceived >= 50 })
		}
		g.SetReadDeadline(time.Now().Add(10 * time.Second))
		readFrom := func() {
			if n, _, err := g.ReadFromUDPAddrPort(buf); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		readFrom()
		allocs(t, "ReadFromUDPAddrPort of a group", readFrom)
	})
}

// TestSocketAllocs counts everything, on fakes, which do not allocate themselves.
func TestSocketAllocs(t *testing.T) {
	w := newFakeWorld(t, 2)
	s, c := w.pair(t)
	buf := make([]byte, 128)
	allocs(t, "Write and Read", func() {
		c.Write(buf)
		s.Read(buf)
	})
	allocs(t, "SetDeadline forward", func() { s.SetDeadline(time.Now().Add(time.Hour)) })

	// A peer that echoes: each Read below finds nothing, and sleeps.
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 128)
		for {
			n, err := s.Read(buf)
			if err != nil {
				return
			}
			s.Write(buf[:n])
		}
	}()
	echo := func() {
		c.Write(buf)
		if _, err := c.Read(buf); err != nil {
			t.Error(err)
		}
	}
	echo() // the first sleep makes the channel
	allocs(t, "Read that sleeps", echo)
	c.Close()
	<-done

	g := w.listenPacket(t, w.server, "udp", "198.18.0.1:0")
	p := g.PacketConn(0)
	nobody := netip.AddrPortFrom(nobody4, 9)
	allocs(t, "WriteToUDPAddrPort", func() { p.WriteToUDPAddrPort(buf, nobody) })
	allocs(t, "WriteToUDPAddrPort of a group", func() { g.WriteToUDPAddrPort(buf, nobody) })
	d := w.dial(t, "udp", "198.18.0.99:9")
	allocs(t, "Write of a dialled PacketConn", func() { d.Write(buf) })
	addr := net.UDPAddrFromAddrPort(nobody)
	allocs(t, "WriteTo", func() { p.WriteTo(buf, addr) })
}
