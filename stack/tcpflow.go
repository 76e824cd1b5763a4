package stack

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

const defaultBacklog = 4096

// notifier carries readiness from a netstack waiter queue to the function set by
// Notify, or to the task set by Shard.Serve. Embedded in every socket of the
// contract.
type notifier struct {
	sh     *Shard
	wq     *waiter.Queue
	entry  waiter.Entry
	fn     atomic.Pointer[func(Events)]
	task   atomic.Pointer[Task]
	posted atomic.Bool // task is on the shard's list
}

const notifyMask = waiter.ReadableEvents | waiter.WritableEvents | waiter.EventHUp | waiter.EventErr | waiter.EventRdHUp

// init has l, which is n or embeds it, listen to wq.
func (n *notifier) init(sh *Shard, wq *waiter.Queue, l waiter.EventListener) {
	n.sh, n.wq = sh, wq
	n.entry.Init(l, notifyMask)
	wq.EventRegister(&n.entry)
}

// NotifyEvent implements waiter.EventListener. It is called with the endpoint's
// lock held.
func (n *notifier) NotifyEvent(mask waiter.EventMask) {
	if n.task.Load() != nil {
		if !n.posted.Swap(true) {
			n.sh.Post(n)
		}
	} else if f := n.fn.Load(); f != nil {
		n.sh.noteWoken()
		(*f)(eventsOf(mask))
	}
}

// RunOnShard implements Task: it runs the socket's own.
func (n *notifier) RunOnShard() {
	n.posted.Store(false)
	if t := n.task.Load(); t != nil {
		n.sh.ran = *t
		(*t).RunOnShard()
	}
}

// set installs f, and only then asks what is ready already, so that no event
// falls between the two.
func (n *notifier) set(f func(Events), ep tcpip.Endpoint) {
	if f == nil {
		n.fn.Store(nil)
		return
	}
	n.fn.Store(&f)
	if ev := eventsOf(ep.Readiness(notifyMask)); ev != 0 {
		f(ev)
	}
}

// serve installs t and posts it once, for what is ready already.
func (n *notifier) serve(t Task) {
	n.task.Store(&t)
	n.NotifyEvent(0)
}

func (n *notifier) stop() {
	n.wq.EventUnregister(&n.entry)
	n.fn.Store(nil)
}

func eventsOf(m waiter.EventMask) (ev Events) {
	if m&(waiter.ReadableEvents|waiter.EventHUp|waiter.EventErr|waiter.EventRdHUp) != 0 {
		ev |= Readable
	}
	if m&(waiter.WritableEvents|waiter.EventHUp|waiter.EventErr) != 0 {
		ev |= Writable
	}
	if m&waiter.EventHUp != 0 {
		ev |= Closed
	}
	return ev
}

// tcpListener implements Listener on a netstack endpoint.
type tcpListener struct {
	notifier
	ep     tcpip.Endpoint
	addr   netip.AddrPort
	closed atomic.Bool
}

// ListenTCP listens on this shard for connections to local. The zero or an
// unspecified address takes every address of the stack; IPv6's takes IPv4 too
// unless opt.V6Only. Port 0 picks a free one of the shard's ephemeral range.
//
// Connections come in on whichever shard the NIC chooses: listen on all shards,
// as socketapi.Listen does, or those that come in elsewhere are refused.
func (sh *Shard) ListenTCP(local netip.AddrPort, opt SocketOptions) (Listener, error) {
	if opt.Transport.or(sh.st.cfg.Transport) == TransportFast {
		return sh.fast.listen(local, opt)
	}
	wq := new(waiter.Queue)
	ep, err := sh.newEndpoint(tcp.ProtocolNumber, local, opt, wq)
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
	sh.st.steering.listen(protoTCP, bound.Port)
	backlog := opt.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	l := &tcpListener{ep: ep, addr: netip.AddrPortFrom(local.Addr(), bound.Port)}
	l.notifier.init(sh, wq, &l.notifier)
	defer sh.afterCall()
	if terr := ep.Listen(backlog); terr != nil {
		l.Close()
		return nil, goError(terr)
	}
	if !sh.st.register(l) {
		l.Close()
		return nil, net.ErrClosed
	}
	return l, nil
}

// Accept implements Listener.
func (l *tcpListener) Accept() (Flow, error) {
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	defer l.sh.afterCall()
	ep, wq, err := l.ep.Accept(nil)
	if err != nil {
		if l.closed.Load() {
			return nil, net.ErrClosed
		}
		return nil, goError(err)
	}
	return newTCPFlow(l.sh, ep, wq), nil
}

func (l *tcpListener) Notify(f func(Events)) { l.set(f, l.ep) }
func (l *tcpListener) Addr() netip.AddrPort  { return l.addr }
func (l *tcpListener) Shard() int            { return l.sh.index }

