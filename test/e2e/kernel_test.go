package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"shardnet/driver/netlab"
	"shardnet/socketapi"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/test/testutil"
)

// eachDriver runs f on each driver, on a LAN of queues queues.
func eachDriver(t *testing.T, queues int, f func(t *testing.T, l *lan, st *stack.Stack)) {
	for _, kind := range drivers {
		t.Run("driver="+kind, func(t *testing.T) {
			l := newLAN(t, queues)
			f(t, l, l.start(t, kind))
		})
	}
}

func TestPing(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		for _, addr := range []netip.Addr{ours4, ours6} {
			out := l.run(t, "", "ping", "-n", "-c", "5", "-i", "0.05", "-W", "2", addr.String())
			if !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping %v:\n%s", addr, out)
			}
			// Longer than the MTU: fragments, both ways.
			out = l.run(t, "", "ping", "-n", "-c", "3", "-i", "0.05", "-W", "2", "-s", "4000", addr.String())
			if !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping -s 4000 %v:\n%s", addr, out)
			}
		}
	})
}

// What the stack does not own stays with the kernel: the server's own address on
// the same interface goes on answering.
func TestKernelKeepsItsOwn(t *testing.T) {
	l := newLAN(t, 2)
	if err := l.server.AddAddress(netip.MustParsePrefix("198.18.0.3/24")); err != nil {
		t.Fatal(err)
	}
	ln, err := l.server.Host.Listen("tcp", "198.18.0.3:22")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "kernel")
			c.Close()
		}
	}()
	l.start(t, "afxdp")
	c := dialKernel(t, l, "tcp", netip.MustParseAddrPort("198.18.0.3:22"))
	if b, err := io.ReadAll(c); string(b) != "kernel" {
		t.Errorf("the host's own address answers %q, %v", b, err)
	}
	l.run(t, "", "ping", "-n", "-c", "2", "-i", "0.05", "198.18.0.3")
}

// Our listener, the kernel's clients.
func TestKernelClients(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		serveEcho(t, st, 7)
		for _, addr := range []netip.Addr{ours4, ours6} {
			for _, network := range []string{"tcp", "udp"} {
				c := dialKernel(t, l, network, netip.AddrPortFrom(addr, 7))
				for _, size := range []int{1, 64, 1400} {
					if err := ask(c, make([]byte, size)); err != nil {
						t.Errorf("%s %v, %d bytes: %v", network, addr, size, err)
					}
				}
			}
			// A UDP datagram in fragments.
			c := dialKernel(t, l, "udp", netip.AddrPortFrom(addr, 7))
			c.Write(make([]byte, 5000))
			buf := make([]byte, 10000)
			if n, err := c.Read(buf); n != 5000 || err != nil {
				t.Errorf("datagram of 5000 bytes over %v came back as %d, %v", addr, n, err)
			}
		}
		if out := l.run(t, "hello from nc\n", "nc", "-N", "-w", "5", ours4.String(), "7"); out != "hello from nc\n" {
			t.Errorf("nc got %q", out)
		}
		if _, err := l.kernel.Dial(context.Background(), "tcp", netip.AddrPortFrom(ours4, 81).String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial a port nobody listens on: %v", err)
		}
		c := dialKernel(t, l, "udp", netip.AddrPortFrom(ours4, 81))
		c.Write([]byte("x"))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("datagram to a port nobody has: %v", err)
		}
	})
}

// The kernel fills in its checksums, or leaves them to an offload that a veth
// does not have. Both ways a client works; a corrupted segment never gets in.
func TestChecksumsOfAKernelPeer(t *testing.T) {
	l := newLAN(t, 1)
	st := l.start(t, "afxdp")
	serveEcho(t, st, 7)
	for _, on := range []bool{true, false} {
		if err := l.peer.SetOffload(netlab.TxChecksum, on); err != nil {
			t.Fatal(err)
		}
		for _, network := range []string{"tcp", "udp"} {
			for _, addr := range []netip.Addr{ours4, ours6} {
				c := dialKernel(t, l, network, netip.AddrPortFrom(addr, 7))
				if err := ask(c, make([]byte, 1000)); err != nil {
					t.Errorf("%s %v with tx-checksumming %v: %v", network, addr, on, err)
				}
			}
		}
	}
	if n := st.Stats().Drops[drop.BadChecksum]; n != 0 {
		t.Errorf("%d frames of a kernel peer were dropped for their checksum", n)
	}
}

