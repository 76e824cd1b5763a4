package sim

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	randv2 "math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	nstcp "gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// netstackHost is gVisor's netstack. Its TCP runs on goroutines of its own, which are
// waited for (tcp.Pause) before the clock goes on: so its runs repeat, too.
type netstackHost struct {
	t               testing.TB
	w               *world
	index           int
	port            *port
	stack           *stack.Stack
	ep              *channel.Endpoint
	tcp             stack.TransportProtocol
	injected        bool
	listener        tcpip.Endpoint
	socks           []*netstackSock
	wait            map[uint16]*netstackSock // to be accepted, by the other's port
	local, expected uint16
}

// aNetstack makes hosts of netstacks with congestion control cc, "cubic" or "reno".
func aNetstack(cc string) maker {
	return func(t testing.TB, w *world, index int) host {
		h := &netstackHost{t: t, w: w, index: index, port: w.ports[index], ep: channel.New(1<<14, 1500, ""),
			wait: make(map[uint16]*netstackSock), local: firstPort, expected: firstPort}
		h.stack = stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{nstcp.NewProtocol},
			Clock:              &w.clock,
			RandSource:         &lockedSource{src: rand.NewSource(int64(index) + 1).(rand.Source64)},
			SecureRNG:          &lockedReader{r: randv2.NewChaCha8([32]byte{byte(index)})},
		})
		h.tcp = h.stack.TransportProtocolInstance(nstcp.ProtocolNumber)
		check := func(err tcpip.Error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		check(h.stack.CreateNIC(1, h.ep))
		check(h.stack.AddProtocolAddress(1, tcpip.ProtocolAddress{Protocol: ipv4.ProtocolNumber,
			AddressWithPrefix: tcpip.AddrFrom4(addrs[index].As4()).WithPrefix()}, stack.AddressProperties{}))
		h.stack.SetRouteTable([]tcpip.Route{{Destination: header.IPv4EmptySubnet, NIC: 1}})
		sack, moderate, algorithm := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.CongestionControlOption(cc)
		check(h.stack.SetTransportProtocolOption(nstcp.ProtocolNumber, &sack))
		check(h.stack.SetTransportProtocolOption(nstcp.ProtocolNumber, &moderate))
		check(h.stack.SetTransportProtocolOption(nstcp.ProtocolNumber, &algorithm))
		// Its RACK, on by default, takes segments for lost that a delayed ACK is still to
		// come for: against a receiver that acknowledges every second one it sends a
		// tenth again where nothing is lost, and gets a fifteenth of the rate.
		rack := tcpip.TCPRecovery(0)
		check(h.stack.SetTransportProtocolOption(nstcp.ProtocolNumber, &rack))
		t.Cleanup(func() {
			h.stack.Close()
			h.ep.Close()
			h.stack.Wait()
		})
		return h
	}
}

func (h *netstackHost) take(b []byte) {
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(bytes.Clone(b))})
	h.ep.InjectInbound(ipv4.ProtocolNumber, pkt)
	pkt.DecRef()
	h.injected = true
}

func (h *netstackHost) turn() {
	for range 1000 {
		h.quiesce()
		h.accept()
		called := false
		for i := 0; i < len(h.socks); i++ {
			if s := h.socks[i]; s.ep != nil && s.events.Swap(false) && s.call != nil {
				s.call()
				called = true
			}
		}
		h.transmit()
		if !called && !h.injected {
			return
		}
	}
	h.t.Fatal("a turn of netstack does not end")
}

// quiesce waits until netstack's goroutines have processed what they were given.
func (h *netstackHost) quiesce() {
	if h.injected {
		h.injected = false
		h.tcp.Pause()
		h.tcp.Resume()
	}
}

func (h *netstackHost) transmit() {
	for pkt := h.ep.Read(); pkt != nil; pkt = h.ep.Read() {
		v := pkt.ToView()
		if b := h.port.alloc(v.Size()); b != nil {
			copy(b, v.AsSlice())
			h.port.send()
		}
		v.Release()
		pkt.DecRef()
	}
}

// next: its timers are the world's clock's.
func (h *netstackHost) next() (int64, bool) { return h.w.clock.next() }

func (h *netstackHost) counts() (sent, again, timeouts uint64) {
	st := h.stack.Stats().TCP
	return st.SegmentsSent.Value(), st.Retransmits.Value(), st.Timeouts.Value()
}

