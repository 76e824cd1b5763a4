package stack_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/drivertest"
	"shardnet/driver/memnic"
	"shardnet/stack"
	"shardnet/stack/drop"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

var (
	serverAddr4 = netip.MustParseAddr("198.18.0.2")
	serverAddr6 = netip.MustParseAddr("2001:db8::2")
	clientAddr4 = netip.MustParseAddr("198.18.0.1")
	clientAddr6 = netip.MustParseAddr("2001:db8::1")
)

const testTimeout = 20 * time.Second

func serverConfig() *stack.Config {
	return &stack.Config{Addresses: []netip.Prefix{netip.PrefixFrom(serverAddr4, 24), netip.PrefixFrom(serverAddr6, 64)}}
}

func clientConfig() *stack.Config {
	return &stack.Config{Addresses: []netip.Prefix{netip.PrefixFrom(clientAddr4, 24), netip.PrefixFrom(clientAddr6, 64)}}
}

// newCable opens a memnic pair whose frames are guarded: a frame used after it
// was given back fails the test.
func newCable(t testing.TB, serverQueues, clientQueues int) (server, client driver.Device) {
	t.Helper()
	a, b := newBareCable(t, serverQueues, clientQueues)
	return drivertest.Guard(t, a), drivertest.Guard(t, b)
}

// newBareCable opens a memnic pair without the guard, for benchmarks.
func newBareCable(t testing.TB, serverQueues, clientQueues int) (server, client *memnic.Device) {
	t.Helper()
	server, client, err := memnic.NewPair(&memnic.Config{A: memnic.End{Queues: serverQueues}, B: memnic.End{Queues: clientQueues}})
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// startStack starts a stack, and checks when the test ends that Close succeeds
// and no frame is lost.
func startStack(t testing.TB, dev driver.Device, cfg *stack.Config) *stack.Stack {
	t.Helper()
	st, err := stack.New(dev, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		for i := range st.Shards() {
			if n := st.Shard(i).Stats().Queue.Lent; n != 0 {
				t.Errorf("shard %d holds %d frames after Close", i, n)
			}
		}
	})
	return st
}

// pair starts a server stack and a client stack on the ends of one cable.
func pair(t testing.TB, serverShards, clientShards int) (server, client *stack.Stack) {
	t.Helper()
	return pairOn(t, flow.TransportDefault, serverShards, clientShards)
}

// signal turns notices into a channel to wait on.
type signal chan struct{}

func newSignal() signal { return make(signal, 1) }

func (s signal) notify(flow.Events) {
	select {
	case s <- struct{}{}:
	default:
	}
}

func (s signal) wait() error {
	select {
	case <-s:
		return nil
	case <-time.After(testTimeout):
		return errors.New("no notice came")
	}
}

// conn is a Flow with blocking calls, for a reader and a writer. Each has a signal
// of its own: notices are edges, and one must not take the other's.
type conn struct {
	flow.Flow
	readable, writable signal
}

func newConn(f flow.Flow) *conn {
	c := &conn{f, newSignal(), newSignal()}
	f.Notify(func(ev flow.Events) {
		if ev&(flow.Readable|flow.Closed) != 0 {
			c.readable.notify(ev)
		}
		if ev&(flow.Writable|flow.Closed) != 0 {
			c.writable.notify(ev)
		}
	})
	return c
}

func (c *conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Flow.Read(p)
		if err != flow.ErrWouldBlock {
			return n, err
		}
		if err := c.readable.wait(); err != nil {
			return 0, fmt.Errorf("read: %w", err)
		}
	}
}

func (c *conn) Write(p []byte) (int, error) {
	done := 0
	for done < len(p) {
		n, err := c.Flow.Write(p[done:])
		done += n
		if err == flow.ErrWouldBlock {
			if n > 0 {
				continue
			}
			err = c.writable.wait()
		}
		if err != nil {
			return done, fmt.Errorf("write: %w", err)
		}
	}
	return done, nil
}

