package stack

import (
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"

	"shardnet/stack/tcp"
)

// fastListener implements Listener on a listener of the shard's own TCP.
type fastListener struct {
	f     *fastTCP
	l     *tcp.Listener
	ready readiness
	addr  netip.AddrPort
	ports ports.Reservation
	opt   SocketOptions
	over  bool
}

var (
	_ Listener = (*fastListener)(nil)
	_ Task     = (*fastListener)(nil)
)

// listen opens a listener: see Shard.ListenTCP. Ports are netstack's to give, so
// that its sockets and the engine's don't take each other's.
func (f *fastTCP) listen(local netip.AddrPort, opt SocketOptions) (Listener, error) {
	addr := local.Addr().Unmap()
	if !addr.IsValid() {
		addr = netip.IPv6Unspecified()
	}
	if !addr.IsUnspecified() && !f.sh.st.owns(addr) {
		return nil, syscall.EADDRNOTAVAIL
	}
	res := ports.Reservation{
		Networks:  []tcpip.NetworkProtocolNumber{protocolOf(addr)},
		Transport: header.TCPProtocolNumber,
		Port:      local.Port(),
		// Not LoadBalanced, which netstack's listeners have: the two don't share a group.
		Flags: ports.Flags{MostRecent: opt.ReusePort},
	}
	if !addr.IsUnspecified() {
		res.Addr = fromNetip(addr)
	} else if addr.Is6() && !opt.V6Only {
		res.Networks = append(res.Networks, header.IPv4ProtocolNumber)
	}
	port, terr := f.sh.ns.ReservePort(f.sh.ns.SecureRNG(), res, nil)
	if terr != nil {
		return nil, goError(terr)
	}
	res.Port = port
	// The port is steered here before it listens, so that no SYN is refused for
	// being some other shard's.
	f.sh.st.steering.listen(protoTCP, port)
	l := &fastListener{f: f, addr: netip.AddrPortFrom(local.Addr(), port), ports: res, opt: opt}
	l.ready.self = l
	backlog := opt.Backlog
	if backlog <= 0 {
		backlog = defaultBacklog
	}
	open := f.engine.Listen
	if opt.ReusePort {
		open = f.engine.ListenShared
	}
	f.mu.Lock()
	inner, err := open(netip.AddrPortFrom(addr, port), opt.V6Only, backlog)
	if err == nil {
		inner.User = l
		l.l = inner
		f.active.Store(true)
	}
	f.mu.Unlock()
	if err != nil {
		l.giveBack()
		return nil, err
	}
	if !f.sh.st.register(l) {
		l.Close()
		return nil, net.ErrClosed
	}
	f.wake()
	return l, nil
}

// RunOnShard implements Task: it runs the listener's own.
func (l *fastListener) RunOnShard() { l.ready.run(l.f) }

// Accept implements Listener.
func (l *fastListener) Accept() (Flow, error) {
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
	f.opened.accepted++
	fl := f.newFlow(c)
	if l.opt.ReadBuffer > 0 {
		c.SetReadBuffer(l.opt.ReadBuffer)
	}
	if l.opt.WriteBuffer > 0 {
		c.SetWriteBuffer(l.opt.WriteBuffer)
	}
	f.leave()
	return fl, nil
}

// Notify implements Listener.
func (l *fastListener) Notify(fn func(Events)) {
	l.f.mu.Lock()
	defer l.f.mu.Unlock()
	l.ready.fn = fn
	if fn != nil && (l.over || l.l.Waiting() > 0) {
		fn(Readable)
	}
}

func (l *fastListener) serve(t Task) {
	l.f.mu.Lock()
	l.ready.task = t
	l.ready.event(l.f.sh, 0)
	l.f.mu.Unlock()
}

// Addr implements Listener.
func (l *fastListener) Addr() netip.AddrPort { return l.addr }

// Shard implements Listener.
func (l *fastListener) Shard() int { return l.f.sh.index }

// Close implements Listener.
func (l *fastListener) Close() error {
	f := l.f
	f.mu.Lock()
	if l.over {
		f.mu.Unlock()
		return net.ErrClosed
	}
	l.over = true
	l.l.Close()
	l.ready.event(f.sh, Readable|Writable|Closed)
	l.ready.fn = nil
	f.leaveTimed()
	f.sh.st.unregister(l)
	l.giveBack()
	return nil
}

// giveBack gives the port back.
func (l *fastListener) giveBack() {
	l.f.sh.st.steering.unlisten(protoTCP, l.addr.Port())
	l.f.sh.ns.ReleasePort(l.ports)
}
