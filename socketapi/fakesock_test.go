package socketapi

import (
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"slices"
	"syscall"
)

// The listening and packet sockets of fakeNet.

type fakeListener struct {
	sh     *fakeShard
	local  netip.AddrPort
	opt    flow.SocketOptions
	queue  []*fakeFlow
	fn     func(flow.Events)
	armed  bool
	closed bool
	err    error // what Accept fails with
}

func (sh *fakeShard) ListenTCP(local netip.AddrPort, opt flow.SocketOptions) (flow.Listener, error) {
	n := sh.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := sh.host.mayBind(local.Addr()); err != nil {
		return nil, err
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), sh.freePort())
	}
	for _, l := range sh.tcp {
		if l.local.Port() == local.Port() && !(l.opt.ReusePort && opt.ReusePort) {
			return nil, syscall.EADDRINUSE
		}
	}
	l := &fakeListener{sh: sh, local: local, opt: opt}
	sh.tcp = append(sh.tcp, l)
	return l, nil
}

func (l *fakeListener) readable() {
	if l.armed && l.fn != nil {
		l.armed = false
		l.fn(flow.Readable)
	}
}

func (l *fakeListener) Accept() (flow.Flow, error) {
	l.sh.host.net.mu.Lock()
	defer l.sh.host.net.mu.Unlock()
	switch {
	case l.closed:
		return nil, net.ErrClosed
	case l.err != nil:
		err := l.err
		l.err = nil
		return nil, err
	case len(l.queue) > 0:
		f := l.queue[0]
		l.queue = l.queue[1:]
		return f, nil
	}
	l.armed = true
	return nil, flow.ErrWouldBlock
}

func (l *fakeListener) Notify(fn func(flow.Events)) {
	l.sh.host.net.mu.Lock()
	defer l.sh.host.net.mu.Unlock()
	l.fn, l.armed = fn, true
	if len(l.queue) > 0 {
		l.readable()
	}
}

func (l *fakeListener) Addr() netip.AddrPort { return l.local }
func (l *fakeListener) Shard() int           { return l.sh.index }

func (l *fakeListener) Close() error {
	l.sh.host.net.mu.Lock()
	defer l.sh.host.net.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.close()
	return nil
}

func (l *fakeListener) close() {
	l.closed = true
	l.sh.tcp = slices.DeleteFunc(l.sh.tcp, func(o *fakeListener) bool { return o == l })
	for _, f := range l.queue {
		delete(l.sh.host.flows, f)
		f.peer.reset = syscall.ECONNRESET
		f.peer.readable()
	}
	if l.fn != nil {
		l.fn(flow.Closed)
	}
}

type datagram struct {
	data []byte
	from netip.AddrPort
}

type fakePacketFlow struct {
	sh     *fakeShard
	local  netip.AddrPort
	remote netip.AddrPort
	opt    flow.SocketOptions
	queue  []datagram
	err    error // the ICMP error to be returned once
	full   bool  // no room to send
	sent   int
	fn     func(flow.Events)
	rArmed bool
	wArmed bool
	closed bool
}

const fakeQueue = 64 // datagrams

func (sh *fakeShard) ListenUDP(local netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error) {
	return sh.bindUDP(local, netip.AddrPort{}, opt)
}

func (sh *fakeShard) DialUDP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error) {
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(sh.host.source(remote.Addr()), local.Port())
	}
	return sh.bindUDP(local, remote, opt)
}

func (sh *fakeShard) bindUDP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error) {
	n := sh.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := sh.host.mayBind(local.Addr()); err != nil {
		return nil, err
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), sh.freePort())
	}
	for _, p := range sh.udp {
		if p.local.Port() == local.Port() && !(p.opt.ReusePort && opt.ReusePort) {
			return nil, syscall.EADDRINUSE
		}
	}
	p := &fakePacketFlow{sh: sh, local: local, remote: remote, opt: opt}
	sh.udp = append(sh.udp, p)
	return p, nil
}