func dial(sh *stack.Shard, remote netip.AddrPort) (*conn, error) {
	f, err := sh.DialTCP(netip.AddrPort{}, remote, flow.SocketOptions{})
	if err != nil {
		return nil, err
	}
	return connected(f)
}

// echoServer listens on every shard and echoes, a goroutine a connection, until
// the test ends. accepted counts connections by shard.
type echoServer struct {
	port      uint16
	listeners []flow.Listener
	wg        sync.WaitGroup
	mu        sync.Mutex
	accepted  []int
}

func startEcho(t testing.TB, st *stack.Stack, port uint16) *echoServer {
	t.Helper()
	return startEchoOn(t, st, flow.TransportDefault, port)
}

// startEchoOn is startEcho with tr as the TCP, whatever the stack's.
func startEchoOn(t testing.TB, st *stack.Stack, tr flow.Transport, port uint16) *echoServer {
	t.Helper()
	e := &echoServer{port: port, accepted: make([]int, st.Shards())}
	for i := range st.Shards() {
		l, err := st.Shard(i).ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), flow.SocketOptions{Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		e.listeners = append(e.listeners, l)
		sig := newSignal()
		l.Notify(sig.notify)
		e.wg.Go(func() {
			for {
				f, err := l.Accept()
				if err == flow.ErrWouldBlock {
					<-sig
					continue
				}
				if err != nil {
					return
				}
				e.mu.Lock()
				e.accepted[f.Shard()]++
				e.mu.Unlock()
				e.wg.Go(func() { echo(newConn(f)) })
			}
		})
	}
	t.Cleanup(func() {
		for _, l := range e.listeners {
			l.Close()
		}
		e.wg.Wait()
	})
	return e
}

func echo(c *conn) {
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (e *echoServer) counts() []int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]int(nil), e.accepted...)
}

