package tcp

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// pair connects n times over a simulation, and gives both ends.
func pair(t *testing.T, s *sim, n int) (clients, servers []*Conn) {
	t.Helper()
	l, err := s.hosts[1].e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(simAddr[0], uint16(1000+i)), netip.AddrPortFrom(simAddr[1], 80)))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	s.idle(t, time.Second)
	for range n {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		servers = append(servers, c)
	}
	s.idle(t, time.Second)
	return clients, servers
}

// TestStarvedWriterIsTold: a Write that finds no memory is told of it once others
// have given some back, though nothing of its own connection happens.
func TestStarvedWriterIsTold(t *testing.T) {
	s := newSim(t, 1, Config{Memory: 512 << 10, SendBuffer: 512 << 10})
	clients, servers := pair(t, s, 2)
	data := make([]byte, 512<<10)
	for {
		if n, err := clients[0].Write(data); n == 0 {
			break
		} else if !errors.Is(err, ErrWouldBlock) {
			t.Fatal(err)
		}
	}
	n, err := clients[1].Write(data)
	if n != 0 || !errors.Is(err, ErrWouldBlock) {
		t.Fatalf("wrote %d, %v: want no memory to be left", n, err)
	}
	told := false
	s.hosts[0].ready = func(c *Conn, ev Events) { told = told || c == clients[1] && ev&Writable != 0 }
	s.hosts[1].ready = func(c *Conn, _ Events) {
		for {
			if _, err := servers[0].Read(data); err != nil {
				return
			}
		}
	}
	s.run(t, 10*time.Second, func() bool { return told })
	if n, _ := clients[1].Write(data[:1000]); n != 1000 {
		t.Errorf("wrote %d bytes after having been told of room", n)
	}
}

// TestConnectionsLeaveRoomToSend: however many connections there are, what they have to
// say finds memory.
func TestConnectionsLeaveRoomToSend(t *testing.T) {
	s := newSim(t, 1, Config{Memory: 1 << 20})
	var conns []*Conn
	for i := 0; ; i++ {
		c, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(simAddr[0], uint16(1000+i)), netip.AddrPortFrom(simAddr[1], 80)))
		if errors.Is(err, syscall.ENOBUFS) {
			break
		}
		if err != nil || i > 10_000 {
			t.Fatalf("dial %d: %v", i, err)
		}
		conns = append(conns, c)
	}
	for i, c := range conns[:min(len(conns), 100)] {
		if n, err := c.Write([]byte("x")); n != 1 || err != nil {
			t.Fatalf("connection %d of %d writes %d bytes: %v", i, len(conns), n, err)
		}
	}
}

// TestReceiveBuffer grows with what a connection makes of it, and shrinks after it has
// been idle; it does not take more than half of the budget.
func TestReceiveBuffer(t *testing.T) {
	s := newSim(t, 1, Config{Memory: 8 << 20})
	s.checked = false
	s.paths[0].rate, s.paths[0].queue = 2e7, 400000
	clients, servers := pair(t, s, 1)
	c, p := clients[0], servers[0]
	data := make([]byte, 1<<16)
	s.hosts[0].ready = func(c *Conn, _ Events) {
		for {
			if _, err := c.Write(data); err != nil {
				return
			}
		}
	}
	s.hosts[1].ready = func(c *Conn, _ Events) {
		for {
			if _, err := c.Read(data); err != nil {
				return
			}
		}
	}
	s.hosts[0].ready(c, Writable)
	s.idle(t, time.Second)
	if p.rcv.buf < 512<<10 || s.hosts[1].e.used > 4<<20 {
		t.Fatalf("the buffer has grown to %d, %d of the budget are taken", p.rcv.buf, s.hosts[1].e.used)
	}
	s.hosts[0].ready = nil
	s.idle(t, 5*time.Second)
	if p.Buffered() != 0 || p.rcv.queue.mem != 0 || s.hosts[1].e.chunks.bytes != 0 {
		t.Errorf("an idle connection holds %d bytes of chunks", s.hosts[1].e.chunks.bytes)
	}
	for range 2000 {
		if _, err := c.Write(data[:2000]); err != nil {
			t.Fatal(err)
		}
		s.idle(t, 2*time.Second)
	}
	if p.rcv.buf > firstRcvBuf {
		t.Errorf("the buffer still has %d bytes", p.rcv.buf)
	}
}

// TestIdleConnectionsReserveLittle: connections that say nothing leave the budget to those
// that do, and one that begins to receive has what it needs.
func TestIdleConnectionsReserveLittle(t *testing.T) {
	const n = 1000
	s := newSim(t, 1, Config{Memory: 64 << 20})
	s.checked = false
	clients, servers := pair(t, s, n)
	for i, h := range s.hosts {
		if limit := int64(n * (connCost + firstRcvBuf)); h.e.used > limit {
			t.Errorf("host %d: %d idle connections count %d bytes, want at most %d", i, n, h.e.used, limit)
		}
	}
	data := make([]byte, 1<<16)
	s.hosts[1].ready = func(c *Conn, _ Events) {
		for {
			if _, err := c.Read(data); err != nil {
				return
			}
		}
	}
	// The first flight alone has the buffer grow: the next one is twice as large.
	if _, err := clients[0].Write(data); err != nil {
		t.Fatal(err)
	}
	s.idle(t, 35*time.Millisecond) // there and back and there: a flight and a half
	if g := servers[0].rcv.buf; g < 64<<10 {
		t.Errorf("a connection that receives has a buffer of %d", g)
	}
}

// TestSynFlood: handshakes that are never finished take a bounded part of the memory,
// and others still connect.
func TestSynFlood(t *testing.T) {
	for _, backlog := range []int{64, 1 << 20} {
		s := newSim(t, 1, Config{Memory: 4 << 20})
		s.checked = false
		e := s.hosts[1].e
		l, err := e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, backlog)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 20000 {
			a := netip.AddrFrom4([4]byte{198, 19, byte(i >> 8), byte(i)})
			seg := Segment{Tuple: MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(a, 1)), Flags: FlagSYN, Window: 1000}
			e.Input(s.now, &seg)
			if i%64 == 0 {
				e.Flush(s.now)
			}
		}
		st := e.Stats()
		if st.HalfOpen > backlog || st.Memory > 4<<20/8*7+firstRcvBuf+connCost || st.Cookies == 0 {
			t.Errorf("backlog %d: %+v", backlog, st)
		}
		c, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(simAddr[0], 1), netip.AddrPortFrom(simAddr[1], 80)))
		if err != nil {
			t.Fatal(err)
		}
		s.run(t, 10*time.Second, func() bool { return c.State() == StateEstablished && l.Waiting() == 1 })
	}
}

// TestManyIdleConnections counts what connections hold, and that each still answers.
func TestManyIdleConnections(t *testing.T) {
	const n = 5000
	d, round := newEcho(t, n)
	round()
	for range 3 { // acknowledgements are delayed
		d.turn(int64(50 * time.Millisecond))
		for d.hosts[0].e.Pending() || d.hosts[1].e.Pending() {
			d.turn(1000)
		}
	}
	for i, h := range d.hosts {
		if h.e.chunks.bytes != 0 || h.e.segs.live > n {
			t.Errorf("host %d: %d bytes of chunks and %d segments for idle connections", i, h.e.chunks.bytes, h.e.segs.live)
		}
		if err := h.e.check(); err != nil {
			t.Error(err)
		}
	}
}
