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

// udpFlow implements PacketFlow on a netstack endpoint.
type udpFlow struct {
	notifier
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
	sh.st.steering.listen(protoUDP, bound.Port)
	return f.start(sh, wq)
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
	return f.start(sh, wq)
}

func (f *udpFlow) start(sh *Shard, wq *waiter.Queue) (PacketFlow, error) {
	f.notifier.init(sh, wq)
	if !sh.st.register(f) {
		f.Close()
		return nil, net.ErrClosed
	}
	return f, nil
}

// ReadFrom implements PacketFlow.
func (f *udpFlow) ReadFrom(p []byte) (int, netip.AddrPort, error) {
	f.readMu.Lock()
	defer f.readMu.Unlock()
	if f.closed.Load() {
		return 0, netip.AddrPort{}, net.ErrClosed
	}
	f.in = p
	res, err := f.ep.Read(&f.in, tcpip.ReadOptions{NeedRemoteAddr: true})
	f.in = nil
	if err != nil {
		if f.closed.Load() {
			return 0, netip.AddrPort{}, net.ErrClosed
		}
		return 0, netip.AddrPort{}, goError(err)
	}
	return res.Count, toAddrPort(res.RemoteAddr), nil
}

// WriteTo implements PacketFlow.
func (f *udpFlow) WriteTo(p []byte, to netip.AddrPort) (int, error) {
	f.writeMu.Lock()
	defer f.writeMu.Unlock()
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	var opts tcpip.WriteOptions
	if to.IsValid() {
		if f.remote.IsValid() {
			return 0, syscall.EISCONN
		}
		addr := to.Addr().Unmap()
		if !f.v6 && !addr.Is4() {
			return 0, syscall.EAFNOSUPPORT
		}
		f.to = tcpip.FullAddress{Addr: fromNetip(addr), Port: to.Port()}
		opts.To = &f.to
	} else if !f.remote.IsValid() {
		return 0, syscall.EDESTADDRREQ
	}
	f.out.Reset(p)
	n, err := f.ep.Write(&f.out, opts)
	f.out.Reset(nil)
	return int(n), goError(err)
}

func (f *udpFlow) Notify(fn func(Events)) { f.set(fn, f.ep) }

func (f *udpFlow) Close() error {
	if f.closed.Swap(true) {
		return net.ErrClosed
	}
	f.sh.st.unregister(f)
	f.release()
	f.ep.Close()
	f.NotifyEvent(waiter.EventHUp)
	f.stop()
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
func (f *udpFlow) SetReadBuffer(n int) error  { return setReadBuffer(f.ep, n, &f.closed) }
func (f *udpFlow) SetWriteBuffer(n int) error { return setWriteBuffer(f.ep, n, &f.closed) }