func askEcho(c *conn, question []byte) error {
	if _, err := c.Write(question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(c, answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if !bytes.Equal(answer, question) {
		return errors.New("answer differs from question")
	}
	return nil
}

func TestTCPEchoAcrossShards(t *testing.T) {
	for _, tr := range []flow.Transport{flow.TransportNetstack, flow.TransportFast} {
		for _, c := range []struct{ server, client int }{{1, 1}, {2, 2}, {4, 1}, {1, 4}, {4, 3}} {
			t.Run(fmt.Sprintf("%v/server=%d/client=%d", tr, c.server, c.client), func(t *testing.T) {
				a, b := newCable(t, c.server, c.client)
				scfg, ccfg := serverConfigOn(tr), clientConfigOn(tr)
				server, client := startStack(t, a, scfg), startStack(t, b, ccfg)
				if !server.NetstackInline() {
					t.Fatal("netstack's TCP does not run on the loops")
				}
				e := startEcho(t, server, 7)
				conns := 200
				if testutil.RaceEnabled {
					conns = 60
				}
				var wg sync.WaitGroup
				for i := range conns {
					remote := netip.AddrPortFrom(serverAddr4, 7)
					if i%2 == 1 {
						remote = netip.AddrPortFrom(serverAddr6, 7)
					}
					wg.Go(func() {
						f, err := dial(client.Shard(i%client.Shards()), remote)
						if err != nil {
							t.Errorf("dial %d: %v", i, err)
							return
						}
						defer f.Close()
						for j := range 5 {
							if err := askEcho(f, bytes.Repeat([]byte{byte(i), byte(j)}, 700)); err != nil {
								t.Errorf("connection %d: %v", i, err)
								return
							}
						}
					})
				}
				wg.Wait()
				total := 0
				for shard, n := range e.counts() {
					total += n
					if n < conns/c.server/3 {
						t.Errorf("shard %d accepted %d of %d connections", shard, n, conns)
					}
				}
				if total != conns {
					t.Errorf("%d of %d connections accepted", total, conns)
				}
				for name, st := range map[string]*stack.Stack{"server": server, "client": client} {
					s := st.Stats()
					if s.WrongShard != 0 || s.Drops[drop.HandoverFull] != 0 || s.Drops[drop.BadChecksum] != 0 || s.Drops[drop.Malformed] != 0 || s.Drops.Sent() != 0 {
						t.Errorf("%s: %+v", name, s)
					}
				}
			})
		}
	}
}

// Ten thousand connections are opened, used and closed over a NIC with RSS: they
// spread over all shards, and not one packet comes to a shard that is not its
// connection's.
func TestTenThousandConnections(t *testing.T) { onTransports(t, testTenThousandConnections) }

func testTenThousandConnections(t *testing.T, tr flow.Transport) {
	for _, shards := range []int{2, 4} {
		t.Run(fmt.Sprintf("shards=%d", shards), func(t *testing.T) {
			total, at := 10_000, 100
			if testutil.RaceEnabled {
				total = 1000
			}
			a, b := newBareCable(t, shards, 1)
			server, client := startStack(t, a, serverConfigOn(tr)), startStack(t, b, clientConfigOn(tr))
			e := startEcho(t, server, 7)
			var wg sync.WaitGroup
			for i := range at {
				wg.Go(func() {
					for j := range total / at {
						c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
						if err == nil {
							err = askEcho(c, []byte{byte(i), byte(j), 3})
							c.Close()
						}
						if err != nil {
							t.Errorf("connection %d of %d: %v", j, i, err)
							return
						}
					}
				})
			}
			wg.Wait()
			sum := 0
			for shard, n := range e.counts() {
				if sum += n; n < total/shards*8/10 {
					t.Errorf("shard %d of %d accepted %d of %d connections", shard, shards, n, total)
				}
			}
			if sum != total {
				t.Errorf("%d of %d connections accepted", sum, total)
			}
			if s := server.Stats(); s.WrongShard != 0 || s.Drops[drop.HandoverFull] != 0 {
				t.Errorf("%d packets came to the wrong shard: %+v", s.WrongShard, s)
			}
		})
	}
}

// A connection out of a NIC whose RSS is known is answered on its own shard.
func TestDialComesHome(t *testing.T) { onTransports(t, testDialComesHome) }

func testDialComesHome(t *testing.T, tr flow.Transport) {
	server, client := pairOn(t, tr, 1, 4)
	startEcho(t, server, 7)
	before := client.Stats().HandedOut
	for i := range 100 {
		c, err := dial(client.Shard(i%4), netip.AddrPortFrom(serverAddr4, 7))
		if err != nil {
			t.Fatal(err)
		}
		if err := askEcho(c, []byte("home?")); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	// The first packets' ARP replies go to every shard; nothing else is handed
	// over.
	if n := client.Stats().HandedOut - before; n > 3*8 {
		t.Errorf("%d frames handed over for 100 connections", n)
	}
}

// Every answer wakes a goroutine on either side, and every question the loops,
// which never spin: a wake-up lost anywhere stalls it.
func TestNoWakeUpIsLost(t *testing.T) { onTransports(t, testNoWakeUpIsLost) }

func testNoWakeUpIsLost(t *testing.T, tr flow.Transport) {
	a, b := newCable(t, 2, 2)
	scfg, ccfg := serverConfigOn(tr), clientConfigOn(tr)
	scfg.Spin, ccfg.Spin = -1, -1
	server, client := startStack(t, a, scfg), startStack(t, b, ccfg)
	startEcho(t, server, 7)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			c, err := dial(client.Shard(i%2), netip.AddrPortFrom(serverAddr4, 7))
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			start := time.Now()
			for n := range 3000 {
				if err := askEcho(c, []byte{byte(n), byte(n >> 8)}); err != nil {
					t.Errorf("round trip %d: %v", n, err)
					return
				}
			}
			// Retransmission would hide a lost wake-up, at 200 ms each.
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("3000 round trips took %v", took)
			}
		})
	}
	wg.Wait()
	// A tail loss probe (RFC 8985) may go out when a busy machine runs somebody
	// late; a lost wake-up shows as many.
	if n := server.Stats().Retransmits + client.Stats().Retransmits; n > 600 {
		t.Errorf("%d retransmissions in 12000 round trips over a cable that loses nothing", n)
	}
}