func (l *tcpListener) Close() error {
	if l.closed.Swap(true) {
		return net.ErrClosed
	}
	l.sh.st.unregister(l)
	l.sh.st.steering.unlisten(protoTCP, l.addr.Port())
	l.ep.Close()
	l.NotifyEvent(waiter.EventHUp)
	l.stop()
	l.sh.afterCall()
	return nil
}

// tcpFlow implements Flow on a netstack endpoint.
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

func newTCPFlow(sh *Shard, ep tcpip.Endpoint, wq *waiter.Queue) *tcpFlow {
	f := &tcpFlow{ep: ep}
	if a, err := ep.GetLocalAddress(); err == nil {
		f.local = toAddrPort(a)
	}
	if a, err := ep.GetRemoteAddress(); err == nil {
		f.remote = toAddrPort(a)
	}
	f.notifier.init(sh, wq, &f.notifier)
	return f
}

// DialTCP begins to connect to remote and returns at once: the flow becomes
// Writable when the attempt has ended, and ConnectError tells how. The zero
// local address lets the stack choose; a local port of 0 chooses one whose
// answers come back to this shard.
func (sh *Shard) DialTCP(local, remote netip.AddrPort, opt SocketOptions) (Flow, error) {
	done, err := sh.beginDial(remote)
	if err != nil {
		return nil, err
	}
	defer done()
	if opt.Transport.or(sh.st.cfg.Transport) == TransportFast {
		return sh.fast.dial(local, remote, opt)
	}
	defer sh.afterCall()
	wq := new(waiter.Queue)
	ep, pinned, err := sh.dialEndpoint(tcp.ProtocolNumber, local, remote, opt, wq)
	if err != nil {
		return nil, err
	}
	f := &tcpFlow{ep: ep, remote: remote, pinned: pinned}
	f.notifier.init(sh, wq, &f.notifier)
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

// ConnectError implements Flow.
func (f *tcpFlow) ConnectError() error {
	switch f.ep.(*tcp.Endpoint).EndpointState() {
	case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return ErrWouldBlock
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

// Read implements Flow.
func (f *tcpFlow) Read(p []byte) (int, error) {
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	if f.readShut.Load() {
		return 0, io.EOF
	}
	defer f.sh.afterCall()
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

// Quiet implements Flow. A FIN that was received makes the state another one.
func (f *tcpFlow) Quiet() bool {
	return f.ep.(*tcp.Endpoint).EndpointState() == tcp.StateEstablished && !f.closed.Load() && !f.readShut.Load()
}

// Write implements Flow.
func (f *tcpFlow) Write(p []byte) (int, error) {
	if f.closed.Load() {
		return 0, net.ErrClosed
	}
	f.out.Reset(p)
	n, err := f.ep.Write(&f.out, tcpip.WriteOptions{})
	f.out.Reset(nil)
	f.sh.afterCall()
	switch {
	case err != nil:
		if f.closed.Load() {
			return int(n), net.ErrClosed
		}
		return int(n), f.writeError(err)
	case int(n) < len(p):
		return int(n), ErrWouldBlock
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

func (f *tcpFlow) Notify(fn func(Events)) { f.set(fn, f.ep) }

func (f *tcpFlow) CloseRead() error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	err := goError(f.ep.Shutdown(tcpip.ShutdownRead))
	if err == nil {
		f.readShut.Store(true)
		f.NotifyEvent(waiter.ReadableEvents)
	}
	f.sh.afterCall()
	return err
}

func (f *tcpFlow) CloseWrite() error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	err := goError(f.ep.Shutdown(tcpip.ShutdownWrite))
	f.sh.afterCall()
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
		f.sh.st.steering.unpin(protoTCP, f.pinned, f.sh.index)
	}
	f.NotifyEvent(waiter.EventHUp)
	f.stop()
	f.sh.afterCall()
	return nil
}

func (f *tcpFlow) LocalAddr() netip.AddrPort  { return f.local }
func (f *tcpFlow) RemoteAddr() netip.AddrPort { return f.remote }
func (f *tcpFlow) Shard() int                 { return f.sh.index }

func (f *tcpFlow) SetNoDelay(on bool) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	f.ep.SocketOptions().SetDelayOption(!on)
	f.sh.afterCall()
	return nil
}

func (f *tcpFlow) SetKeepAlive(on bool, idle, interval time.Duration, count int) error {
	if f.closed.Load() {
		return net.ErrClosed
	}
	defer f.sh.afterCall()
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
	defer f.sh.afterCall()
	return setReadBuffer(f.ep, n, &f.closed)
}

func (f *tcpFlow) SetWriteBuffer(n int) error {
	defer f.sh.afterCall()
	return setWriteBuffer(f.ep, n, &f.closed)
}

func setReadBuffer(ep tcpip.Endpoint, n int, closed *atomic.Bool) error {
	if closed.Load() {
		return net.ErrClosed
	}
	ep.SocketOptions().SetReceiveBufferSize(int64(n), true)
	return nil
}

func setWriteBuffer(ep tcpip.Endpoint, n int, closed *atomic.Bool) error {
	if closed.Load() {
		return net.ErrClosed
	}
	ep.SocketOptions().SetSendBufferSize(int64(n), true)
	return nil
}

// newEndpoint creates a socket of protocol proto with opt, bound to local.
func (sh *Shard) newEndpoint(proto tcpip.TransportProtocolNumber, local netip.AddrPort, opt SocketOptions, wq *waiter.Queue) (tcpip.Endpoint, error) {
	addr := local.Addr().Unmap()
	if addr.IsValid() && !addr.IsUnspecified() && !sh.st.owns(addr) {
		return nil, syscall.EADDRNOTAVAIL
	}
	ep, err := sh.unboundEndpoint(proto, addr.Is4(), opt, wq)
	if err != nil {
		return nil, err
	}
	full := tcpip.FullAddress{Port: local.Port()}
	if addr.IsValid() && !addr.IsUnspecified() {
		full.Addr = fromNetip(addr)
	}
	if terr := ep.Bind(full); terr != nil {
		ep.Close()
		return nil, goError(terr)
	}
	return ep, nil
}

// unboundEndpoint creates a socket of protocol proto with opt, over IPv4 or IPv6.
func (sh *Shard) unboundEndpoint(proto tcpip.TransportProtocolNumber, v4 bool, opt SocketOptions, wq *waiter.Queue) (tcpip.Endpoint, error) {
	netProto := tcpip.NetworkProtocolNumber(header.IPv6ProtocolNumber)
	if v4 {
		netProto = header.IPv4ProtocolNumber
	}
	ep, terr := sh.ns.NewEndpoint(proto, netProto, wq)
	if terr != nil {
		return nil, goError(terr)
	}
	so := ep.SocketOptions()
	so.SetReusePort(opt.ReusePort)
	if !v4 {
		so.SetV6Only(opt.V6Only)
	}
	if opt.ReadBuffer > 0 {
		so.SetReceiveBufferSize(int64(opt.ReadBuffer), true)
	}
	if opt.WriteBuffer > 0 {
		so.SetSendBufferSize(int64(opt.WriteBuffer), true)
	}
	return ep, nil
}

// owns reports whether addr is the stack's own.
func (st *Stack) owns(addr netip.Addr) bool {
	for i := range st.local {
		if st.local[i].addr == addr {
			return true
		}
	}
	return false
}

// beginDial refuses what netstack would take for something else. done must be
// called when the attempt has begun: until then Stack.Close waits.
func (sh *Shard) beginDial(remote netip.AddrPort) (done func(), err error) {
	if !remote.Addr().IsValid() || remote.Port() == 0 {
		return nil, syscall.EADDRNOTAVAIL
	}
	sh.st.dialing.RLock()
	select {
	case <-sh.st.closing:
		sh.st.dialing.RUnlock()
		return nil, net.ErrClosed
	default:
		return sh.st.dialing.RUnlock, nil
	}
}

// dialEndpoint creates a socket for a connection to remote: bound to local, or to
// a local port whose answers come to this shard, or unbound, for Connect to choose
// from the shard's ports one that is free towards remote. pinned is the port that
// steering was told of, or 0.
func (sh *Shard) dialEndpoint(proto tcpip.TransportProtocolNumber, local, remote netip.AddrPort, opt SocketOptions, wq *waiter.Queue) (ep tcpip.Endpoint, pinned uint16, err error) {
	anyAddr := !local.Addr().IsValid() || local.Addr().IsUnspecified()
	if anyAddr {
		src, err := sh.sourceFor(remote.Addr())
		if err != nil {
			return nil, 0, err
		}
		if local.Port() == 0 && sh.st.home == nil {
			ep, err = sh.unboundEndpoint(proto, src.Is4(), opt, wq)
			return ep, 0, err
		}
		local = netip.AddrPortFrom(src, local.Port())
	}
	if local.Port() != 0 {
		ep, err = sh.newEndpoint(proto, local, opt, wq)
		if err == nil && len(sh.st.shards) > 1 && sh.st.steering.pin(uint8(proto), local.Port(), sh.index) {
			pinned = local.Port()
		}
		return ep, pinned, err
	}
	if sh.st.home == nil {
		ep, err = sh.newEndpoint(proto, local, opt, wq)
		return ep, 0, err
	}
	for port := range sh.homePorts(local.Addr(), remote) {
		ep, err = sh.newEndpoint(proto, netip.AddrPortFrom(local.Addr(), port), opt, wq)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return ep, 0, err
		}
	}
	return nil, 0, syscall.EADDRNOTAVAIL
}

// sourceFor is the stack's address from which packets to remote leave.
func (sh *Shard) sourceFor(remote netip.Addr) (netip.Addr, error) {
	r, terr := sh.ns.FindRoute(nicID, tcpip.Address{}, fromNetip(remote.Unmap()), protocolOf(remote.Unmap()), false)
	if terr != nil {
		return netip.Addr{}, goError(terr)
	}
	defer r.Release()
	return toNetip(r.LocalAddress()), nil
}
