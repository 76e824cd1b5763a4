package stack_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"shardnet/driver/drivertest"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// flowCalls are the calls that a closed flow refuses.
var flowCalls = map[string]func(f flow.Flow) error{
	"Read":           func(f flow.Flow) error { _, err := f.Read(make([]byte, 1)); return err },
	"Write":          func(f flow.Flow) error { _, err := f.Write(make([]byte, 1)); return err },
	"ConnectError":   func(f flow.Flow) error { return f.ConnectError() },
	"CloseRead":      func(f flow.Flow) error { return f.CloseRead() },
	"CloseWrite":     func(f flow.Flow) error { return f.CloseWrite() },
	"Close":          func(f flow.Flow) error { return f.Close() },
	"SetNoDelay":     func(f flow.Flow) error { return f.SetNoDelay(true) },
	"SetKeepAlive":   func(f flow.Flow) error { return f.SetKeepAlive(true, time.Second, 0, 0) },
	"SetLinger":      func(f flow.Flow) error { return f.SetLinger(0) },
	"SetReadBuffer":  func(f flow.Flow) error { return f.SetReadBuffer(1 << 16) },
	"SetWriteBuffer": func(f flow.Flow) error { return f.SetWriteBuffer(1 << 16) },
}

// A flow that was closed or aborted refuses everything, and still knows its name.
func TestFlowAfterClose(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		server, client := pairOn(t, tr, 1, 1)
		startEcho(t, server, 7)
		for name, end := range map[string]func(f flow.Flow){
			"closed":  func(f flow.Flow) { f.Close() },
			"aborted": func(f flow.Flow) { f.Abort() },
		} {
			c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
			if err != nil {
				t.Fatal(err)
			}
			local := c.LocalAddr()
			end(c.Flow)
			for call, f := range flowCalls {
				if call == "ConnectError" && tr == flow.TransportNetstack {
					continue // its result stays
				}
				if err := f(c.Flow); err != net.ErrClosed {
					t.Errorf("%s after it was %s: %v, want net.ErrClosed", call, name, err)
				}
			}
			c.Abort()
			c.Notify(nil)
			if c.Established() {
				t.Errorf("%s, and quiet", name)
			}
			if c.LocalAddr() != local || c.RemoteAddr() != netip.AddrPortFrom(serverAddr4, 7) || c.Shard() != 0 {
				t.Errorf("%s: %v to %v, shard %d", name, c.LocalAddr(), c.RemoteAddr(), c.Shard())
			}
		}
	})
}

// The stack closes with connections in every stage: half-open, not accepted,
// being dialed, with a Read that waits and with data on the way. Nobody is left
// waiting, every flow says that it is over, and peers are told.
func TestCloseInEveryStage(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		a, b := newCable(t, 1, 1)
		cfg := serverConfigOn(tr)
		cfg.CloseTimeout = 50 * time.Millisecond
		st := startStack(t, a, cfg)
		sh := st.Shard(0)
		r := &datagramRig{rawPeer: newRawPeer(t, b, a.Info().MAC), st: st}
		r.learn(clientAddr4)
		l := listenOn(t, sh, tr, 7)
		peer := func(port uint16) *segmentPeer { // in SYN-RECEIVED
			p := &segmentPeer{datagramRig: r, src: clientAddr4, dst: serverAddr4, seq: 1000, port: layers.TCPPort(port)}
			p.send(p.frame(func(t *layers.TCP) { t.SYN, t.ACK = true, false }, nil))
			p.ack = tcpOf(p.await("SYN-ACK", func(pkt gopacket.Packet) bool {
				s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
				return ok && s.SYN && s.ACK && s.DstPort == p.port
			})).Seq + 1
			p.seq++
			return p
		}
		reading := peer(1)
		reading.batch(reading.frame(nil, nil))
		c := accept(t, l)
		unread := peer(2)
		unread.batch(unread.data([]byte("not read")))
		full := accept(t, l)
		peer(3) // stays half-open
		waiting := peer(4)
		waiting.batch(waiting.data([]byte("not accepted")))
		dialed, err := sh.DialTCP(netip.AddrPort{}, netip.MustParseAddrPort("198.18.0.77:7"), flow.SocketOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d := newConn(dialed)
		ended := make(chan error, 2)
		started := make(chan struct{})
		go func() { close(started); _, err := c.Read(make([]byte, 10)); ended <- err }()
		<-started
		go func() {
			_, err := connected(dialed)
			ended <- err
		}()
		start := time.Now()
		closed := make(chan error)
		go func() { closed <- st.Close() }()
		var reset [5]bool
		testutil.Eventually(t, "the stack is closed", func() bool {
			r.poll()
			for _, b := range r.got {
				pkt := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
				if s, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP); ok && s.RST && s.DstPort < 5 {
					reset[s.DstPort] = true
				}
			}
			r.got = r.got[:0]
			select {
			case err := <-closed:
				if err != nil {
					t.Error(err)
				}
				return true
			default:
				return false
			}
		})
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("close took %v", took)
		}
		for range 2 {
			if err := <-ended; err == nil || errors.Is(err, flow.ErrWouldBlock) {
				t.Errorf("a call that waited returned %v", err)
			}
		}
		for port := 1; port < 5; port++ {
			if !reset[port] && !(port == 3 && tr == flow.TransportNetstack) { // which gives half-open ones up in silence
				t.Errorf("the peer on port %d was not told", port)
			}
		}
		for name, f := range map[string]flow.Flow{"reading": c.Flow, "unread": full.Flow, "dialed": d.Flow} {
			if _, err := f.Write([]byte("x")); err == nil || err == flow.ErrWouldBlock {
				t.Errorf("%s: write after the stack has closed: %v", name, err)
			}
			f.Close()
		}
		if _, err := l.Accept(); err != net.ErrClosed {
			t.Errorf("accept: %v", err)
		}
	})
}

