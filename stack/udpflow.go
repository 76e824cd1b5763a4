package stack

import (
	"bytes"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// udpFlow implements PacketFlow. A netstack endpoint holds its port, and receives
// and sends what does not bypass netstack: fragments, packets with options,
// broadcasts, ICMP errors, packets whose next hop is not known yet. All others
// come from takeDatagram into queue, and leave by sendUDP.
type udpFlow struct {
	notifier
	binding udpBinding
	queue   datagramQueue
	handler DatagramHandler // set by HandleDatagrams; the loop's
	// netstack is set when the endpoint may have a datagram or an error.
	netstack atomic.Bool

	ep        tcpip.Endpoint
	local     netip.AddrPort
	remote    netip.AddrPort // of a connected flow
	listening bool           // steering knows the port as listening
	pinned    uint16         // or as this shard's
	v6        bool           // the endpoint is an IPv6 one
	closed    atomic.Bool

	readMu sync.Mutex
	in     tcpip.SliceWriter // ReadFrom's destination, kept to save an allocation

	writeMu sync.Mutex
	out     bytes.Reader // WriteTo's source, likewise
	to      tcpip.FullAddress
}

// ListenUDP opens a socket on this shard for datagrams to local; see ListenTCP
// for the address. Datagrams come in on whichever shard the NIC chooses: open one
// on all shards, as socketapi.ListenPacket does, or some are refused.
func (sh *Shard) ListenUDP(local netip.AddrPort, opt SocketOptions) (PacketFlow, error) {
	wq := new(waiter.Queue)
	ep, err := sh.newEndpoint(udp.ProtocolNumber, local, opt, wq)
	if err != nil {
		return nil, err
	}
	bound, terr := ep.GetLocalAddress()
	if terr != nil {
		ep.Close()
		return nil, goError(terr)
	}
	f := &udpFlow{ep: ep, local: netip.AddrPortFrom(local.Addr(), bound.Port), listening: true, v6: !local.Addr().Unmap().Is4()}
	f.binding = bindingOf(local, netip.AddrPort{}, opt.V6Only)
	sh.st.steering.listen(protoUDP, bound.Port)
	return f.start(sh, wq, opt)
}

// DialUDP opens a socket on this shard that exchanges datagrams with remote
// alone. The zero local address lets the stack choose, as in DialTCP.
func (sh *Shard) DialUDP(local, remote netip.AddrPort, opt SocketOptions) (PacketFlow, error) {
	done, err := sh.beginDial(remote)
	if err != nil {
		return nil, err
	}
	defer done()
	wq := new(waiter.Queue)
	ep, pinned, err := sh.dialEndpoint(udp.ProtocolNumber, local, remote, opt, wq)
	if err != nil {
		return nil, err
	}
	f := &udpFlow{ep: ep, remote: remote, pinned: pinned}
	if terr := ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: fromNetip(remote.Addr().Unmap()), Port: remote.Port()}); terr != nil {
		f.sh = sh
		f.release()
		ep.Close()
		return nil, goError(terr)
	}
	if a, terr := ep.GetLocalAddress(); terr == nil {
		f.local = toAddrPort(a)
	}
	f.binding = bindingOf(f.local, remote, false)
	return f.start(sh, wq, opt)
}

func (f *udpFlow) start(sh *Shard, wq *waiter.Queue, opt SocketOptions) (PacketFlow, error) {
	f.queue.setLimit(udpBufferDefault)
	if opt.ReadBuffer > 0 {
		f.queue.setLimit(opt.ReadBuffer)
	}
	f.netstack.Store(true) // what came before it was watched
	f.notifier.init(sh, wq, f)
	sh.udp.add(f)
	if !sh.st.register(f) {
		f.Close()
		return nil, net.ErrClosed
	}
	return f, nil
}

// NotifyEvent implements waiter.EventListener: the endpoint became ready.
func (f *udpFlow) NotifyEvent(mask waiter.EventMask) {
	f.netstack.Store(true)
	f.notifier.NotifyEvent(mask)
}

// arrived tells that queue is no longer empty. Loop only.
func (f *udpFlow) arrived() { f.notifier.NotifyEvent(waiter.ReadableEvents) }

// ReadFrom implements PacketFlow.
func (f *udpFlow) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	f.readMu.Lock()
	defer f.readMu.Unlock()
	n, from, _, err := f.readFrom(p)
	return n, from, err
}