// find returns the socket at a: on the shard a connected one lives on, otherwise
// on the one the source's port falls on.
func (h *fakeHost) find(a, from netip.AddrPort) *fakePacketFlow {
	for k := range h.shards {
		sh := h.shards[(int(from.Port())+k)%len(h.shards)]
		for _, p := range sh.udp {
			if covers(p.local, p.opt.V6Only, a) && (!p.remote.IsValid() || p.remote == from) {
				return p
			}
		}
	}
	return nil
}

func (p *fakePacketFlow) ReadFrom(b []byte) (int, netip.AddrPort, error) {
	p.sh.host.net.mu.Lock()
	defer p.sh.host.net.mu.Unlock()
	switch {
	case p.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	case p.err != nil:
		err := p.err
		p.err = nil
		return 0, netip.AddrPort{}, err
	case len(p.queue) > 0:
		d := p.queue[0]
		p.queue = p.queue[1:]
		// As a dual-stack socket of netstack or the kernel gives it.
		if p.local.Addr().Is6() && d.from.Addr().Is4() {
			d.from = netip.AddrPortFrom(netip.AddrFrom16(d.from.Addr().As16()), d.from.Port())
		}
		return copy(b, d.data), d.from, nil
	}
	p.rArmed = true
	return 0, netip.AddrPort{}, flow.ErrWouldBlock
}

func (p *fakePacketFlow) WriteTo(b []byte, to netip.AddrPort) (int, error) {
	p.sh.host.net.mu.Lock()
	defer p.sh.host.net.mu.Unlock()
	switch {
	case p.closed:
		return 0, net.ErrClosed
	case p.full:
		p.wArmed = true
		return 0, flow.ErrWouldBlock
	case len(b) > 65507:
		return 0, syscall.EMSGSIZE
	}
	if p.remote.IsValid() {
		to = p.remote
	}
	from := p.local
	if from.Addr().IsUnspecified() {
		from = netip.AddrPortFrom(p.sh.host.source(to.Addr()), from.Port())
	}
	p.sent++
	h := p.sh.host.net.owner(to.Addr())
	if h == nil {
		return len(b), nil
	}
	q := h.find(to, from)
	switch {
	case q == nil:
		if p.remote.IsValid() {
			p.err = syscall.ECONNREFUSED
			p.readable()
		}
	case len(q.queue) < fakeQueue:
		q.queue = append(q.queue, datagram{slices.Clone(b), from})
		q.readable()
	}
	return len(b), nil
}

func (p *fakePacketFlow) readable() {
	if p.rArmed && p.fn != nil {
		p.rArmed = false
		p.fn(flow.Readable)
	}
}

// setFull takes the room to send away, or gives it back.
func (p *fakePacketFlow) setFull(full bool) {
	p.sh.host.net.mu.Lock()
	defer p.sh.host.net.mu.Unlock()
	p.full = full
	if !full && p.wArmed && p.fn != nil {
		p.wArmed = false
		p.fn(flow.Writable)
	}
}

func (p *fakePacketFlow) Notify(fn func(flow.Events)) {
	p.sh.host.net.mu.Lock()
	defer p.sh.host.net.mu.Unlock()
	p.fn, p.rArmed, p.wArmed = fn, true, true
	if len(p.queue) > 0 || p.err != nil {
		p.readable()
	}
}

func (p *fakePacketFlow) Close() error {
	p.sh.host.net.mu.Lock()
	defer p.sh.host.net.mu.Unlock()
	if p.closed {
		return net.ErrClosed
	}
	p.close()
	return nil
}

func (p *fakePacketFlow) close() {
	p.closed = true
	p.sh.udp = slices.DeleteFunc(p.sh.udp, func(o *fakePacketFlow) bool { return o == p })
	if p.fn != nil {
		p.fn(flow.Closed)
	}
}

func (p *fakePacketFlow) LocalAddr() netip.AddrPort  { return p.local }
func (p *fakePacketFlow) RemoteAddr() netip.AddrPort { return p.remote }
func (p *fakePacketFlow) Shard() int                 { return p.sh.index }
func (p *fakePacketFlow) SetReadBuffer(int) error    { return nil }
func (p *fakePacketFlow) SetWriteBuffer(int) error   { return nil }