// With the TX ring full a connection waits; when there is room again everything
// leaves, and no frame is lost.
func TestConnectionsWaitForTheRing(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		a, b := newBareCable(t, 1, 1)
		full := &fullDevice{Device: b}
		server := startStack(t, drivertest.Guard(t, a), serverConfigOn(tr))
		client := startStack(t, drivertest.Guard(t, full), clientConfigOn(tr))
		startEcho(t, server, 7)
		var cs []*conn
		for range 20 {
			c, err := dial(client.Shard(0), netip.AddrPortFrom(serverAddr4, 7))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			cs = append(cs, c)
		}
		for round := range 3 {
			full.full.Store(true)
			const size = 40_000 // of which a congestion window's worth is on its way at once
			for _, c := range cs {
				if n, err := c.Flow.Write(bytes.Repeat([]byte{byte(round + 1)}, size)); n != size || err != nil {
					t.Fatalf("wrote %d bytes, %v", n, err)
				}
			}
			onLoop(client.Shard(0), func() {})
			onLoop(client.Shard(0), func() {})
			full.full.Store(false)
			got := make([]byte, size)
			for i, c := range cs {
				if _, err := io.ReadFull(c, got); err != nil || bytes.Count(got, []byte{byte(round + 1)}) != size {
					t.Fatalf("round %d, connection %d: %v; %+v", round, i, err, client.Stats())
				}
			}
		}
	})
}

// Reads, writes, options and Close from many goroutines at once: nothing breaks,
// and everything ends.
func TestConcurrentCalls(t *testing.T) {
	onTransports(t, func(t *testing.T, tr flow.Transport) {
		server, client := pairOn(t, tr, 2, 2)
		startEcho(t, server, 7)
		rounds := 20
		if testutil.RaceEnabled {
			rounds = 8
		}
		var got atomic.Int64
		for round := range rounds {
			c, err := dial(client.Shard(round%2), netip.AddrPortFrom(serverAddr4, 7))
			if err != nil {
				t.Fatal(err)
			}
			var stop atomic.Bool
			var wg sync.WaitGroup
			loop := func(f func()) {
				wg.Go(func() {
					for !stop.Load() {
						f()
						runtime.Gosched()
					}
				})
			}
			buf, data := make([]byte, 4096), make([]byte, 3000)
			loop(func() { n, _ := c.Flow.Read(buf); got.Add(int64(n)) })
			loop(func() { c.Flow.Write(data) })
			loop(func() { c.Established(); c.ConnectError(); c.SetNoDelay(round%2 == 0); c.SetReadBuffer(1 << 16) })
			loop(func() { c.SetKeepAlive(true, time.Second, time.Second, 2); c.SetWriteBuffer(1 << 16) })
			loop(func() { c.Notify(func(flow.Events) {}); client.Stats() })
			loop(func() { onLoop(client.Shard(round%2), func() { c.Established() }) })
			want := got.Load() + 20_000
			testutil.Eventually(t, "data goes round", func() bool { return got.Load() > want })
			for range 3 {
				wg.Go(func() {
					if round%3 == 0 {
						c.Abort()
					} else if err := c.Close(); err != nil && err != net.ErrClosed {
						t.Error(err)
					}
				})
			}
			testutil.Eventually(t, "it is closed", func() bool { return c.CloseWrite() == net.ErrClosed })
			stop.Store(true)
			wg.Wait()
		}
	})
}