// Our Dial, the kernel's listener.
func TestDialKernel(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		for _, addr := range []netip.Addr{kernel4, kernel6} {
			ln, err := l.kernel.Listen("tcp", netip.AddrPortFrom(addr, 7).String())
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						io.Copy(c, c)
						c.Close()
					}()
				}
			}()
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					c, err := socketapi.Dial(st, "tcp", netip.AddrPortFrom(addr, 7).String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					c.SetDeadline(time.Now().Add(20 * time.Second))
					for range 3 {
						if err := ask(c, []byte(fmt.Sprintf("from connection %d", i))); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			if _, err := socketapi.Dial(st, "tcp", netip.AddrPortFrom(addr, 81).String()); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("dial a kernel port nobody listens on: %v", err)
			}
		}
		pc, err := l.kernel.ListenPacket("udp", netip.AddrPortFrom(kernel4, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		go func() {
			buf := make([]byte, 2000)
			for {
				n, from, err := pc.ReadFrom(buf)
				if err != nil {
					return
				}
				pc.WriteTo(buf[:n], from)
			}
		}()
		c, err := socketapi.Dial(st, "udp", netip.AddrPortFrom(kernel4, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		if err := ask(c, []byte("over UDP")); err != nil {
			t.Error(err)
		}
	})
}

// net/http on a Group, curl as the client.
func TestHTTP(t *testing.T) {
	l := newLAN(t, 2)
	st := l.start(t, "afxdp")
	g, err := socketapi.Listen(st, "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s\n", r.URL.Path)
	})}
	go srv.Serve(g)
	defer srv.Close()
	for _, host := range []string{ours4.String(), "[" + ours6.String() + "]"} {
		if out := l.run(t, "", "curl", "-sS", "-m", "10", "http://"+host+"/a", "http://"+host+"/b"); out != "hello /a\nhello /b\n" {
			t.Errorf("curl got %q", out)
		}
	}
}

// Ten thousand connections are opened, used and closed; they spread over all
// shards, and each is served by the shard its packets come to.
func TestTenThousandConnections(t *testing.T) {
	for _, kind := range drivers {
		for _, shards := range []int{2, 4} {
			t.Run(fmt.Sprintf("driver=%s/shards=%d", kind, shards), func(t *testing.T) {
				const total = 10_000
				l := newLAN(t, shards)
				st := l.start(t, kind)
				serveEcho(t, st, 7)
				var failed atomic.Int64
				var wg sync.WaitGroup
				var next atomic.Int64
				for range 50 {
					wg.Go(func() {
						for {
							i := next.Add(1)
							if i > total {
								return
							}
							ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
							c, err := l.kernel.Dial(ctx, "tcp", netip.AddrPortFrom(ours4, 7).String())
							cancel()
							if err == nil {
								c.SetDeadline(time.Now().Add(20 * time.Second))
								err = ask(c, fmt.Appendf(nil, "connection %d", i))
								c.Close()
							}
							if err != nil {
								if failed.Add(1) < 5 {
									t.Error(err)
								}
							}
						}
					})
				}
				wg.Wait()
				if n := failed.Load(); n > 0 {
					t.Errorf("%d connections failed", n)
				}
				sum := st.Stats()
				if sum.Connections != total {
					t.Errorf("%d connections accepted, want %d", sum.Connections, total)
				}
				for i := range shards {
					n := st.Shard(i).Stats().Connections
					if n < total/uint64(shards)/2 {
						t.Errorf("shard %d of %d served %d of %d connections", i, shards, n, total)
					}
				}
				t.Logf("wrong-shard packets: %d of %d received", sum.WrongShard, sum.RxPackets)
			})
		}
	}
}

// A million datagrams are echoed, each checked.
func TestUDPMillion(t *testing.T) {
	eachDriver(t, 2, func(t *testing.T, l *lan, st *stack.Stack) {
		total := 1_000_000
		if testing.Short() || testutil.RaceEnabled {
			total = 50_000
		}
		serveEcho(t, st, 7)
		const sockets, window = 8, 32
		var lost, wrong atomic.Int64
		var wg sync.WaitGroup
		for range sockets {
			c := dialKernel(t, l, "udp", netip.AddrPortFrom(ours4, 7))
			wg.Go(func() {
				buf := make([]byte, 100)
				for sent := 0; sent < total/sockets; sent += window {
					for i := range window {
						if _, err := c.Write(fmt.Appendf(buf[:0], "datagram %08d", sent+i)); err != nil {
							t.Error(err)
							return
						}
					}
					c.SetReadDeadline(time.Now().Add(2 * time.Second))
					seen := [window]bool{}
					for range window {
						n, err := c.Read(buf)
						if err != nil {
							break
						}
						var i int
						if _, err := fmt.Sscanf(string(buf[:n]), "datagram %d", &i); err != nil || i < sent || i >= sent+window || seen[i-sent] {
							wrong.Add(1)
							continue
						}
						seen[i-sent] = true
					}
					for _, ok := range seen {
						if !ok {
							lost.Add(1)
						}
					}
				}
			})
		}
		wg.Wait()
		if lost.Load() > 0 || wrong.Load() > 0 {
			t.Errorf("%d lost, %d wrong of %d: %+v", lost.Load(), wrong.Load(), total, st.Stats())
		}
	})
}
