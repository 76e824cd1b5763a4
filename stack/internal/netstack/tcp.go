package netstack

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"shardnet/driver/wire"
	"shardnet/stack/flow"
)

// tcpListener implements flow.Listener on a netstack endpoint.
type tcpListener struct {
	notifier
	ep     tcpip.Endpoint
	addr   netip.AddrPort
	closed atomic.Bool
}

// ListenTCP opens a listener of netstack's TCP: see stack.Shard.ListenTCP.
func (n *Netstack) ListenTCP(local netip.AddrPort, opt flow.SocketOptions) (flow.Listener, error) {
	wq := new(waiter.Queue)
	ep, err := n.newEndpoint(tcp.ProtocolNumber, local, opt, wq)
	if err != nil {
		return nil, err
	}
	// The port is steered here before it listens, so that no SYN is refused for
	// being some other shard's.
	bound, terr := ep.GetLocalAddress()
	if terr != nil {
		ep.Close()
		return nil, goError(terr)
	}
	n.cfg.Steering.Listen(wire.ProtoTCP, bound.Port)
	backlog := opt.Backlog
	if backlog <= 0 {
		backlog = flow.DefaultBacklog
	}
	l := &tcpListener{ep: ep, addr: netip.AddrPortFrom(local.Addr(), bound.Port)}
	l.notifier.init(n, wq, &l.notifier)
	defer n.afterCall()
	if terr := ep.Listen(backlog); terr != nil {
		l.Close()
		return nil, goError(terr)
	}
	if !n.cfg.Shard.Register(l) {
		l.Close()
		return nil, net.ErrClosed
	}
	return l, nil
}

// Accept implements flow.Listener.
func (l *tcpListener) Accept() (flow.Flow, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	defer l.n.afterCall()
	ep, wq, err := l.ep.Accept(nil)
	if err != nil {
		if l.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, goError(err)
	}
	return newTCPFlow(l.n, ep, wq), nil
}

func (l *tcpListener) Notify(f func(flow.Events)) { l.set(f, l.ep) }
func (l *tcpListener) Addr() netip.AddrPort       { return l.addr }
func (l *tcpListener) Shard() int                 { return l.n.cfg.Shard.Index() }

func (l *tcpListener) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	l.n.cfg.Shard.Unregister(l)
	l.n.cfg.Steering.Unlisten(wire.ProtoTCP, l.addr.Port())
	l.ep.Close()
	l.NotifyEvent(waiter.EventHUp)
	l.stop()
	l.n.afterCall()
	return nil
}

// tcpFlow implements flow.Flow on a netstack endpoint.
type tcpFlow struct {
	notifier
	ep       tcpip.Endpoint
	local    netip.AddrPort
	remote   netip.AddrPort
	in       tcpip.SliceWriter // Read's destination, kept to save an allocation
	out      bytes.Reader      // Write's source, likewise
	closed   atomic.Bool
	pinned   uint16                // local port given to this shard by steering, or 0
	failure  atomic.Pointer[error] // of the attempt to connect
	readShut atomic.Bool

	unreported int // bytes read that netstack's ModerateRecvBuf has not been told of
}

// moderateEvery is after how many bytes read a flow has its receive buffer's size
// looked at: a part of the least that it is.
const moderateEvery = 8 << 10

func newTCPFlow(n *Netstack, ep tcpip.Endpoint, wq *waiter.Queue) *tcpFlow {
	f := &tcpFlow{ep: ep}
	if a, err := ep.GetLocalAddress(); err == nil {
		f.local = toAddrPort(a)
	}
	if a, err := ep.GetRemoteAddress(); err == nil {
		f.remote = toAddrPort(a)
	}
	f.notifier.init(n, wq, &f.notifier)
	return f
}

// DialTCP begins a connection of netstack's TCP: see stack.Shard.DialTCP, which has checked
// remote and keeps the stack from closing meanwhile.
func (n *Netstack) DialTCP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.Flow, error) {
	defer n.afterCall()
	wq := new(waiter.Queue)
	ep, pinned, err := n.dialEndpoint(tcp.ProtocolNumber, local, remote, opt, wq)
	if err != nil {
		return nil, err
	}
	f := &tcpFlow{ep: ep, remote: remote, pinned: pinned}
	f.notifier.init(n, wq, &f.notifier)
	terr := ep.Connect(tcpip.FullAddress{NIC: nicID, Addr: fromNetip(remote.Addr()), Port: remote.Port()})
	if _, started := terr.(*tcpip.ErrConnectStarted); terr != nil && !started {
		f.Close()
		return nil, goError(terr)
	}
	if a, err := ep.GetLocalAddress(); err == nil {
		f.local = toAddrPort(a)
	}
	return f, nil
}

