package socketapi

import (
	"io"
	"net"
	"net/netip"
	"shardnet/stack/flow"
	"slices"
	"sync"
	"syscall"
	"time"
)

// fakeNet joins fake hosts: stacks without packets, behind the same contract. It
// is the strictest reading of that contract a test can have. Notices are given
// once after each ErrWouldBlock and not again, and with the one lock of all held,
// so that a notice that calls back deadlocks at once.
type fakeNet struct {
	mu    sync.Mutex
	hosts []*fakeHost
	flows int // spreads connections over the target's shards
	hold  bool
	held  []func() // connection attempts under way, with hold
}

type fakeHost struct {
	net    *fakeNet
	addrs  []netip.Addr
	shards []*fakeShard
	done   chan struct{}
	over   bool
	flows  map[*fakeFlow]struct{}
}

type fakeShard struct {
	host  *fakeHost
	index int
	tcp   []*fakeListener
	udp   []*fakePacketFlow
	used  map[uint16]bool // local ports of outgoing connections
	next  uint16

	noPorts bool // DialTCP finds no free port

	loop fakeLoop
}

func (n *fakeNet) newHost(shards int, addrs ...netip.Addr) *fakeHost {
	h := &fakeHost{net: n, addrs: addrs, done: make(chan struct{}), flows: make(map[*fakeFlow]struct{})}
	for i := range shards {
		h.shards = append(h.shards, &fakeShard{host: h, index: i, used: make(map[uint16]bool), next: uint16(40000 + 1000*i)})
	}
	n.hosts = append(n.hosts, h)
	return h
}

func (h *fakeHost) Shards() int           { return len(h.shards) }
func (h *fakeHost) Done() <-chan struct{} { return h.done }
func (h *fakeHost) shard(i int) shard     { return h.shards[i] }

// Close ends the host as a stack does: sockets are closed, connections are shut
// without their owners.
func (h *fakeHost) Close() error {
	h.shut()
	for _, sh := range h.shards {
		sh.loop.stop()
	}
	return nil
}

func (h *fakeHost) shut() {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.over {
		return
	}
	h.over = true
	close(h.done)
	for _, sh := range h.shards {
		for _, l := range slices.Clone(sh.tcp) {
			l.close()
		}
		for _, p := range slices.Clone(sh.udp) {
			p.close()
		}
	}
	for f := range h.flows {
		f.in.fin, f.out.fin = true, true
		f.notifyAll()
		if f.peer != nil {
			f.peer.readable()
		}
	}
}

// covers reports whether a socket bound to local takes what is sent to a.
func covers(local netip.AddrPort, v6only bool, a netip.AddrPort) bool {
	switch ip := local.Addr(); {
	case local.Port() != a.Port():
		return false
	case !ip.IsUnspecified():
		return ip == a.Addr()
	case ip.Is4():
		return a.Addr().Is4()
	default:
		return !v6only || !a.Addr().Is4()
	}
}

func (n *fakeNet) owner(a netip.Addr) *fakeHost {
	for _, h := range n.hosts {
		if slices.Contains(h.addrs, a) && !h.over {
			return h
		}
	}
	return nil
}

// source is the host's address of a's family.
func (h *fakeHost) source(a netip.Addr) netip.Addr {
	for _, own := range h.addrs {
		if own.Is4() == a.Is4() {
			return own
		}
	}
	return netip.Addr{}
}

func (h *fakeHost) mayBind(a netip.Addr) error {
	if h.over {
		return net.ErrClosed
	}
	if a.IsUnspecified() || slices.Contains(h.addrs, a) {
		return nil
	}
	return syscall.EADDRNOTAVAIL
}

// half is one direction of a connection.
type half struct {
	buf []byte
	cap int
	fin bool
}

type fakeFlow struct {
	net           *fakeNet
	sh            *fakeShard
	peer          *fakeFlow
	in, out       *half
	local, remote netip.AddrPort
	fn            func(flow.Events)
	rArmed        bool
	wArmed        bool
	connErr       error // ErrWouldBlock while connecting
	reset         error
	closed        bool
	readShut      bool
	linger        int
	set           []string // options that were set
	keepAlive     net.KeepAliveConfig
}

const fakeBuffer = 64 << 10

func (sh *fakeShard) newFlow(local, remote netip.AddrPort) *fakeFlow {
	f := &fakeFlow{net: sh.host.net, sh: sh, local: local, remote: remote, linger: -1,
		in: &half{cap: fakeBuffer}, out: &half{cap: fakeBuffer}}
	sh.host.flows[f] = struct{}{}
	return f
}

func (sh *fakeShard) DialTCP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.Flow, error) {
	n := sh.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if sh.host.over {
		return nil, net.ErrClosed
	}
	if sh.noPorts {
		return nil, syscall.EADDRNOTAVAIL
	}
	if !local.Addr().IsValid() {
		local = netip.AddrPortFrom(sh.host.source(remote.Addr()), local.Port())
	}
	if err := sh.host.mayBind(local.Addr()); err != nil {
		return nil, err
	}
	if local.Port() == 0 {
		local = netip.AddrPortFrom(local.Addr(), sh.freePort())
	} else if sh.used[local.Port()] {
		return nil, syscall.EADDRINUSE
	}
	sh.used[local.Port()] = true
	f := sh.newFlow(local, remote)
	f.connErr = flow.ErrWouldBlock
	connect := func() {
		f.connErr = n.deliver(f)
		f.writable()
	}
	switch {
	case n.owner(remote.Addr()) == nil: // nobody there: the attempt hangs
	case n.hold:
		n.held = append(n.held, connect)
	default:
		connect()
	}
	return f, nil
}

