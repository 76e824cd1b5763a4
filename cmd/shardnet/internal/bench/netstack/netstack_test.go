package netstack

import (
	"bytes"
	"io"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"shardnet/driver/memnic"
	"shardnet/socketapi"
	"shardnet/stack"
)

var (
	near = netip.MustParsePrefix("198.18.0.2/24")
	far  = netip.MustParsePrefix("198.18.0.1/24")
)

// newNetwork returns a Network, and a stack of ours on the cable's other end.
func newNetwork(t *testing.T) (*Network, *stack.Stack) {
	t.Helper()
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := stack.New(b, &stack.Config{Addresses: []netip.Prefix{far}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	n, err := New(a.Queue(0), a.Info(), near)
	if err != nil {
		t.Fatal(err)
	}
	return n, peer
}

func TestTCP(t *testing.T) {
	n, peer := newNetwork(t)
	l, err := n.Listen(7)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	c, err := socketapi.Dial(peer, "tcp", "198.18.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	sent := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*socketapi.Conn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes of %d came back: %v", len(got), len(sent), err)
	}
	c.Close()
	if err := n.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestUDPWritersWakeTheLink sends from a goroutine that nothing received wakes:
// the link sleeps before each of its datagrams.
func TestUDPWritersWakeTheLink(t *testing.T) {
	n, peer := newNetwork(t)
	pc, err := n.ListenPacket(7)
	if err != nil {
		t.Fatal(err)
	}
	c, err := socketapi.Dial(peer, "udp", "198.18.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_ = pc.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	k, from, err := pc.ReadFrom(buf)
	if err != nil || string(buf[:k]) != "hello" {
		t.Fatalf("read %q: %v", buf[:k], err)
	}
	for i := range 2000 {
		want := []byte{byte(i), byte(i >> 8)}
		if _, err := pc.WriteTo(want, from); err != nil {
			t.Fatal(err)
		}
		if k, err := c.Read(buf); err != nil || !bytes.Equal(buf[:k], want) {
			t.Fatalf("datagram %d: read %v, want %v: %v", i, buf[:k], want, err)
		}
	}
	c.Close()
	pc.Close()
	if err := n.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestCloseAfterTheQueue has the queue end first, as when the device goes.
func TestCloseAfterTheQueue(t *testing.T) {
	n, _ := newNetwork(t)
	if err := n.link.q.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}