// ConnectError implements flow.Flow.
func (f *tcpFlow) ConnectError() error {
	switch f.ep.(*tcp.Endpoint).EndpointState() {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return flow.ErrWouldBlock
	case tcp.StateError, tcp.StateClose:
		if err := goError(f.ep.LastError()); err != nil {
			f.failure.CompareAndSwap(nil, &err) // netstack tells it once
		}
		if err := f.failure.Load(); err != nil {
			return *err
		}
		if f.closed.Load() {
			return net.ErrClosed
		}
		return syscall.ECONNABORTED // the connection lived and died
	}
	return nil
}

// Read implements flow.Flow.
func (f *tcpFlow) Read(p []byte) (int, error) {
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	if f.readShut.Load() {
		return 0, io.EOF
	}
	defer f.n.afterCall()
	f.in = p
	res, err := f.ep.Read(&f.in, tcpip.ReadOptions{})
	f.in = nil
	if err != nil {
		if f.closed.Load() {
			return 0, net.ErrClosed
		}
		return 0, goError(err)
	}
	// The receive buffer grows with what a round trip brings. A few bytes more or
	// less tell netstack nothing, and it takes its locks for each word.
	if f.unreported += res.Count; f.unreported >= moderateEvery {
		f.ep.ModerateRecvBuf(f.unreported)
		f.unreported = 0
	}
	return res.Count, nil
}

// Established implements flow.Flow. A FIN that was received makes the state another one.
func (f *tcpFlow) Established() bool {
	return f.ep.(*tcp.Endpoint).EndpointState() == tcp.StateEstablished && !f.closed.Load() && !f.readShut.Load()
}

// Write implements flow.Flow.
func (f *tcpFlow) Write(p []byte) (int, error) {
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	f.out.Reset(p)
	n, err := f.ep.Write(&f.out, tcpip.WriteOptions{})
	f.out.Reset(nil)
	f.n.afterCall()
	switch {
	case err != nil:
		if f.closed.Load() {
			return int(n), net.ErrClosed
		}
		return int(n), f.writeError(err)
	case int(n) < len(p):
		return int(n), flow.ErrWouldBlock
	}
	return int(n), nil
}

// writeError tells a connection the peer reset from one we shut.
func (f *tcpFlow) writeError(err tcpip.Error) error {
	if _, ok := err.(*tcpip.ErrClosedForSend); ok {
		if last := f.ep.LastError(); last != nil {
			return goError(last)
		}
	}
	return goError(err)
}

func (f *tcpFlow) Notify(fn func(flow.Events)) { f.set(fn, f.ep) }

func (f *tcpFlow) CloseRead() error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	err := goError(f.ep.Shutdown(tcpip.ShutdownRead))
	if err == nil {
		f.readShut.Store(true)
		f.NotifyEvent(waiter.ReadableEvents)
	}
	f.n.afterCall()
	return err
}

func (f *tcpFlow) CloseWrite() error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	err := goError(f.ep.Shutdown(tcpip.ShutdownWrite))
	f.n.afterCall()
	return err
}

func (f *tcpFlow) Close() error { return f.end(f.ep.Close) }
func (f *tcpFlow) Abort()       { _ = f.end(f.ep.Abort) }

func (f *tcpFlow) end(how func()) error {
	if f.closed.Swap(true) {
		return net.ErrClosed
	}
	how()
	if f.pinned != 0 {
		f.n.cfg.Steering.Unpin(wire.ProtoTCP, f.pinned, f.Shard())
	}
	f.NotifyEvent(waiter.EventHUp)
	f.stop()
	f.n.afterCall()
	return nil
}

func (f *tcpFlow) LocalAddr() netip.AddrPort  { return f.local }
func (f *tcpFlow) RemoteAddr() netip.AddrPort { return f.remote }
func (f *tcpFlow) Shard() int                 { return f.n.cfg.Shard.Index() }

func (f *tcpFlow) SetNoDelay(on bool) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	f.ep.SocketOptions().SetDelayOption(!on)
	f.n.afterCall()
	return nil
}

func (f *tcpFlow) SetKeepAlive(on bool, idle, interval time.Duration, count int) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	defer f.n.afterCall()
	if idle > 0 {
		v := tcpip.KeepaliveIdleOption(idle)
		if err := f.ep.SetSockOpt(&v); err != nil {
			return goError(err)
		}
	}
	if interval > 0 {
		v := tcpip.KeepaliveIntervalOption(interval)
		if err := f.ep.SetSockOpt(&v); err != nil {
			return goError(err)
		}
	}
	if count > 0 {
		if err := f.ep.SetSockOptInt(tcpip.KeepaliveCountOption, count); err != nil {
			return goError(err)
		}
	}
	f.ep.SocketOptions().SetKeepAlive(on)
	return nil
}

func (f *tcpFlow) SetLinger(sec int) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	f.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: sec >= 0, Timeout: time.Duration(max(sec, 0)) * time.Second})
	return nil
}

func (f *tcpFlow) SetReadBuffer(n int) error {
	defer f.n.afterCall()
	return setReadBuffer(f.ep, n, &f.closed)
}

func (f *tcpFlow) SetWriteBuffer(n int) error {
	defer f.n.afterCall()
	return setWriteBuffer(f.ep, n, &f.closed)
}
