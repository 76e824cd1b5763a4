package socketapi

import (
	"bytes"
	"errors"
	"net"
	"shardnet/stack/flow"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

type packetFunc func(p *Packet)

func (f packetFunc) OnPacket(p *Packet) { f(p) }

func (w *world) handlePacket(t testing.TB, address string, h PacketHandler) *Server {
	t.Helper()
	var lc ListenConfig
	s, err := lc.handlePacket(w.server, "udp", address, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Abort()
		<-s.Done()
	})
	return s
}

// TestPacketHandler asks over both families, with datagrams in one frame and in
// fragments, on two shards.
func TestPacketHandler(t *testing.T) {
	w := newStackWorld(t, 2, flow.TransportDefault)
	var n atomic.Int64
	s := w.handlePacket(t, ":7", packetFunc(func(p *Packet) {
		n.Add(1)
		if p.Source().Port() == 0 || p.Destination().Port() != 7 || p.Shard() > 1 {
			t.Errorf("datagram from %v to %v", p.Source(), p.Destination())
		}
		for i := range p.Data {
			p.Data[i]++
		}
		if err := p.Reply(p.Data); err != nil {
			t.Error(err)
		}
	}))
	if a, ok := s.Addr().(*net.UDPAddr); !ok || a.Port != 7 {
		t.Errorf("Addr is %v", s.Addr())
	}
	for _, host := range []string{"198.18.0.1", "2001:db8::1"} {
		for _, size := range []int{0, 1, 1000, 9000} {
			c := w.dial(t, "udp", net.JoinHostPort(host, "7"))
			c.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Write(bytes.Repeat([]byte("a"), size)); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, 10_000)
			m, err := c.Read(got)
			if err != nil || string(got[:m]) != strings.Repeat("b", size) {
				t.Errorf("%s: %d bytes: %d came back, %v", host, size, m, err)
			}
		}
	}
	if n.Load() != 8 {
		t.Errorf("%d datagrams", n.Load())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	<-s.Done()
	if err := s.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
	w.handlePacket(t, ":7", packetFunc(func(*Packet) {})) // the port is free again
}

// TestPacketHandlerRepliesTwice: the first reply takes the frame of the request, and
// the others still go where it came from.
func TestPacketHandlerRepliesTwice(t *testing.T) {
	w := newStackWorld(t, 1, flow.TransportDefault)
	w.handlePacket(t, ":7", packetFunc(func(p *Packet) {
		source, destination := p.Source(), p.Destination()
		for _, reply := range []string{"one", "two", "three"} {
			if err := p.Reply([]byte(reply)); err != nil {
				t.Error(err)
			}
			if p.Source() != source || p.Destination() != destination {
				t.Errorf("after a reply: from %v to %v, before it from %v to %v", p.Source(), p.Destination(), source, destination)
			}
		}
	}))
	for _, host := range []string{"198.18.0.1", "2001:db8::1"} {
		c := w.dial(t, "udp", net.JoinHostPort(host, "7"))
		c.SetDeadline(time.Now().Add(10 * time.Second))
		c.Write([]byte("x"))
		got := make(map[string]bool)
		for range 3 {
			buf := make([]byte, 10)
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("%s: %v, then %v", host, got, err)
			}
			got[string(buf[:n])] = true
		}
		if !got["one"] || !got["two"] || !got["three"] {
			t.Errorf("%s: %v", host, got)
		}
	}
}

// TestServerErrors: all or none, and errors as Listen's.
func TestServerErrors(t *testing.T) {
	w := newStackWorld(t, 2, flow.TransportDefault)
	st := w.server.(stackHost).Stack
	if _, err := Handle(nil, "tcp", ":7", NopHandler{}); err == nil {
		t.Error("served on no stack")
	}
	if _, err := HandlePacket(nil, "udp", ":7", packetFunc(nil)); err == nil {
		t.Error("served on no stack")
	}
	for _, address := range []string{"198.18.0.99:7", "host:7", ":port", "198.18.0.1"} {
		var oe *net.OpError
		if _, err := Handle(st, "tcp", address, NopHandler{}); !errors.As(err, &oe) || oe.Op != "listen" {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := HandlePacket(st, "udp", address, packetFunc(nil)); !errors.As(err, &oe) || oe.Op != "listen" {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := Handle(st, "udp", ":7", NopHandler{}); err == nil {
		t.Error("TCP on udp")
	}
	if _, err := Handle(st, "tcp", ":7", nil); !errors.Is(err, errNoHandler) {
		t.Errorf("no handler: %v", err)
	}
	s, err := Handle(st, "tcp", ":7", NopHandler{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Handle(st, "tcp", ":7", NopHandler{}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("twice: %v", err)
	}
	st.Close()
	<-s.Done()
	if _, err := Handle(st, "tcp", ":7", NopHandler{}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed stack: %v", err)
	}
}
