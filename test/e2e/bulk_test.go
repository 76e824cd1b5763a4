package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"shardnet/driver/asavie"
	"shardnet/driver/netlab"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/test/testutil"
)

// stream yields size bytes that anybody can make again.
func stream(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1, 2, 3}), size)
}

// transfer moves stream(size) over one TCP connection that the LAN's kernel host
// opens, "in" to the stack or "out" of it, and compares hashes.
func transfer(t *testing.T, l *lan, st *stack.Stack, dir string, size int64) {
	t.Helper()
	want := sha256.New()
	io.Copy(want, stream(size))
	g, err := socketapi.Listen(st, "tcp", ":5001")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	type result struct {
		sum []byte
		n   int64
		err error
	}
	results := make(chan result, 2)
	read := func(c net.Conn) {
		h := sha256.New()
		n, err := io.Copy(h, c)
		results <- result{h.Sum(nil), n, err}
	}
	write := func(c net.Conn) {
		_, err := io.Copy(struct{ io.Writer }{c}, stream(size))
		if err == nil {
			err = c.(interface{ CloseWrite() error }).CloseWrite()
		}
		if err != nil {
			t.Error(err)
		}
	}
	go func() {
		c, err := g.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * time.Minute))
		if dir == "in" {
			read(c)
		} else {
			write(c)
			io.Copy(io.Discard, c)
		}
	}()
	c := dialKernel(t, l, "tcp", netip.AddrPortFrom(ours4, 5001))
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Minute))
	start := time.Now()
	if dir == "in" {
		write(c)
	} else {
		read(c)
	}
	r := <-results
	if r.err != nil || r.n != size || !bytes.Equal(r.sum, want.Sum(nil)) {
		t.Errorf("%d of %d bytes, %v, hash equal: %v", r.n, size, r.err, bytes.Equal(r.sum, want.Sum(nil)))
	}
	t.Logf("%.0f MB/s; %d retransmits", float64(r.n)/time.Since(start).Seconds()/1e6, st.Stats().Retransmits)
}

// A gibibyte through one connection in each direction comes out as it went in.
func TestGibibyte(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() || testutil.RaceEnabled {
		size = 64 << 20
	}
	for _, kind := range drivers {
		for _, dir := range []string{"in", "out"} {
			t.Run(fmt.Sprintf("driver=%s/dir=%s", kind, dir), func(t *testing.T) {
				l := newLAN(t, 1)
				transfer(t, l, l.start(t, kind), dir, size)
			})
		}
	}
}

// At an MTU of 9000 packets are as long as that: an echo request and a datagram
// in one piece, and 256 MiB each way in segments that no page holds.
func TestJumbo(t *testing.T) {
	size := int64(256 << 20)
	if testing.Short() || testutil.RaceEnabled {
		size = 32 << 20
	}
	l := newLANOf(t, netlab.LinkConfig{Queues: 1, MTU: 9000})
	st := l.start(t, "afxdp")
	for _, addr := range []netip.Addr{ours4, ours6} {
		for _, payload := range []string{"8900", "8972", "3784", "56"} {
			if addr.Is6() && payload == "8972" {
				payload = "8952" // the header is longer by 20
			}
			out := l.run(t, "", "ping", "-n", "-M", "do", "-c", "3", "-i", "0.05", "-W", "2", "-s", payload, addr.String())
			if !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping -s %s %v:\n%s", payload, addr, out)
			}
		}
	}
	serveEcho(t, st, 7)
	for _, addr := range []netip.Addr{ours4, ours6} {
		for _, network := range []string{"tcp", "udp"} {
			c := dialKernel(t, l, network, netip.AddrPortFrom(addr, 7))
			for _, size := range []int{1, 3797, 3799, 8900, 20_000} { // the last in fragments
				if err := ask(c, bytes.Repeat([]byte{byte(size)}, size)); err != nil {
					t.Errorf("%s %v, %d bytes: %v", network, addr, size, err)
				}
			}
		}
	}
	for _, dir := range []string{"in", "out"} {
		t.Run("dir="+dir, func(t *testing.T) {
			before := st.Shard(0).Stats().Queue
			transfer(t, l, st, dir, size)
			after := st.Shard(0).Stats().Queue
			packets, moved := after.RxPackets-before.RxPackets, after.RxBytes-before.RxBytes
			if dir == "out" {
				packets, moved = after.TxPackets-before.TxPackets, after.TxBytes-before.TxBytes
			}
			// Acknowledgements of the other direction are among them.
			if packets == 0 || moved/packets < 4096 {
				t.Errorf("%d bytes went in %d packets", moved, packets)
			}
			if n := after.RxErrors + after.TxErrors; n != 0 {
				t.Errorf("counted %+v", after)
			}
		})
	}
}

// The driver of one chunk a packet says so.
func TestJumboRefused(t *testing.T) {
	l := newLANOf(t, netlab.LinkConfig{Queues: 1, MTU: 9000})
	dev, err := l.openDevice("asavie")
	if err == nil {
		dev.Close()
	}
	if !errors.Is(err, asavie.ErrMTU) || !strings.Contains(err.Error(), "at most 3822") {
		t.Errorf("open gives %v", err)
	}
}