func TestUDPEcho(t *testing.T) {
	server, client := pair(t, 2, 2)
	for i := range server.Shards() {
		pf, err := server.Shard(i).ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sig := newSignal()
		pf.Notify(sig.notify)
		go func() {
			buf := make([]byte, 2048)
			for {
				n, from, err := pf.ReadFrom(buf)
				if err == flow.ErrWouldBlock {
					<-sig
					continue
				}
				if err != nil {
					return
				}
				pf.WriteTo(buf[:n], from)
			}
		}()
	}
	for i := range 50 {
		remote := netip.AddrPortFrom(serverAddr4, 7)
		if i%2 == 1 {
			remote = netip.AddrPortFrom(serverAddr6, 7)
		}
		pf, err := client.Shard(i%2).DialUDP(netip.AddrPort{}, remote, flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sig := newSignal()
		pf.Notify(sig.notify)
		for j := range 20 {
			msg := fmt.Appendf(nil, "datagram %d of %d", j, i)
			if _, err := pf.WriteTo(msg, netip.AddrPort{}); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, from, err := pf.ReadFrom(buf)
			for err == flow.ErrWouldBlock {
				if err := sig.wait(); err != nil {
					t.Fatalf("datagram %d of socket %d: %v", j, i, err)
				}
				n, from, err = pf.ReadFrom(buf)
			}
			if err != nil || !bytes.Equal(buf[:n], msg) || from != remote {
				t.Fatalf("got %q from %v, %v", buf[:n], from, err)
			}
		}
		pf.Close()
		if _, err := pf.WriteTo(nil, netip.AddrPort{}); err != net.ErrClosed {
			t.Errorf("write after Close: %v", err)
		}
	}
}

// A datagram longer than the MTU goes out in fragments and comes back whole, by
// way of the shard its fragments hash to.
func TestUDPFragments(t *testing.T) {
	server, client := pair(t, 4, 1)
	const size = 8000
	got := make(chan []byte, 100)
	for i := range server.Shards() {
		pf, err := server.Shard(i).ListenUDP(netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sig := newSignal()
		pf.Notify(sig.notify)
		go func() {
			for {
				buf := make([]byte, 2*size)
				n, _, err := pf.ReadFrom(buf)
				if err == flow.ErrWouldBlock {
					<-sig
					continue
				}
				if err != nil {
					return
				}
				got <- buf[:n]
			}
		}()
	}
	pf, err := client.Shard(0).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		msg := bytes.Repeat([]byte{byte(i)}, size)
		if _, err := pf.WriteTo(msg, netip.AddrPort{}); err != nil {
			t.Fatal(err)
		}
		select {
		case b := <-got:
			if !bytes.Equal(b, msg) {
				t.Fatalf("datagram %d came out wrong (%d bytes)", i, len(b))
			}
		case <-time.After(testTimeout):
			t.Fatalf("datagram %d never arrived: %+v", i, server.Stats())
		}
	}
	if server.Stats().HandedOut == 0 {
		t.Error("no fragment was handed over between 4 shards")
	}
}

// TestFragmentsFindTheirSocket has fragmented answers come to sockets that live on
// one shard alone: what was reassembled elsewhere is handed to it.
func TestFragmentsFindTheirSocket(t *testing.T) {
	server, client := pair(t, 4, 4)
	for i := range server.Shards() {
		pf, err := server.Shard(i).ListenUDP(netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := pf.HandleDatagrams(echoDatagrams{t}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 16 {
		pf, err := client.Shard(i%4).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		sig := newSignal()
		pf.Notify(sig.notify)
		msg := bytes.Repeat([]byte{byte(i + 1)}, 8000+i)
		if _, err := pf.WriteTo(msg, netip.AddrPort{}); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10_000)
		n, _, err := pf.ReadFrom(buf)
		for err == flow.ErrWouldBlock {
			if err = sig.wait(); err == nil {
				n, _, err = pf.ReadFrom(buf)
			}
		}
		if err != nil || !bytes.Equal(buf[:n], msg) {
			t.Errorf("datagram %d: %d bytes came back, %v", i, n, err)
		}
	}
	if client.Stats().HandedOut == 0 {
		t.Error("no fragment was handed over between 4 shards")
	}
}

type echoDatagrams struct{ t testing.TB }

func (e echoDatagrams) HandleDatagram(d *flow.Datagram) {
	if err := d.Reply(d.Data); err != nil {
		e.t.Error(err)
	}
}

func TestDialRefused(t *testing.T) { onTransports(t, testDialRefused) }

func testDialRefused(t *testing.T, tr flow.Transport) {
	_, client := pairOn(t, tr, 2, 2)
	if _, err := dial(client.Shard(1), netip.AddrPortFrom(serverAddr4, 81)); err != syscall.ECONNREFUSED {
		t.Errorf("dial a port nobody listens on: %v", err)
	}
	if _, err := dial(client.Shard(0), netip.MustParseAddrPort("203.0.113.1:7")); !errors.Is(err, syscall.ENETUNREACH) && !errors.Is(err, syscall.EHOSTUNREACH) {
		t.Errorf("dial without a route: %v", err)
	}
}

func TestPortTaken(t *testing.T) { onTransports(t, testPortTaken) }

func testPortTaken(t *testing.T, tr flow.Transport) {
	server, _ := pairOn(t, tr, 1, 1)
	sh := server.Shard(0)
	any80 := netip.AddrPortFrom(netip.IPv4Unspecified(), 80)
	l, err := sh.ListenTCP(any80, flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sh.ListenTCP(any80, flow.SocketOptions{}); err != syscall.EADDRINUSE {
		t.Errorf("listen on a taken port: %v", err)
	}
	if _, err := sh.ListenTCP(netip.MustParseAddrPort("198.18.0.99:80"), flow.SocketOptions{}); err != syscall.EADDRNOTAVAIL {
		t.Errorf("listen on an address that is not ours: %v", err)
	}
	l.Close()
	if err := l.Close(); err != net.ErrClosed {
		t.Errorf("second Close: %v", err)
	}
	l, err = sh.ListenTCP(any80, flow.SocketOptions{})
	if err != nil {
		t.Fatalf("listen on a freed port: %v", err)
	}
	l.Close()
}

// A stream over a cable that loses nothing and keeps order is not sent twice. Each
// time the machine stands still for longer than a round trip TCP probes for a lost
// tail, which is as it should be: one attempt of three with less than a hundredth of
// its segments sent again is enough.
func TestBulkIsNotRetransmitted(t *testing.T) { onTransports(t, testBulkIsNotRetransmitted) }

func testBulkIsNotRetransmitted(t *testing.T, tr flow.Transport) {
	var again uint64
	for range 3 {
		if again = bulk(t, tr); again <= 450 || testutil.RaceEnabled {
			return
		}
	}
	t.Errorf("%d segments were sent again", again)
}

// bulk has a stream echoed and returns how many segments were sent twice. The
// writer keeps half a megabyte ahead of the reader at most: where both ends' buffers
// are full, netstack may stand still (see ARCHITECTURE.md, what is weaker).
func bulk(t *testing.T, tr flow.Transport) (again uint64) {
	server, client := pairOn(t, tr, 1, 1)
	startEcho(t, server, 7)
	c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	size := int64(64 << 20)
	if testutil.RaceEnabled {
		size = 4 << 20
	}
	const piece = 128 << 10
	ahead := make(chan struct{}, 4)
	go func() {
		buf := make([]byte, piece)
		for range size / piece {
			ahead <- struct{}{}
			if _, err := c.Write(buf); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for at := int64(0); at < size; at += piece {
		if _, err := io.CopyN(io.Discard, c, piece); err != nil {
			t.Fatalf("read at %d: %v", at, err)
		}
		<-ahead
	}
	for name, st := range map[string]*stack.Stack{"server": server, "client": client} {
		s := st.Stats()
		if s.Drops.Sent() > 0 {
			t.Errorf("%s dropped packets: %+v", name, s)
		}
		again = max(again, s.Retransmits)
	}
	return again
}

func TestHalfClose(t *testing.T) { onTransports(t, testHalfClose) }

func testHalfClose(t *testing.T, tr flow.Transport) {
	server, client := pairOn(t, tr, 2, 1)
	startEcho(t, server, 7)
	c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr6, 7))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "last words" {
		t.Errorf("read %q, %v after CloseWrite", b, err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: %v", err)
	}
	c.Close()
	if _, err := c.Flow.Read(b); err != net.ErrClosed {
		t.Errorf("read after Close: %v", err)
	}
}

// Connections outlive their listener, also where its port is an ephemeral one that
// belongs to a shard by number once nobody listens on it.
func TestConnectionsOutliveTheirListener(t *testing.T) {
	onTransports(t, testConnectionsOutliveTheirListener)
}

func testConnectionsOutliveTheirListener(t *testing.T, tr flow.Transport) {
	for _, port := range []uint16{80, 40000} {
		server, client := pairOn(t, tr, 4, 1)
		e := startEcho(t, server, port)
		var conns []*conn
		for range 20 {
			c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, port))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := askEcho(c, []byte("before")); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		for _, l := range e.listeners {
			l.Close()
		}
		for i, c := range conns {
			if err := askEcho(c, []byte("after")); err != nil {
				t.Errorf("port %d, connection %d: %v", port, i, err)
			}
		}
		if _, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, port)); err != syscall.ECONNREFUSED {
			t.Errorf("port %d: dial after the listener closed: %v", port, err)
		}
	}
}

// Close in the midst of traffic: no goroutine of the stack is left, every
// blocked call returns, the peer sees its connections end.
func TestCloseUnderTraffic(t *testing.T) { onTransports(t, testCloseUnderTraffic) }

func testCloseUnderTraffic(t *testing.T, tr flow.Transport) {
	before := runtime.NumGoroutine()
	for range 5 {
		a, b := newCable(t, 2, 2)
		server, err := stack.New(a, serverConfigOn(tr))
		if err != nil {
			t.Fatal(err)
		}
		client, err := stack.New(b, clientConfigOn(tr))
		if err != nil {
			t.Fatal(err)
		}
		e := startEcho(t, server, 7)
		var wg sync.WaitGroup
		var ready sync.WaitGroup
		var open atomic.Int64 // clients not told of the end
		for i := range 40 {
			ready.Add(1)
			open.Add(1)
			wg.Go(func() {
				defer open.Add(-1)
				c, err := dial(client.Shard(i%2), netip.AddrPortFrom(serverAddr4, 7))
				ready.Done()
				if err != nil {
					return
				}
				defer c.Close()
				for {
					if err := askEcho(c, make([]byte, 3000)); err != nil {
						return
					}
				}
			})
		}
		ready.Wait()
		start := time.Now()
		if err := server.Close(); err != nil {
			t.Errorf("server close: %v", err)
		}
		// A client that stood still for as long as the closing stack waited for
		// silence has nobody to tell it, as with any host that goes down.
		for open.Load() > 0 && time.Since(start) < 4*time.Second {
			time.Sleep(time.Millisecond)
		}
		if n := open.Load(); n > 4 {
			t.Errorf("%d of 40 clients were not told that the server closed", n)
		}
		e.wg.Wait()
		if err := client.Close(); err != nil {
			t.Errorf("client close: %v", err)
		}
		wg.Wait()
		if took := time.Since(start); took > 8*time.Second {
			t.Errorf("close took %v", took)
		}
		for _, st := range []*stack.Stack{server, client} {
			if n := st.Stats().Queue.Lent; n != 0 {
				t.Errorf("%d frames not given back", n)
			}
			if _, err := st.Shard(0).ListenTCP(netip.AddrPortFrom(netip.IPv4Unspecified(), 80), flow.SocketOptions{}); err == nil {
				t.Error("closed stack listens")
			}
			if err := st.Close(); err != nil {
				t.Errorf("second close: %v", err)
			}
		}
	}
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, buf[:runtime.Stack(buf, true)])
	}
}

