package tcp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	nstcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"shardnet/driver/wire"
)

// netstackPeer joins an engine, as host 1, to a netstack, in real time: another
// implementation's idea of TCP.
type netstackPeer struct {
	e     *Engine
	ep    *channel.Endpoint
	stack *stack.Stack
	rng   *rand.Rand
	loss  float64
	buf   []byte
	ready func(c *Conn, ev Events)
}

const ipv4Header = 20

func (p *netstackPeer) Frame(_ *Conn, _ *Tuple, n int) []byte { return p.buf[ipv4Header:][:n] }

func (p *netstackPeer) Send(_ *Conn, seg []byte) {
	if p.rng.Float64() < p.loss {
		return
	}
	b := p.buf[:ipv4Header+len(seg)]
	header.IPv4(b).Encode(&header.IPv4Fields{TotalLength: uint16(len(b)), TTL: 64, Protocol: wire.ProtoTCP,
		SrcAddr: tcpip.AddrFrom4(simAddr[1].As4()), DstAddr: tcpip.AddrFrom4(simAddr[0].As4())})
	header.IPv4(b).SetChecksum(^header.IPv4(b).CalculateChecksum())
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(append([]byte(nil), b...))})
	p.ep.InjectInbound(ipv4.ProtocolNumber, pkt)
	pkt.DecRef()
}

func newNetstackPeer(t *testing.T, loss float64) *netstackPeer {
	t.Helper()
	p := &netstackPeer{loss: loss, rng: rand.New(rand.NewPCG(1, 8)), buf: make([]byte, 1<<11), ep: channel.New(4096, 1500, "")}
	p.stack = stack.New(stack.Options{NetworkProtocols: []stack.NetworkProtocolFactory{ipv4.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{nstcp.NewProtocolCUBIC}})
	if err := p.stack.CreateNIC(1, p.ep); err != nil {
		t.Fatal(err)
	}
	if err := p.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
		AddressWithPrefix: tcpip.AddrFrom4(simAddr[0].As4()).WithPrefix()}, stack.AddressProperties{}); err != nil {
		t.Fatal(err)
	}
	p.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
	sack := tcpip.TCPSACKEnabled(true)
	if err := p.stack.SetTransportProtocolOption(nstcp.ProtocolNumber, &sack); err != nil {
		t.Fatal(err)
	}
	e, err := New(time.Now().UnixNano(), Config{Output: p})
	if err != nil {
		t.Fatal(err)
	}
	p.e = e
	t.Cleanup(func() {
		p.stack.Close()
		p.ep.Close()
		p.stack.Wait()
	})
	return p
}

// loop runs the engine until ctx ends or the invariants break.
func (p *netstackPeer) loop(ctx context.Context) error {
	var seg Segment
	for ctx.Err() == nil {
		now := time.Now().UnixNano()
		p.e.Advance(now)
		for range 64 {
			pkt := p.ep.Read()
			if pkt == nil {
				break
			}
			b := pkt.ToView().AsSlice()
			pkt.DecRef()
			if p.rng.Float64() < p.loss {
				continue
			}
			b = b[:binary.BigEndian.Uint16(b[2:])]
			if !VerifyChecksum(b[ipv4Header:], b[12:16], b[16:20]) {
				return errors.New("a segment of netstack's does not verify")
			}
			if err := ParseSegment(&seg, b[ipv4Header:], b[12:16], b[16:20]); err != nil {
				return err
			}
			if p.e.Input(now, &seg) == NoConnection {
				p.e.Reject(&seg)
			}
		}
		for c, ev := p.e.NextReady(); c != nil; c, ev = p.e.NextReady() {
			p.ready(c, ev)
		}
		p.e.Flush(now)
		if p.ep.NumQueued() == 0 && !p.e.Pending() {
			waitCtx, cancel := context.WithTimeout(ctx, time.Millisecond)
			if pkt := p.ep.ReadContext(waitCtx); pkt != nil {
				p.again(pkt)
			}
			cancel()
		}
	}
	return nil
}

