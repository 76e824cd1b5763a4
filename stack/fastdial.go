package stack

import (
	"errors"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/ports"

	"shardnet/stack/tcp"
)

// dial begins a connection: see Shard.DialTCP, which has checked remote and keeps
// the stack from closing meanwhile.
func (f *fastTCP) dial(local, remote netip.AddrPort, opt SocketOptions) (Flow, error) {
	sh := f.sh
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	src := local.Addr().Unmap()
	if !src.IsValid() || src.IsUnspecified() {
		var err error
		if src, err = sh.sourceFor(remote.Addr()); err != nil {
			return nil, err
		}
	} else if !sh.st.owns(src) {
		return nil, syscall.EADDRNOTAVAIL
	}
	if src.Is4() != remote.Addr().Is4() {
		return nil, syscall.EADDRNOTAVAIL
	}
	if local.Port() != 0 {
		// A port that was asked for is this connection's alone, as netstack's are.
		return f.dialFrom(netip.AddrPortFrom(src, local.Port()), remote, opt, false)
	}
	if sh.st.home == nil {
		return f.dialFrom(netip.AddrPortFrom(src, 0), remote, opt, true)
	}
	for port := range sh.homePorts(src, remote) {
		fl, err := f.dialFrom(netip.AddrPortFrom(src, port), remote, opt, true)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fl, err
		}
	}
	return nil, syscall.EADDRNOTAVAIL
}

// dialFrom begins a connection from local, or from a port chosen for port 0. A port
// that is shared may be that of other connections, to other peers.
func (f *fastTCP) dialFrom(local, remote netip.AddrPort, opt SocketOptions, shared bool) (Flow, error) {
	sh := f.sh
	d := &fastDial{ports: ports.Reservation{
		Networks:  []tcpip.NetworkProtocolNumber{protocolOf(local.Addr())},
		Transport: header.TCPProtocolNumber,
		Addr:      fromNetip(local.Addr()),
		Port:      local.Port(),
	}}
	if shared {
		d.ports.Dest = tcpip.FullAddress{Addr: fromNetip(remote.Addr()), Port: remote.Port()}
	}
	var c *tcp.Conn
	var failed error
	port, terr := sh.ns.ReservePort(sh.ns.SecureRNG(), d.ports, func(port uint16) (bool, tcpip.Error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		c, failed = f.engine.Dial(sh.clock.nanos(), tcp.MakeTuple(netip.AddrPortFrom(local.Addr(), port), remote))
		switch {
		case failed == syscall.EADDRINUSE: // one that has not quite ended
			return false, nil
		case failed != nil:
			return false, &tcpip.ErrNoBufferSpace{}
		}
		return true, nil
	})
	if terr != nil {
		if failed != nil && failed != syscall.EADDRINUSE {
			return nil, failed
		}
		return nil, goError(terr)
	}
	d.ports.Port = port
	// The SYN leaves with the loop's next flush: the answer can't come before the
	// port is known to be this shard's.
	if local.Port() != 0 && len(sh.st.shards) > 1 && sh.st.steering.pin(protoTCP, port, sh.index) {
		d.pinned = port
	}
	f.mu.Lock()
	f.opened.dialed++
	fl := f.newFlow(c)
	fl.dialed = d
	if opt.ReadBuffer > 0 {
		c.SetReadBuffer(opt.ReadBuffer)
	}
	if opt.WriteBuffer > 0 {
		c.SetWriteBuffer(opt.WriteBuffer)
	}
	f.active.Store(true)
	f.leave()
	return fl, nil
}

// releasePorts gives back what a connection has had, unless it has had nothing. The
// engine keeps the name of one that has not quite ended from being used again.
func (f *fastTCP) releasePorts(d *fastDial) {
	if d == nil {
		return
	}
	if d.pinned != 0 {
		f.sh.st.steering.unpin(protoTCP, d.pinned, f.sh.index)
	}
	f.sh.ns.ReleasePort(d.ports)
}