// Data already written reaches the peer though the stack closes.
func TestCloseSendsWhatWasWritten(t *testing.T) { onTransports(t, testCloseSendsWhatWasWritten) }

func testCloseSendsWhatWasWritten(t *testing.T, tr flow.Transport) {
	a, b := newCable(t, 1, 1)
	server := startStack(t, a, serverConfigOn(tr))
	client, err := stack.New(b, clientConfigOn(tr))
	if err != nil {
		t.Fatal(err)
	}
	l, err := server.Shard(0).ListenTCP(netip.AddrPortFrom(serverAddr4, 7), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sig := newSignal()
	l.Notify(sig.notify)
	c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
	if err != nil {
		t.Fatal(err)
	}
	const size = 300 << 10
	if err := c.SetWriteBuffer(2 * size); err != nil { // nobody reads before the stack closes
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error)
	go func() { closed <- client.Close() }()
	f, err := l.Accept()
	for err == flow.ErrWouldBlock {
		if err := sig.wait(); err != nil {
			t.Fatal(err)
		}
		f, err = l.Accept()
	}
	if err != nil {
		t.Fatal(err)
	}
	sc := newConn(f)
	n, err := io.Copy(io.Discard, sc)
	if n != size || err != nil {
		t.Errorf("peer read %d of %d bytes, %v", n, size, err)
	}
	sc.Close()
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestPostRunsOnTheLoop(t *testing.T) {
	server, _ := pair(t, 1, 1)
	done := make(chan struct{})
	var n int // the loop's alone: -race tells if it is not
	for range 1000 {
		server.Shard(0).Post(taskFunc(func() {
			if n++; n == 1000 {
				close(done)
			}
		}))
	}
	select {
	case <-done:
	case <-time.After(testTimeout):
		t.Fatal("posted tasks did not run")
	}
}

type taskFunc func()

func (f taskFunc) RunOnShard() { f() }

func TestConfigErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*stack.Config)
		want   string
	}{
		{"no address", func(c *stack.Config) { c.Addresses = nil }, "no address"},
		{"multicast", func(c *stack.Config) { c.Addresses[0] = netip.MustParsePrefix("224.0.0.1/24") }, "can't be the stack's own"},
		{"twice", func(c *stack.Config) { c.Addresses[1] = c.Addresses[0] }, "given twice"},
		{"more shards than queues", func(c *stack.Config) { c.Shards = 3 }, "3 queues"},
		{"fewer shards than queues", func(c *stack.Config) { c.Shards = 1 }, "unread"},
		{"far gateway", func(c *stack.Config) {
			c.Routes = []stack.Route{stack.DefaultRoute(netip.MustParseAddr("203.0.113.1"))}
		}, "in the subnet of no address"},
		{"own gateway", func(c *stack.Config) { c.Routes = []stack.Route{stack.DefaultRoute(serverAddr4)} }, "own address"},
		{"CPU list", func(c *stack.Config) { c.CPUs = []int{0} }, "one for each"},
		{"CPU", func(c *stack.Config) { c.CPUs = []int{0, 4711} }, "does not exist"},
		{"port range", func(c *stack.Config) { c.PortRange = [2]uint16{9, 9} }, "PortRange"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newCable(t, 2, 1)
			defer b.Close()
			cfg := serverConfig()
			c.change(cfg)
			st, err := stack.New(a, cfg)
			if err == nil {
				st.Close()
				t.Fatal("accepted")
			}
			if !bytes.Contains([]byte(err.Error()), []byte(c.want)) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			if _, err := a.Queue(0).Receive(make([]driver.Frame, 1)); !errors.Is(err, net.ErrClosed) {
				t.Errorf("device is left open: %v", err)
			}
		})
	}
}

