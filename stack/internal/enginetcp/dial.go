package enginetcp

import (
	"errors"
	"net/netip"
	"syscall"

	"shardnet/driver/wire"
	"shardnet/stack/flow"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/tcp"
)

// dialed is what a connection has that was opened from here.
type dialed struct {
	port   *netstack.Port
	pinned uint16 // local port given to this shard by steering, or 0
}

// Dial begins a connection: see stack.Shard.DialTCP, which has checked remote and keeps
// the stack from closing meanwhile.
func (f *TCP) Dial(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.Flow, error) {
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	src := local.Addr().Unmap()
	if !src.IsValid() || src.IsUnspecified() {
		var err error
		if src, err = f.ns.SourceFor(remote.Addr()); err != nil {
			return nil, err
		}
	} else if !f.cfg.Own.Own(src) {
		return nil, syscall.EADDRNOTAVAIL
	}
	if src.Is4() != remote.Addr().Is4() {
		return nil, syscall.EADDRNOTAVAIL
	}
	if local.Port() != 0 {
		// A port that was asked for is this connection's alone, as netstack's are.
		return f.dialFrom(netip.AddrPortFrom(src, local.Port()), remote, opt, false)
	}
	if !f.cfg.Steering.KnowsRSS() {
		return f.dialFrom(netip.AddrPortFrom(src, 0), remote, opt, true)
	}
	for port := range f.cfg.Steering.PortsForQueue(f.cfg.Shard.Index(), src, remote) {
		fl, err := f.dialFrom(netip.AddrPortFrom(src, port), remote, opt, true)
		if !errors.Is(err, syscall.EADDRINUSE) {
			return fl, err
		}
	}
	return nil, syscall.EADDRNOTAVAIL
}

// dialFrom begins a connection from local, or from a port chosen for port 0. A port
// that is shared may be that of other connections, to other peers.
func (f *TCP) dialFrom(local, remote netip.AddrPort, opt flow.SocketOptions, shared bool) (flow.Flow, error) {
	// The port is pinned before the SYN can leave: then the reply finds this shard.
	d := &dialed{}
	if local.Port() != 0 && f.cfg.Steering.Shards() > 1 && f.cfg.Steering.Pin(wire.ProtoTCP, local.Port(), f.cfg.Shard.Index()) {
		d.pinned = local.Port()
	}
	var c *tcp.Conn
	var err error
	d.port, err = f.ns.ReserveDial(local, remote, shared, func(port uint16) (err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		c, err = f.engine.Dial(f.cfg.Clock.Nanos(), tcp.MakeTuple(netip.AddrPortFrom(local.Addr(), port), remote))
		return err
	})
	if err != nil {
		f.unpin(d)
		return nil, err
	}
	f.mu.Lock()
	f.dialed++
	fl := f.newFlow(c)
	fl.dialed = d
	if opt.ReadBuffer > 0 {
		c.SetReadBuffer(opt.ReadBuffer)
	}
	if opt.WriteBuffer > 0 {
		c.SetWriteBuffer(opt.WriteBuffer)
	}
	f.active.Store(true)
	f.unlockAndKick()
	return fl, nil
}

// releasePorts gives back what a connection has had, unless it has had nothing. The
// engine keeps the name of one that has not quite ended from being used again.
func (f *TCP) releasePorts(d *dialed) {
	if d == nil {
		return
	}
	f.unpin(d)
	f.ns.ReleasePort(d.port)
}

// unpin undoes dialFrom's Pin, if there was one.
func (f *TCP) unpin(d *dialed) {
	if d.pinned != 0 {
		f.cfg.Steering.Unpin(wire.ProtoTCP, d.pinned, f.cfg.Shard.Index())
	}
}
