package tcp

import (
	"net/netip"
	"testing"
)

// TestListenShared has each of several listeners of one address get its share of
// the connections, and what one of them leaves behind go to the others.
func TestListenShared(t *testing.T) {
	e, err := New(1, Config{Output: new(nowhere)})
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort("198.18.0.2:80")
	var ls []*Listener
	for range 3 {
		l, err := e.ListenShared(at, false, 1024)
		if err != nil {
			t.Fatal(err)
		}
		ls = append(ls, l)
	}
	if _, err := e.Listen(at, false, 4); err == nil {
		t.Fatal("a listener that does not share got an address that is taken")
	}
	open := func(first, n int) {
		for i := range n {
			s := Segment{Tuple: MakeTuple(at, netip.AddrPortFrom(netip.MustParseAddr("198.18.0.1"), uint16(first+i))), Flags: FlagSYN, Window: 1000}
			if e.Input(2, &s) != Taken {
				t.Fatal("a SYN was not taken")
			}
		}
	}
	open(1000, 300)
	for i, l := range ls {
		if l.halfOpen < 60 || l.halfOpen > 140 {
			t.Errorf("listener %d of 3 has %d of 300 connections", i, l.halfOpen)
		}
	}
	ls[1].Close()
	had := ls[0].halfOpen + ls[2].halfOpen
	open(2000, 100)
	if got := ls[0].halfOpen + ls[2].halfOpen - had; got != 100 {
		t.Errorf("%d of 100 connections went to the listeners that are left", got)
	}
	ls[2].Close()
	ls[0].Close()
	if len(e.listeners) != 0 {
		t.Error("a listener that was closed is still known")
	}
	if _, err := e.Listen(at, false, 4); err != nil {
		t.Error(err)
	}
}

// TestAbortAll leaves nothing, and tells those who hold connections.
func TestAbortAll(t *testing.T) {
	out := new(nowhere)
	e, err := New(1, Config{Output: out})
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.Dial(1, MakeTuple(netip.MustParseAddrPort("198.18.0.2:1000"), netip.MustParseAddrPort("198.18.0.1:80")))
	if err != nil {
		t.Fatal(err)
	}
	l, err := e.Listen(netip.MustParseAddrPort("198.18.0.2:80"), false, 4)
	if err != nil {
		t.Fatal(err)
	}
	s := Segment{Tuple: MakeTuple(l.Addr(), netip.MustParseAddrPort("198.18.0.1:2000")), Flags: FlagSYN, Window: 1000}
	e.Input(1, &s)
	e.Flush(1)
	sent := out.sent
	e.AbortAll()
	if out.sent != sent+1 { // a SYN that is not answered is forgotten without a word
		t.Errorf("%d resets", out.sent-sent)
	}
	got, ev := e.NextReady()
	if got != c || ev&Closed == 0 || c.Err() == nil {
		t.Errorf("the connection that was dialed: ready %v, events %b, error %v", got == c, ev, c.Err())
	}
	c.Close()
	l.Close()
	if s := e.Stats(); s.Conns != 0 || s.HalfOpen != 0 || s.Memory != 0 {
		t.Errorf("left: %+v", s)
	}
}

// nowhere is an Output that counts.
type nowhere struct {
	frame [2048]byte
	sent  int
}

func (n *nowhere) Frame(_ *Conn, _ *Tuple, size int) []byte { return n.frame[:size] }
func (n *nowhere) Send(*Conn, []byte)                       { n.sent++ }