// A flow dialed from a port of another shard's part of the range sends what was
// written before Close, and finishes, though its claim to the port is gone.
func TestCloseOfAPinnedPortSendsWhatWasWritten(t *testing.T) {
	onTransports(t, testCloseOfAPinnedPortSendsWhatWasWritten)
}

func testCloseOfAPinnedPortSendsWhatWasWritten(t *testing.T, tr flow.Transport) {
	server, client := pairOn(t, tr, 1, 2)
	l, err := server.Shard(0).ListenTCP(netip.AddrPortFrom(serverAddr4, 9), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sig := newSignal()
	l.Notify(sig.notify)
	const size = 1 << 20
	for port := uint16(50000); port < 50005; port++ { // shard 1's part; dialed from shard 0
		f, err := client.Shard(0).DialTCP(netip.AddrPortFrom(clientAddr4, port), netip.AddrPortFrom(serverAddr4, 9), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := newConn(f)
		go func() {
			c.Write(make([]byte, size))
			c.Close()
		}()
		sf, err := l.Accept()
		for err == flow.ErrWouldBlock {
			if err := sig.wait(); err != nil {
				t.Fatal(err)
			}
			sf, err = l.Accept()
		}
		if err != nil {
			t.Fatal(err)
		}
		sc := newConn(sf)
		if n, err := io.Copy(io.Discard, sc); n != size || err != nil {
			t.Errorf("from port %d: read %d of %d bytes, %v", port, n, size, err)
		}
		sc.Close()
	}
}

// A task that serves a socket is told that it closed, as a Notify function is.
func TestServeTellsOfClose(t *testing.T) { onTransports(t, testServeTellsOfClose) }

func testServeTellsOfClose(t *testing.T, tr flow.Transport) {
	server, _ := pairOn(t, tr, 1, 1)
	sh := server.Shard(0)
	for port := uint16(100); port < 120; port++ {
		l, err := sh.ListenTCP(netip.AddrPortFrom(serverAddr4, port), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan struct{}, 100)
		l.Serve(taskFunc(func() { ran <- struct{}{} }))
		<-ran
		l.Close()
		select {
		case <-ran:
		case <-time.After(testTimeout):
			t.Fatal("the task was not told")
		}
	}
}

// A link that goes down until a queue has no empty frame left comes up again, and
// traffic with it; meanwhile the loop sleeps.
func TestLinkDownUntilFramesRunOut(t *testing.T) { onTransports(t, testLinkDownUntilFramesRunOut) }

func testLinkDownUntilFramesRunOut(t *testing.T, tr flow.Transport) {
	a, b, err := memnic.NewPair(&memnic.Config{B: memnic.End{RxRing: 256, TxRing: 1024, Frames: 556}})
	if err != nil {
		t.Fatal(err)
	}
	server, client := startStack(t, a, serverConfigOn(tr)), startStack(t, b, clientConfigOn(tr))
	startEcho(t, server, 7)
	c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	f, err := client.Shard(0).DialUDP(netip.AddrPort{}, netip.AddrPortFrom(serverAddr4, 9), flow.SocketOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b.SetLinkUp(false)
	for range 2000 {
		f.WriteTo(make([]byte, 100), netip.AddrPort{})
	}
	before := cpuTime(unix.RUSAGE_SELF)
	time.Sleep(200 * time.Millisecond)
	if used := cpuTime(unix.RUSAGE_SELF) - before; used > 100*time.Millisecond {
		t.Errorf("%v of CPU in 200 ms with the link down", used)
	}
	b.SetLinkUp(true)
	if err := askEcho(c, []byte("up again?")); err != nil {
		t.Errorf("after the link came up: %v; %+v", err, client.Stats())
	}
	if n := client.Stats().LinkDowns; n != 1 {
		t.Errorf("link found down %d times", n)
	}
}