func (h *netstackHost) endpoint(q *waiter.Queue) tcpip.Endpoint {
	ep, err := h.stack.NewEndpoint(nstcp.ProtocolNumber, ipv4.ProtocolNumber, q)
	if err != nil {
		h.t.Fatal(err)
	}
	return ep
}

func (h *netstackHost) sock(t testing.TB, active bool) socket {
	s := &netstackSock{h: h}
	if !active {
		if h.listener == nil {
			h.listener = h.endpoint(new(waiter.Queue))
			if err := h.listener.Bind(tcpip.FullAddress{Port: tcpPort}); err != nil {
				t.Fatal(err)
			}
			if err := h.listener.Listen(64); err != nil {
				t.Fatal(err)
			}
		}
		h.expected++
		h.wait[h.expected] = s
		return s
	}
	q := new(waiter.Queue)
	s.open(h.endpoint(q), q)
	h.local++
	if err := s.ep.Bind(tcpip.FullAddress{Port: h.local}); err != nil {
		t.Fatal(err)
	}
	if err := s.ep.Connect(tcpip.FullAddress{Addr: tcpip.AddrFrom4(addrs[1-h.index].As4()), Port: tcpPort}); err != nil {
		if _, ok := err.(*tcpip.ErrConnectStarted); !ok {
			t.Fatal(err)
		}
	}
	return s
}

func (h *netstackHost) accept() {
	for h.listener != nil && len(h.wait) > 0 {
		var from tcpip.FullAddress
		ep, q, err := h.listener.Accept(&from)
		if err != nil {
			return
		}
		s := h.wait[from.Port]
		if s == nil {
			h.t.Errorf("a connection from port %d, which nobody has dialed", from.Port)
			ep.Close()
			continue
		}
		delete(h.wait, from.Port)
		s.open(ep, q)
	}
}

// netstackSock is one of its connections.
type netstackSock struct {
	h      *netstackHost
	ep     tcpip.Endpoint
	call   func()
	events atomic.Bool
}

func (s *netstackSock) open(ep tcpip.Endpoint, q *waiter.Queue) {
	s.ep = ep
	e := waiter.NewFunctionEntry(waiter.ReadableEvents|waiter.WritableEvents|waiter.EventErr|waiter.EventHUp, func(waiter.EventMask) { s.events.Store(true) })
	q.EventRegister(&e)
	s.events.Store(true)
	s.h.socks = append(s.h.socks, s)
}

func (s *netstackSock) onReady(f func()) { s.call = f }

func (s *netstackSock) write(b []byte) (int, error) {
	if s.ep == nil {
		return 0, errBlock
	}
	if st := nstcp.EndpointState(s.ep.State()); st == nstcp.StateConnecting || st == nstcp.StateSynSent || st == nstcp.StateSynRecv {
		return 0, errBlock
	}
	n, err := s.ep.Write(bytes.NewReader(b), tcpip.WriteOptions{})
	return int(n), nsError(err)
}

func (s *netstackSock) read(b []byte) (int, error) {
	if s.ep == nil {
		return 0, errBlock
	}
	w := tcpip.SliceWriter(b)
	r, err := s.ep.Read(&w, tcpip.ReadOptions{})
	return r.Count, nsError(err)
}

func (s *netstackSock) closeWrite() error { return nsError(s.ep.Shutdown(tcpip.ShutdownWrite)) }

func (s *netstackSock) close() {
	s.ep.Close()
	s.ep = nil
}

func nsError(err tcpip.Error) error {
	switch err.(type) {
	case nil:
		return nil
	case *tcpip.ErrWouldBlock, *tcpip.ErrNotConnected:
		return errBlock
	case *tcpip.ErrClosedForReceive:
		return io.EOF
	}
	return errors.New(err.String())
}

// lockedSource and lockedReader are netstack's randomness, which it takes from several
// goroutines.
type lockedSource struct {
	mu  sync.Mutex
	src rand.Source64
}

func (s *lockedSource) Int63() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Int63()
}

func (s *lockedSource) Uint64() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.src.Uint64()
}

func (s *lockedSource) Seed(seed int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.src.Seed(seed)
}

type lockedReader struct {
	mu sync.Mutex
	r  *randv2.ChaCha8
}

func (r *lockedReader) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.r.Read(b)
}
