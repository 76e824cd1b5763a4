package netstack

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver"
)

const (
	// batch is how many frames are received or sent at once.
	batch = 64
	// maxOut bounds the packets that wait to be sent; more are dropped, as by a
	// full queueing discipline.
	maxOut = 4096
)

// link is an Ethernet link endpoint on a queue. One goroutine, run, owns the
// queue; writers leave packets in out.
type link struct {
	q    driver.Queue
	mtu  uint32
	addr tcpip.LinkAddress

	dispatcher stack.NetworkDispatcher // set by Attach, before run starts

	mu  sync.Mutex
	out []*stack.PacketBuffer // each with a reference of its own

	// asleep is set by run before it looks at out for the last time, and cleared
	// by the writer that wakes it: so of a writer that appends and then looks at
	// asleep, and run that sets asleep and then looks at out, one sees the other.
	asleep atomic.Bool

	dropped atomic.Uint64 // packets lost: out was full, or no frame held them
	err     error         // why run ended, if not by Close; read after done
	done    chan struct{} // closed when run has ended
}

func newLink(q driver.Queue, info driver.Info) *link {
	return &link{q: q, mtu: uint32(info.MTU), addr: tcpip.LinkAddress(info.MAC), done: make(chan struct{})}
}

var _ stack.LinkEndpoint = (*link)(nil)

func (l *link) MTU() uint32                             { return l.mtu }
func (l *link) SetMTU(uint32)                           {}
func (l *link) MaxHeaderLength() uint16                 { return header.EthernetMinimumSize }
func (l *link) LinkAddress() tcpip.LinkAddress          { return l.addr }
func (l *link) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *link) Attach(d stack.NetworkDispatcher)        { l.dispatcher = d }
func (l *link) IsAttached() bool                        { return l.dispatcher != nil }
func (l *link) Wait()                                   {}
func (l *link) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareEther }
func (l *link) Close()                                  {}
func (l *link) SetOnCloseAction(func())                 {}

// Capabilities: checksums are computed and verified in software, both ways.
func (l *link) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityResolutionRequired
}

// AddHeader implements stack.NetworkLinkEndpoint.
func (l *link) AddHeader(pkt *stack.PacketBuffer) {
	header.Ethernet(pkt.LinkHeader().Push(header.EthernetMinimumSize)).Encode(&header.EthernetFields{
		SrcAddr: l.addr,
		DstAddr: pkt.EgressRoute.RemoteLinkAddress,
		Type:    pkt.NetworkProtocolNumber,
	})
}

// ParseHeader implements stack.NetworkLinkEndpoint.
func (l *link) ParseHeader(pkt *stack.PacketBuffer) bool {
	_, ok := pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	return ok
}

// WritePackets implements stack.LinkWriter. It is called from any goroutine.
func (l *link) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	l.mu.Lock()
	for _, pkt := range pkts.AsSlice() {
		if len(l.out) == maxOut {
			break
		}
		l.out = append(l.out, pkt.IncRef())
		n++
	}
	l.mu.Unlock()
	if l.asleep.CompareAndSwap(true, false) {
		l.q.Wake()
	}
	if n < pkts.Len() {
		l.dropped.Add(uint64(pkts.Len() - n))
		return n, &tcpip.ErrNoBufferSpace{}
	}
	return n, nil
}

// run moves frames both ways until the queue is closed or fails.
func (l *link) run() {
	defer close(l.done)
	fs := make([]driver.Frame, batch)
	var spare []*stack.PacketBuffer
	for {
		n, err := l.q.Receive(fs)
		if err == nil {
			for _, f := range fs[:n] {
				l.deliver(f.Data)
			}
			l.q.Release(fs[:n])
			if n > 0 {
				// What was delivered made netstack's and the application's
				// goroutines ready; what they have to say can leave together.
				runtime.Gosched()
			}
			l.mu.Lock()
			out := l.out
			l.out = spare[:0]
			l.mu.Unlock()
			spare = out
			err = l.send(fs, out)
			if err == nil && n == 0 && len(out) == 0 {
				err = l.sleep()
			}
		}
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				l.err = err
			}
			return
		}
	}
}

// sleep waits for a frame or a writer.
func (l *link) sleep() error {
	l.asleep.Store(true)
	l.mu.Lock()
	waiting := len(l.out)
	l.mu.Unlock()
	var err error
	if waiting == 0 {
		err = l.q.Wait(-1)
	}
	l.asleep.Store(false)
	return err
}

// deliver gives netstack a copy of the frame.
func (l *link) deliver(frame []byte) {
	if len(frame) < header.EthernetMinimumSize {
		return
	}
	eth := header.Ethernet(frame)
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	defer pkt.DecRef()
	pkt.LinkHeader().Consume(header.EthernetMinimumSize)
	switch dst := eth.DestinationAddress(); {
	case dst == l.addr:
		pkt.PktType = tcpip.PacketHost
	case dst == header.EthernetBroadcastAddress:
		pkt.PktType = tcpip.PacketBroadcast
	case header.IsMulticastEthernetAddress(dst):
		pkt.PktType = tcpip.PacketMulticast
	default:
		return
	}
	l.dispatcher.DeliverNetworkPacket(eth.Type(), pkt)
}

// send copies pkts into frames and transmits them. It drops what the queue has no
// room for, as a NIC with a full ring does, and gives back every reference.
func (l *link) send(fs []driver.Frame, pkts []*stack.PacketBuffer) error {
	for len(pkts) > 0 {
		n := l.q.Alloc(fs[:min(len(fs), len(pkts))])
		if n == 0 {
			// Frames come back when what was sent has left.
			if err := l.q.Flush(); err != nil {
				return l.drop(pkts, err)
			}
			if n = l.q.Alloc(fs[:min(len(fs), len(pkts))]); n == 0 {
				return l.drop(pkts, nil)
			}
		}
		for i, pkt := range pkts[:n] {
			fs[i].Data = fill(fs[i].Data, pkt)
			pkt.DecRef()
			pkts[i] = nil
		}
		pkts = pkts[n:]
		for sent := 0; sent < n; {
			m, err := l.q.Transmit(fs[sent:n])
			sent += m
			if err == nil && sent < n {
				err = l.q.Flush() // makes room
				if err == nil && m == 0 {
					l.dropped.Add(uint64(n - sent))
					l.q.Release(fs[sent:n])
					break
				}
			}
			if err != nil {
				return l.drop(pkts, err)
			}
		}
	}
	return l.drop(nil, l.q.Flush())
}

// drop gives back the references to pkts. An error that passes is none.
func (l *link) drop(pkts []*stack.PacketBuffer, err error) error {
	for i, pkt := range pkts {
		pkt.DecRef()
		pkts[i] = nil
	}
	l.dropped.Add(uint64(len(pkts)))
	if err != nil && !errors.Is(err, driver.ErrLinkDown) {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// fill appends pkt's bytes to b, or nothing if they are too many: the queue counts
// an empty frame as an error.
func fill(b []byte, pkt *stack.PacketBuffer) []byte {
	if pkt.Size() > cap(b) {
		return b
	}
	for _, part := range pkt.AsSlices() {
		b = append(b, part...)
	}
	return b
}
