package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
)

// datagramFunc is a flow.DatagramHandler.
type datagramFunc func(d *flow.Datagram)

func (f datagramFunc) HandleDatagram(d *flow.Datagram) { f(d) }

// handleDatagrams has h answer port on every address and shard of st.
func handleDatagrams(t testing.TB, st *stack.Stack, port uint16, h flow.DatagramHandler) {
	t.Helper()
	for i := range st.Shards() {
		sh := st.Shard(i)
		f, err := sh.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := f.HandleDatagrams(h); err != nil {
			t.Fatal(err)
		}
	}
}

// pattern is n bytes that tell where they belong.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// A kernel peer's datagrams of every length are answered, in the frame or in
// fragments, from the address that was asked: its sockets are connected and take
// no other. Wrong checksums the kernel drops.
func TestDatagramHandlerAndKernel(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		handleDatagrams(t, st, 7, datagramFunc(func(d *flow.Datagram) {
			if err := d.Reply(d.Data); err != nil {
				t.Errorf("reply of %d bytes: %v", len(d.Data), err)
			}
		}))
		handleDatagrams(t, st, 8, datagramFunc(func(d *flow.Datagram) { // as long as the question says
			var n int
			fmt.Sscan(string(d.Data), &n)
			if err := d.Reply(pattern(n)); err != nil {
				t.Errorf("reply of %d bytes: %v", n, err)
			}
		}))
		buf := make([]byte, 1<<16)
		for _, addr := range []netip.Addr{ours4, ours6} {
			most, mtu := 65507, 1500-20-8
			if addr.Is6() {
				most, mtu = 65527, 1500-40-8
			}
			c := dialKernel(t, l, "udp", netip.AddrPortFrom(addr, 7))
			for _, size := range []int{0, 1, 2, 17, 18, 63, 64, 1400, mtu - 1, mtu, mtu + 1, 3000, 8191, 8192} {
				want := pattern(size)
				if _, err := c.Write(want); err != nil {
					t.Fatal(err)
				}
				if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], want) {
					t.Errorf("%v: %d bytes came back as %d, %v", addr, size, n, err)
				}
			}
			c = dialKernel(t, l, "udp", netip.AddrPortFrom(addr, 8))
			for _, size := range []int{0, 1, 1000, mtu, mtu + 1, 2*mtu + 1, 20_000, most} {
				fmt.Fprint(c, size)
				if n, err := c.Read(buf); err != nil || !bytes.Equal(buf[:n], pattern(size)) {
					t.Errorf("%v: reply of %d bytes came as %d, %v", addr, size, n, err)
				}
			}
		}
		if s := st.Stats(); s.RepliesInPlace == 0 || s.Drops[drop.BadChecksum] != 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// A socket dialled to the kernel is told once that the port is refused, and then
// hears who opens it, and nobody else.
func TestDialUDPKernel(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		for _, host := range []netip.Addr{kernel4, kernel6} {
			f, err := st.Shard(1).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(host, 4000), flow.SocketOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			ready := make(chan struct{}, 1)
			f.Notify(func(flow.Events) {
				select {
				case ready <- struct{}{}:
				default:
				}
			})
			buf := make([]byte, 100)
			read := func() (int, error) {
				for {
					n, _, err := f.ReadFrom(buf)
					if err != flow.ErrWouldBlock {
						return n, err
					}
					select {
					case <-ready:
					case <-time.After(10 * time.Second):
						return 0, errors.New("nothing came")
					}
				}
			}
			for range 3 { // the first by way of netstack, which finds the neighbour
				if _, err := f.WriteTo([]byte("anybody?"), netip.AddrPort{}); err != nil {
					t.Fatalf("%v: %v", host, err)
				}
				if _, err := read(); err != syscall.ECONNREFUSED {
					t.Errorf("%v: port refused: %v", host, err)
				}
				if _, _, err := f.ReadFrom(buf); err != flow.ErrWouldBlock {
					t.Errorf("%v: told twice: %v", host, err)
				}
			}
			pc, err := l.kernel.ListenPacket("udp", netip.AddrPortFrom(host, 4000).String())
			if err != nil {
				t.Fatal(err)
			}
			defer pc.Close()
			pc.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err := f.WriteTo([]byte("hello"), netip.AddrPort{}); err != nil {
				t.Fatal(err)
			}
			n, from, err := pc.ReadFrom(buf)
			if err != nil || string(buf[:n]) != "hello" {
				t.Fatalf("the kernel read %q, %v", buf[:n], err)
			}
			// A stranger is refused, the peer is heard.
			stranger, err := l.kernel.Dial(context.Background(), "udp", from.String())
			if err != nil {
				t.Fatal(err)
			}
			defer stranger.Close()
			stranger.SetDeadline(time.Now().Add(10 * time.Second))
			stranger.Write([]byte("psst"))
			if _, err := stranger.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%v: a stranger: %v", host, err)
			}
			pc.WriteTo([]byte("world"), from)
			if n, err := read(); err != nil || string(buf[:n]) != "world" {
				t.Errorf("%v: read %q, %v", host, buf[:n], err)
			}
		}
	})
}

// When the kernel host has changed its MAC address, the first packet of it tells,
// as it asks for ours: what is written next goes to the new address. (Its
// announcement stays with the host: the XDP program gives the stack ARP for the
// stack's own addresses.)
func TestDatagramsFollowTheKernelsMAC(t *testing.T) {
	eachDriver(t, 1, func(t *testing.T, l *lan, st *stack.Stack) {
		f, err := st.Shard(0).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 9), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ready := make(chan struct{}, 1)
		f.Notify(func(flow.Events) {
			select {
			case ready <- struct{}{}:
			default:
			}
		})
		var pcs [2]net.PacketConn
		for i, host := range []netip.Addr{kernel4, kernel6} {
			if pcs[i], err = l.kernel.ListenPacket("udp", netip.AddrPortFrom(host, 4000).String()); err != nil {
				t.Fatal(err)
			}
			defer pcs[i].Close()
			pcs[i].SetDeadline(time.Now().Add(10 * time.Second))
		}
		talk := func(when string) {
			buf := make([]byte, 100)
			for i, ours := range []netip.Addr{ours4, ours6} {
				pc := pcs[i]
				if _, err := pc.WriteTo([]byte("ask"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(ours, 9))); err != nil {
					t.Fatal(err)
				}
				n, from, err := f.ReadFrom(buf)
				for err == flow.ErrWouldBlock {
					select {
					case <-ready:
					case <-time.After(10 * time.Second):
						t.Fatalf("%s: nothing came to %v", when, ours)
					}
					n, from, err = f.ReadFrom(buf)
				}
				if err != nil {
					t.Fatal(err)
				}
				f.WriteTo(buf[:n], from)
				if n, _, err := pc.ReadFrom(buf); err != nil || string(buf[:n]) != "ask" {
					t.Fatalf("%s: %v answers %q, %v", when, ours, buf[:n], err)
				}
			}
		}
		talk("first")
		talk("again")
		l.run(t, "", "ip", "link", "set", l.peer.Name, "address", "02:00:00:00:99:01")
		talk("with another MAC address")
	})
}
