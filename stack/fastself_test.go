package stack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"

	"shardnet/driver"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// dialOn is dial with tr as the TCP.
func dialOn(sh *stack.Shard, tr flow.Transport, remote netip.AddrPort) (*conn, error) {
	f, err := sh.DialTCP(netip.AddrPort{}, remote, flow.SocketOptions{Transport: tr})
	if err != nil {
		return nil, err
	}
	return connected(f)
}

// A stack reaches itself, by either TCP from either, on every shard.
func TestDialOwnAddress(t *testing.T) {
	for _, shards := range []int{1, 2} {
		for _, from := range transports {
			for _, to := range transports {
				t.Run(fmt.Sprintf("shards=%d/%v to %v", shards, from, to), func(t *testing.T) {
					a, b := newCable(t, shards, 1)
					t.Cleanup(func() { b.Close() })
					st := startStack(t, a, serverConfig())
					startEchoOn(t, st, to, 7)
					for i := range 2 * shards {
						addr := []netip.Addr{serverAddr4, serverAddr6}[i/shards]
						c, err := dialOn(st.Shard(i%shards), from, netip.AddrPortFrom(addr, 7))
						if err != nil {
							t.Fatalf("dial %v from shard %d: %v", addr, i%shards, err)
						}
						for _, size := range []int{1, 100, 50_000} {
							if err := askEcho(c, bytes.Repeat([]byte{byte(i + 1)}, size)); err != nil {
								t.Fatalf("%d bytes to %v from shard %d: %v", size, addr, i%shards, err)
							}
						}
						if err := c.CloseWrite(); err != nil {
							t.Error(err)
						}
						if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
							t.Errorf("at the end: %d bytes, %v", len(b), err)
						}
						c.Close()
						if _, err := dialOn(st.Shard(i%shards), from, netip.AddrPortFrom(addr, 81)); err != syscall.ECONNREFUSED {
							t.Errorf("a port nobody listens on: %v", err)
						}
					}
				})
			}
		}
	}
}

// blind is a device that does not tell of its RSS, as most don't.
type blind struct{ driver.Device }

func (d blind) Info() driver.Info {
	info := d.Device.Info()
	info.RSS = nil
	return info
}

// Connections from every shard to every shard, where the NIC's RSS is not known and
// packets come in on queues other than their connection's.
func TestConnectionsWithoutRSS(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		a, b := newCable(t, 3, 4)
		server, client := startStack(t, blind{a}, serverConfigOn(tr)), startStack(t, blind{b}, clientConfigOn(tr))
		e := startEcho(t, server, 7)
		const conns = 120
		var wg sync.WaitGroup
		for i := range conns {
			remote := netip.AddrPortFrom([]netip.Addr{serverAddr4, serverAddr6}[i%2], 7)
			wg.Go(func() {
				// Every third one from a port of its own, in the next shard's range: in its
				// own, another connection may have been given it.
				var local netip.AddrPort
				if i%3 == 0 {
					const first, share = 32768, (60999 - 32768 + 1) / 4
					local = netip.AddrPortFrom([]netip.Addr{clientAddr4, clientAddr6}[i%2], uint16(first+(i+1)%4*share+i))
				}
				f, err := client.Shard(i%4).DialTCP(local, remote, flow.SocketOptions{})
				if err != nil {
					t.Errorf("dial %d: %v", i, err)
					return
				}
				c, err := connected(f)
				if err != nil {
					t.Errorf("dial %d: %v", i, err)
					return
				}
				defer c.Close()
				for j := range 5 {
					if err := askEcho(c, bytes.Repeat([]byte{byte(i), byte(j)}, 1000)); err != nil {
						t.Errorf("connection %d: %v", i, err)
						return
					}
				}
			})
		}
		wg.Wait()
		sum := 0
		for _, n := range e.counts() {
			sum += n
		}
		if sum != conns {
			t.Errorf("%d of %d connections accepted", sum, conns)
		}
		for name, st := range map[string]*stack.Stack{"server": server, "client": client} {
			if s := st.Stats(); s.Drops[drop.HandoverFull] != 0 || s.Drops.Sent() != 0 {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if client.Stats().HandedIn == 0 {
			t.Error("nothing was handed over: nothing was put to the test")
		}
	})
}

// The flows of a server move to other queues, again and again, under traffic.
func TestFlowsThatKeepMoving(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		a, b := newBareCable(t, 2, 1)
		server, client := startStack(t, a, serverConfigOn(tr)), startStack(t, b, clientConfigOn(tr))
		startEcho(t, server, 7)
		var wg, ready sync.WaitGroup
		stop := make(chan struct{})
		for i := range 16 {
			ready.Add(1)
			wg.Go(func() {
				c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
				ready.Done()
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					if err := askEcho(c, bytes.Repeat([]byte{byte(i), byte(n)}, 2000)); err != nil {
						t.Errorf("connection %d, round %d: %v", i, n, err)
						return
					}
				}
			})
		}
		ready.Wait()
		known := a.Info().RSS.Table
		other := slices.Clone(known)
		for i := range other {
			other[i] = 1 - other[i]
		}
		for i := range 40 {
			moved := server.Stats().WrongShard
			if err := a.SetIndirection([][]uint16{other, known}[i%2]); err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				testutil.Eventually(t, "packets came to the other queue", func() bool { return server.Stats().WrongShard > moved || t.Failed() })
			}
		}
		close(stop)
		wg.Wait()
	})
}

// connected waits for a dial.
func connected(f flow.Flow) (*conn, error) {
	c := newConn(f)
	for {
		err := f.ConnectError()
		if err == nil {
			return c, nil
		}
		if err == flow.ErrWouldBlock {
			err = c.writable.wait()
		}
		if err != nil && !errors.Is(err, flow.ErrWouldBlock) {
			f.Close()
			return nil, err
		}
	}
}