// readFrom is ReadFrom for the holder of readMu. to is where the datagram was
// sent; of one that came by way of netstack it is known to handlers only.
func (f *udpFlow) readFrom(p []byte) (n int, from, to netip.AddrPort, err error) {
	if f.closed.Load() {
		return 0, from, to, net.ErrClosed
	}
	if f.netstack.Load() {
		f.netstack.Store(false)
		n, from, to, err = f.readNetstack(p)
		if err != ErrWouldBlock {
			f.netstack.Store(true) // there may be more
			return n, from, to, err
		}
	}
	if n, from, dst, ok := f.queue.pop(p); ok {
		return n, from, netip.AddrPortFrom(dst, f.local.Port()), nil
	}
	return 0, from, to, ErrWouldBlock
}

func (f *udpFlow) readNetstack(p []byte) (n int, from, to netip.AddrPort, err error) {
	f.in = p
	res, terr := f.ep.Read(&f.in, tcpip.ReadOptions{NeedRemoteAddr: true})
	f.in = nil
	if terr != nil {
		if f.closed.Load() {
			return 0, from, to, net.ErrClosed
		}
		return 0, from, to, goError(terr)
	}
	return res.Count, toAddrPort(res.RemoteAddr), toAddrPort(res.ControlMessages.OriginalDstAddress), nil
}

// WriteTo implements PacketFlow.
func (f *udpFlow) WriteTo(p []byte, to netip.AddrPort) (int, error) {
	return f.writeFrom(netip.Addr{}, p, to)
}

// writeFrom is WriteTo with the source address chosen by the caller; an invalid
// one is the socket's, or the route's.
func (f *udpFlow) writeFrom(src netip.Addr, p []byte, to netip.AddrPort) (int, error) {
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	var opts tcpip.WriteOptions
	dst := f.binding.remote
	switch {
	case !to.IsValid() && !f.remote.IsValid():
		return 0, syscall.EDESTADDRREQ
	case to.IsValid():
		if f.remote.IsValid() && to != f.remote {
			return 0, syscall.EISCONN
		}
		dst = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		if !f.v6 && !f.remote.IsValid() && !dst.Addr().Is4() {
			return 0, syscall.EAFNOSUPPORT
		}
	}
	if dst.Port() == 0 {
		return 0, syscall.EINVAL // as Linux has it
	}
	// An error that netstack has for a connected socket is its next write's.
	if f.remote.IsValid() && f.netstack.Load() && f.ep.Readiness(waiter.EventErr) != 0 {
		return f.writeNetstack(p, opts)
	}
	if src.IsValid() && (f.binding.local.IsValid() || !f.sh.st.owns(src)) {
		src = netip.Addr{} // the socket's own; or it was sent to a broadcast address
	}
	if f.binding.takes(dst.Addr()) {
		from := src
		if !from.IsValid() {
			from = f.binding.local
		}
		if f.sh.sendUDP(from, f.local.Port(), dst, p) {
			return len(p), nil
		}
	}
	if src.IsValid() {
		return f.sh.routeUDP(src, f.local.Port(), dst, p)
	}
	if !f.remote.IsValid() {
		f.to = tcpip.FullAddress{Addr: fromNetip(dst.Addr()), Port: dst.Port()}
		opts.To = &f.to
	}
	return f.writeNetstack(p, opts)
}

func (f *udpFlow) writeNetstack(p []byte, opts tcpip.WriteOptions) (int, error) {
	f.out.Reset(p)
	n, err := f.ep.Write(&f.out, opts)
	f.out.Reset(nil)
	return int(n), goError(err)
}

// Notify implements PacketFlow.
func (f *udpFlow) Notify(fn func(Events)) {
	f.set(fn, f.ep)
	if fn != nil && !f.queue.empty() {
		fn(Readable)
	}
}

func (f *udpFlow) Close() error {
	if f.closed.Swap(true) {
		return net.ErrClosed
	}
	f.sh.st.unregister(f)
	f.sh.udp.remove(f)
	f.release()
	f.ep.Close()
	f.NotifyEvent(waiter.EventHUp)
	f.stop()
	f.queue.release()
	return nil
}

// release tells steering that the port is free.
func (f *udpFlow) release() {
	if f.listening {
		f.sh.st.steering.unlisten(protoUDP, f.local.Port())
	}
	if f.pinned != 0 {
		f.sh.st.steering.unpin(protoUDP, f.pinned, f.sh.index)
	}
}

func (f *udpFlow) LocalAddr() netip.AddrPort  { return f.local }
func (f *udpFlow) RemoteAddr() netip.AddrPort { return f.remote }
func (f *udpFlow) Shard() int                 { return f.sh.index }
func (f *udpFlow) SetWriteBuffer(n int) error { return setWriteBuffer(f.ep, n, &f.closed) }

// SetReadBuffer implements PacketFlow. It bounds what bypasses netstack and what
// does not each by itself.
func (f *udpFlow) SetReadBuffer(n int) error {
	f.queue.setLimit(n)
	return setReadBuffer(f.ep, n, &f.closed)
}