// again processes the packet that ended a wait.
func (p *netstackPeer) again(pkt *stack.PacketBuffer) {
	b := pkt.ToView().AsSlice()
	pkt.DecRef()
	var seg Segment
	if p.rng.Float64() >= p.loss && ParseSegment(&seg, b[ipv4Header:], b[12:16], b[16:20]) == nil {
		p.e.Input(time.Now().UnixNano(), &seg)
	}
}

// TestAgainstNetstack echoes a stream to gVisor's TCP, opened by either side, with and
// without loss.
func TestAgainstNetstack(t *testing.T) {
	for _, loss := range []float64{0, 0.02} {
		for _, active := range []bool{false, true} {
			t.Run(fmt.Sprintf("loss=%v/active=%v", loss, active), func(t *testing.T) {
				p := newNetstackPeer(t, loss)
				size := 1 << 20
				if loss > 0 {
					size = 256 << 10
				}
				testNetstackEcho(t, p, active, size)
			})
		}
	}
}

func testNetstackEcho(t *testing.T, p *netstackPeer, active bool, size int) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ours := netip.AddrPortFrom(simAddr[1], 80)
	theirs := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(simAddr[0].As4()), Port: 5000}
	l, err := p.e.Listen(ours, false, 4)
	if err != nil {
		t.Fatal(err)
	}
	echo := make([]byte, 1<<16)
	p.ready = func(c *Conn, ev Events) {
		if ev&Accepted != 0 {
			if c, err = l.Accept(); err != nil {
				return
			}
		}
		for {
			b, err := c.Peek()
			if err == io.EOF {
				c.Close()
				return
			}
			if err != nil {
				return
			}
			n, err := c.Write(b[:min(len(b), len(echo))])
			c.Discard(n)
			if err != nil {
				return
			}
		}
	}
	conns := make(chan net.Conn, 1)
	if active {
		nl, err := gonet.ListenTCP(p.stack, theirs, ipv4.ProtocolNumber)
		if err != nil {
			t.Fatal(err)
		}
		defer nl.Close()
		if _, err := p.e.Dial(time.Now().UnixNano(), MakeTuple(ours, netip.AddrPortFrom(simAddr[0], 5000))); err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := nl.Accept(); err == nil {
				conns <- c
			}
		}()
	} else {
		go func() {
			c, err := gonet.DialContextTCP(ctx, p.stack, tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFrom4(simAddr[1].As4()), Port: 80}, ipv4.ProtocolNumber)
			if err == nil {
				conns <- c
			}
		}()
	}
	done := make(chan error, 1)
	go func() { done <- netstackClient(ctx, conns, size); cancel() }()
	if err := p.loop(ctx); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("%v; %+v", err, p.e.Stats())
	}
	if err := p.e.check(); err != nil {
		t.Error(err)
	}
}

// netstackClient writes a stream, closes its half, and compares what comes back.
func netstackClient(ctx context.Context, conns chan net.Conn, size int) error {
	var c net.Conn
	select {
	case c = <-conns:
	case <-ctx.Done():
		return errors.New("not connected")
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	sent, got := fnv.New64a(), fnv.New64a()
	wrote := make(chan error, 1)
	go func() {
		rng := rand.New(rand.NewPCG(1, 9))
		b := make([]byte, 10000)
		for left := size; left > 0; {
			n := min(1+rng.IntN(len(b)), left)
			for i := range b[:n] {
				b[i] = byte(rng.Uint32())
			}
			sent.Write(b[:n])
			if _, err := c.Write(b[:n]); err != nil {
				wrote <- err
				return
			}
			left -= n
		}
		wrote <- c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	n, err := io.Copy(got, c)
	if werr := <-wrote; werr != nil {
		return fmt.Errorf("write: %w", werr)
	}
	if err != nil {
		return fmt.Errorf("read after %d bytes: %w", n, err)
	}
	if n != int64(size) || got.Sum64() != sent.Sum64() {
		return fmt.Errorf("%d of %d bytes came back, or others", n, size)
	}
	return nil
}
