package sim

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"shardnet/stack/tcp"
)

var addrs = [2]netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}

// tcpPort is listened at; those who dial have the ports after firstPort, in turn, so that
// a connection is known when it is accepted.
const (
	tcpPort   = 80
	firstPort = 40000
)

// engineHost is an engine of stack/tcp.
type engineHost struct {
	t        testing.TB
	w        *world
	index    int
	port     *port
	e        *tcp.Engine
	l        *tcp.Listener
	local    uint16 // port of the last dialed
	expected uint16 // port of the last that was to be accepted
	socks    map[*tcp.Conn]*engineSock
	wait     map[uint16]*engineSock // to be accepted, by the other's port
	seg      tcp.Segment
}

// anEngine makes hosts of engines with a configuration.
func anEngine(cfg tcp.Config) maker {
	return func(t testing.TB, w *world, index int) host {
		h := &engineHost{t: t, w: w, index: index, port: w.ports[index], local: firstPort, expected: firstPort,
			socks: make(map[*tcp.Conn]*engineSock), wait: make(map[uint16]*engineSock)}
		rng := rand.New(rand.NewPCG(uint64(index), 77))
		for i := range cfg.Secret {
			cfg.Secret[i] = byte(rng.Uint32())
		}
		cfg.Output = h
		e, err := tcp.New(w.clock.read(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		h.e = e
		return h
	}
}

func (h *engineHost) Frame(_ *tcp.Conn, _ *tcp.Tuple, n int) []byte {
	b := h.port.alloc(ipLen + n)
	if b == nil {
		return nil
	}
	src, dst := addrs[h.index].As4(), addrs[1-h.index].As4()
	putIP(b, src, dst)
	return b[ipLen:]
}

func (h *engineHost) Send(*tcp.Conn, []byte) { h.port.send() }

// putIP writes an IPv4 header to a packet of TCP.
func putIP(b []byte, src, dst [4]byte) {
	clear(b[:ipLen])
	b[0], b[8], b[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], ^sum16(b[:ipLen]))
}

// sum16 is the sum of RFC 1071.
func sum16(b []byte) uint16 {
	var s uint32
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

func (h *engineHost) take(b []byte) {
	if len(b) < ipLen || b[0] != 0x45 || sum16(b[:ipLen]) != 0xffff {
		return
	}
	b = b[:min(int(binary.BigEndian.Uint16(b[2:])), len(b))]
	if !tcp.VerifyChecksum(b[ipLen:], b[12:16], b[16:20]) || tcp.ParseSegment(&h.seg, b[ipLen:], b[12:16], b[16:20]) != nil {
		return
	}
	if h.e.Input(h.w.clock.read(), &h.seg) == tcp.NoConnection {
		h.e.Reject(&h.seg)
	}
}

func (h *engineHost) turn() {
	now := h.w.clock.read()
	h.e.Advance(now)
	// More than one round, as what applications do makes more ready.
	for range 1000 {
		for c, ev := h.e.NextReady(); c != nil; c, ev = h.e.NextReady() {
			h.ready(c, ev)
		}
		short := h.e.Stats().NoFrame
		h.e.Flush(now)
		if !h.e.Pending() && !h.e.Ready() || h.e.Stats().NoFrame != short {
			return
		}
	}
	h.t.Fatal("a turn of the engine does not end")
}

func (h *engineHost) ready(c *tcp.Conn, ev tcp.Events) {
	if ev&tcp.Accepted != 0 {
		c, err := h.l.Accept()
		if err != nil {
			return
		}
		s := h.wait[c.RemoteAddr().Port()]
		if s == nil {
			h.t.Errorf("a connection from %v, which nobody has dialed", c.RemoteAddr())
			c.Abort()
			return
		}
		delete(h.wait, c.RemoteAddr().Port())
		s.c = c
		h.socks[c] = s
		s.ready()
		return
	}
	if s := h.socks[c]; s != nil {
		s.ready()
	}
}

func (h *engineHost) next() (int64, bool) {
	if h.e.Pending() {
		return h.w.clock.read() + int64(50*time.Microsecond), true // frames were short
	}
	return h.e.NextTimer()
}

func (h *engineHost) counts() (sent, again, timeouts uint64) {
	st := h.e.Stats()
	return st.Sent, st.Retransmitted, st.Timeouts
}

func (h *engineHost) sock(t testing.TB, active bool) socket {
	s := &engineSock{h: h}
	if !active {
		if h.l == nil {
			l, err := h.e.Listen(netip.AddrPortFrom(addrs[h.index], tcpPort), false, 64)
			if err != nil {
				t.Fatal(err)
			}
			h.l = l
		}
		h.expected++
		h.wait[h.expected] = s
		return s
	}
	h.local++
	c, err := h.e.Dial(h.w.clock.read(), tcp.MakeTuple(netip.AddrPortFrom(addrs[h.index], h.local), netip.AddrPortFrom(addrs[1-h.index], tcpPort)))
	if err != nil {
		t.Fatal(err)
	}
	s.c = c
	h.socks[c] = s
	return s
}

// engineSock is a connection of the engine. Its application is called when the
// engine says that it is ready, and at no other time.
type engineSock struct {
	h    *engineHost
	c    *tcp.Conn
	call func()
}

func (s *engineSock) onReady(f func()) { s.call = f }

func (s *engineSock) ready() {
	if s.call != nil {
		s.call()
	}
}

func (s *engineSock) write(b []byte) (int, error) {
	if s.c == nil {
		return 0, errBlock
	}
	n, err := s.c.Write(b)
	return n, blocks(err)
}

func (s *engineSock) read(b []byte) (int, error) {
	if s.c == nil {
		return 0, errBlock
	}
	n, err := s.c.Read(b)
	return n, blocks(err)
}

func (s *engineSock) closeWrite() error { return s.c.CloseWrite() }

func (s *engineSock) close() {
	delete(s.h.socks, s.c)
	s.c.Close()
	s.c = nil
}

func blocks(err error) error {
	if errors.Is(err, tcp.ErrWouldBlock) {
		return errBlock
	}
	return err
}
