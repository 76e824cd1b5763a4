package tcp

import (
	"net/netip"
	"testing"
	"time"
)

// TestSynCookies has more clients connect at once than a listener may have handshakes
// under way.
func TestSynCookies(t *testing.T) {
	s := newSim(t, 1)
	l, err := s.hosts[1].e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, 4)
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	var clients, servers []*Conn
	echoed := 0
	data := make([]byte, 20000)
	s.hosts[0].ready = func(c *Conn, ev Events) {
		if k, err := c.Read(data); err == nil {
			echoed += k
		}
	}
	s.hosts[1].ready = func(c *Conn, ev Events) {
		if ev&Accepted != 0 {
			if c, err = l.Accept(); err != nil {
				return
			}
			servers = append(servers, c)
		}
		for {
			k, err := c.Read(data)
			if err != nil {
				return
			}
			if _, err := c.Write(data[:k]); err != nil {
				t.Error(err)
			}
		}
	}
	for i := range n {
		c, err := s.hosts[0].e.Dial(s.now, MakeTuple(netip.AddrPortFrom(simAddr[0], uint16(1000+i)), netip.AddrPortFrom(simAddr[1], 80)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(data[:1000]); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	s.run(t, time.Minute, func() bool { return echoed == n*1000 })
	st := s.hosts[1].e.Stats()
	if st.Cookies < n-4 || st.CookiesTaken < n-4 {
		t.Errorf("%+v: want most connections to be made of cookies", st)
	}
	for _, c := range servers {
		if c.flags&(flagTS|flagSack|flagScale) != flagTS|flagSack|flagScale || c.snd.scale != 7 || c.snd.mss != 1460 {
			t.Errorf("an option is lost: flags %b, scale %d, MSS %d", c.flags, c.snd.scale, c.snd.mss)
		}
	}
	_ = clients
}

// TestForgedCookies: an ACK that brings no cookie of ours makes no connection.
func TestForgedCookies(t *testing.T) {
	s := newSim(t, 1)
	e := s.hosts[1].e
	l, err := e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, 4)
	if err != nil {
		t.Fatal(err)
	}
	l.cookieAt = s.now
	seg := Segment{Tuple: MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(simAddr[0], 1000)), Flags: FlagACK, Seq: 101}
	good := e.cookie(&seg.Tuple, 100, e.cookieCount(), 7)
	for _, tc := range []struct {
		name  string
		ack   seqNum
		later time.Duration
		other bool // another connection's
		want  bool
	}{
		{"right", good + 1, 0, false, true},
		{"in the next period", good + 1, cookiePeriod, false, true},
		{"too late", good + 1, 2 * cookiePeriod, false, false},
		{"another hash", good + 2, 0, false, false},
		{"another MSS", good ^ 1<<24 + 1, 0, false, false},
		{"another period", good ^ 1<<27 + 1, 0, false, false},
		{"another port", good + 1, 0, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l.cookieAt = s.now + int64(tc.later) // the flood goes on
			try := seg
			try.Ack = tc.ack
			if tc.other {
				try.RemotePort++
			}
			e.Input(s.now+int64(tc.later), &try)
			c, err := l.Accept()
			if (err == nil) != tc.want {
				t.Fatalf("accepted: %v, want %v", err == nil, tc.want)
			}
			if c != nil {
				c.Abort()
				e.NextReady()
			}
		})
	}
	l.cookieAt = 0
	seg.Ack = good + 1
	if e.Input(s.now, &seg) != NoConnection {
		t.Error("a cookie was taken while none had been sent")
	}
}
