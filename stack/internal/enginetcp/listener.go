package enginetcp

import (
	"net"
	"net/netip"
	"syscall"

	"shardnet/driver/wire"
	"shardnet/stack/flow"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/tcp"
)

// listener implements flow.Listener on a listener of the shard's own TCP.
type listener struct {
	f     *TCP
	l     *tcp.Listener
	ready readiness
	addr  netip.AddrPort
	port  *netstack.Port
	opt   flow.SocketOptions
	over  bool
}

var (
	_ flow.Listener = (*listener)(nil)
	_ flow.Task     = (*listener)(nil)
)

// Listen opens a listener: see stack.Shard.ListenTCP. Netstack gives the ports, so that its
// sockets and the engine's don't take each other's.
func (f *TCP) Listen(local netip.AddrPort, opt flow.SocketOptions) (flow.Listener, error) {
	addr := local.Addr().Unmap()
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
	}
	if !addr.IsUnspecified() && !f.cfg.Own.Own(addr) {
		return nil, syscall.EADDRNOTAVAIL
	}
	port, err := f.ns.ReserveListener(netip.AddrPortFrom(addr, local.Port()), opt)
	if err != nil {
		return nil, err
	}
	// The port is steered here before it listens, so that no SYN is refused for being some
	// other shard's.
	f.cfg.Steering.Listen(wire.ProtoTCP, port.Number())
	l := &listener{f: f, addr: netip.AddrPortFrom(local.Addr(), port.Number()), port: port, opt: opt}
	l.ready.self = l
	backlog := opt.Backlog
	if backlog <= 0 {
		backlog = flow.DefaultBacklog
	}
	open := f.engine.Listen
	if opt.ReusePort {
		open = f.engine.ListenShared
	}
	f.mu.Lock()
	inner, err := open(netip.AddrPortFrom(addr, port.Number()), opt.V6Only, backlog)
	if err == nil {
		inner.User = l
		l.l = inner
		f.active.Store(true)
	}
	f.mu.Unlock()
	if err != nil {
		l.releasePort()
		return nil, err
	}
	if !f.cfg.Shard.Register(l) {
		l.Close()
		return nil, net.ErrClosed
	}
	f.wake()
	return l, nil
}

// RunOnShard implements flow.Task: it runs the listener's own.
func (l *listener) RunOnShard() { l.ready.run(l.f) }

// Accept implements flow.Listener.
func (l *listener) Accept() (flow.Flow, error) {
	f := l.f
	f.mu.Lock()
	if l.over {
		f.mu.Unlock()
		return nil, net.ErrClosed
	}
	c, err := l.l.Accept()
	if err != nil {
		f.mu.Unlock()
		return nil, err
	}
	f.accepted++
	fl := f.newFlow(c)
	if l.opt.ReadBuffer > 0 {
		c.SetReadBuffer(l.opt.ReadBuffer)
	}
	if l.opt.WriteBuffer > 0 {
		c.SetWriteBuffer(l.opt.WriteBuffer)
	}
	f.unlockAndKick()
	return fl, nil
}

// Notify implements flow.Listener.
func (l *listener) Notify(fn func(flow.Events)) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.ready.fn = fn
	if fn != nil && (l.over || l.l.Waiting() > 0) {
		fn(flow.Readable)
	}
}

// Serve implements flow.Listener.
func (l *listener) Serve(t flow.Task) {
	l.f.mu.Lock()
	l.ready.task = t
	l.ready.event(l.f, 0)
	l.f.mu.Unlock()
}

// Addr implements flow.Listener.
func (l *listener) Addr() netip.AddrPort { return l.addr }

// Shard implements flow.Listener.
func (l *listener) Shard() int { return l.f.cfg.Shard.Index() }

// Close implements flow.Listener.
func (l *listener) Close() error {
	f := l.f
	f.mu.Lock()
	if l.over {
		f.mu.Unlock()
		return net.ErrClosed
	}
	l.over = true
	l.l.Close()
	l.ready.event(f, flow.Readable|flow.Writable|flow.Closed)
	l.ready.fn = nil
	f.unlockAndKickAlways()
	f.cfg.Shard.Unregister(l)
	l.releasePort()
	return nil
}

// releasePort gives the port back.
func (l *listener) releasePort() {
	l.f.cfg.Steering.Unlisten(wire.ProtoTCP, l.addr.Port())
	l.f.ns.ReleasePort(l.port)
}