// deliver finds f's listener and gives it the other end.
func (n *fakeNet) deliver(f *fakeFlow) error {
	h := n.owner(f.remote.Addr())
	if h == nil {
		return syscall.ETIMEDOUT
	}
	n.flows++
	sh := h.shards[n.flows%len(h.shards)]
	var ls []*fakeListener
	for _, l := range sh.tcp {
		if covers(l.local, l.opt.V6Only, f.remote) {
			ls = append(ls, l)
		}
	}
	if len(ls) == 0 {
		return syscall.ECONNREFUSED
	}
	l := ls[n.flows/len(h.shards)%len(ls)]
	p := sh.newFlow(f.remote, f.local)
	p.peer, f.peer = f, p
	p.in, p.out = f.out, f.in
	l.queue = append(l.queue, p)
	l.readable()
	return nil
}

func (n *fakeNet) release() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, f := range n.held {
		f()
	}
	n.held = nil
}

func (sh *fakeShard) freePort() uint16 {
	for {
		sh.next++
		if !sh.used[sh.next] {
			return sh.next
		}
	}
}

func (f *fakeFlow) readable() {
	if f.rArmed && f.fn != nil {
		f.rArmed = false
		f.fn(flow.Readable)
	}
}

func (f *fakeFlow) writable() {
	if f.wArmed && f.fn != nil {
		f.wArmed = false
		f.fn(flow.Writable)
	}
}

func (f *fakeFlow) notifyAll() {
	if f.fn != nil {
		f.fn(flow.Readable | flow.Writable | flow.Closed)
	}
}

func (f *fakeFlow) Notify(fn func(flow.Events)) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.fn = fn
	f.rArmed, f.wArmed = true, true
	if len(f.in.buf) > 0 || f.in.fin || f.reset != nil {
		f.readable()
	}
	if f.connErr != flow.ErrWouldBlock && len(f.out.buf) < f.out.cap {
		f.writable()
	}
}

func (f *fakeFlow) ConnectError() error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	if f.connErr == flow.ErrWouldBlock {
		f.wArmed = true
	}
	return f.connErr
}

func (f *fakeFlow) Read(p []byte) (int, error) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	switch {
	case f.closed:
		return 0, net.ErrClosed
	case f.readShut:
		return 0, io.EOF
	case len(f.in.buf) > 0:
		n := copy(p, f.in.buf)
		f.in.buf = f.in.buf[:copy(f.in.buf, f.in.buf[n:])]
		if f.peer != nil {
			f.peer.writable()
		}
		return n, nil
	case f.reset != nil:
		return 0, f.reset
	case f.in.fin:
		return 0, io.EOF
	}
	f.rArmed = true
	return 0, flow.ErrWouldBlock
}

func (f *fakeFlow) Established() bool {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	if f.closed || f.readShut || f.reset != nil || f.in.fin {
		return false
	}
	f.rArmed = true
	if len(f.in.buf) > 0 {
		f.readable()
	}
	return true
}

func (f *fakeFlow) Write(p []byte) (int, error) {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	switch {
	case f.closed:
		return 0, net.ErrClosed
	case f.reset != nil:
		return 0, f.reset
	case f.out.fin, f.peer == nil || f.peer.closed:
		return 0, syscall.EPIPE
	}
	n := min(len(p), f.out.cap-len(f.out.buf))
	f.out.buf = append(f.out.buf, p[:n]...)
	if n > 0 {
		f.peer.readable()
	}
	if n < len(p) {
		f.wArmed = true
		return n, flow.ErrWouldBlock
	}
	return n, nil
}

func (f *fakeFlow) CloseRead() error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.readShut = true
	return nil
}

func (f *fakeFlow) CloseWrite() error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	f.out.fin = true
	if f.peer != nil {
		f.peer.readable()
	}
	return nil
}

func (f *fakeFlow) Close() error { return f.end(false) }
func (f *fakeFlow) Abort()       { _ = f.end(true) }

func (f *fakeFlow) end(reset bool) error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	if f.closed {
		return net.ErrClosed
	}
	reset = reset || f.linger == 0 || len(f.in.buf) > 0 // as the kernel: a peer is told that its data was lost
	f.closed, f.out.fin = true, true
	delete(f.sh.host.flows, f)
	delete(f.sh.used, f.local.Port())
	if f.peer != nil {
		if reset {
			f.peer.reset = syscall.ECONNRESET
		}
		f.peer.readable()
		f.peer.writable()
	}
	return nil
}

func (f *fakeFlow) LocalAddr() netip.AddrPort  { return f.local }
func (f *fakeFlow) RemoteAddr() netip.AddrPort { return f.remote }
func (f *fakeFlow) Shard() int                 { return f.sh.index }

func (f *fakeFlow) note(option string) error {
	f.net.mu.Lock()
	defer f.net.mu.Unlock()
	if f.closed {
		return net.ErrClosed
	}
	f.set = append(f.set, option)
	return nil
}

func (f *fakeFlow) SetNoDelay(bool) error { return f.note("nodelay") }
func (f *fakeFlow) SetKeepAlive(on bool, idle, interval time.Duration, count int) error {
	f.net.mu.Lock()
	f.keepAlive = net.KeepAliveConfig{Enable: on, Idle: idle, Interval: interval, Count: count}
	f.net.mu.Unlock()
	return f.note("keepalive")
}

func (f *fakeFlow) SetLinger(sec int) error {
	f.net.mu.Lock()
	f.linger = sec
	f.net.mu.Unlock()
	return f.note("linger")
}

func (f *fakeFlow) SetReadBuffer(int) error  { return f.note("readbuffer") }
func (f *fakeFlow) SetWriteBuffer(int) error { return f.note("writebuffer") }
