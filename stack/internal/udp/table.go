package udp

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"shardnet/driver/wire"
)

// table finds the socket of a received datagram without netstack. Every UDP
// socket of the shard is in it, and in netstack's demultiplexer as well: that one
// has the last word on whatever does not bypass it.
//
// The loop reads it for each datagram, without a lock. Sockets come and go under
// mu and replace the list of their port.
type table struct {
	mu    sync.Mutex
	pages [256]atomic.Pointer[tablePage] // by the port's high byte
}

type tablePage [256]atomic.Pointer[portSockets]

// portSockets is the sockets of one port. It is never changed.
type portSockets []*Socket

// add enters f, whose binding is final.
func (t *table) add(f *Socket) {
	t.change(f.local.Port(), func(socks portSockets) portSockets { return append(slices.Clone(socks), f) })
}

// remove takes f out. The loop may be at work with it still.
func (t *table) remove(f *Socket) {
	t.change(f.local.Port(), func(socks portSockets) portSockets {
		return slices.DeleteFunc(slices.Clone(socks), func(o *Socket) bool { return o == f })
	})
}

func (t *table) change(port uint16, f func(portSockets) portSockets) {
	t.mu.Lock()
	defer t.mu.Unlock()
	page := t.pages[port>>8].Load()
	if page == nil {
		page = new(tablePage)
		t.pages[port>>8].Store(page)
	}
	var socks portSockets
	if old := page[port&255].Load(); old != nil {
		socks = *old
	}
	if socks = f(socks); len(socks) == 0 {
		page[port&255].Store(nil)
		return
	}
	page[port&255].Store(&socks)
}

// find returns the socket that datagram p is for, as netstack's demultiplexer
// would choose: a connected one before one for all peers, then one for the
// address before one for all addresses. It returns nil when there is none, or
// several that share the port (SO_REUSEPORT), among which netstack chooses.
func (t *table) find(p *wire.Packet) *Socket {
	page := t.pages[p.DstPort>>8].Load()
	if page == nil {
		return nil
	}
	port := page[p.DstPort&255].Load()
	if port == nil {
		return nil
	}
	var best *Socket
	most, ties := -1, 0
	for _, f := range *port {
		switch rank := f.binding.match(p); {
		case rank > most:
			best, most, ties = f, rank, 0
		case rank == most:
			ties++
		}
	}
	if most < 0 || ties > 0 {
		return nil
	}
	return best
}

// binding is what a socket takes datagrams for.
type binding struct {
	local  netip.Addr     // invalid: every address of the stack
	remote netip.AddrPort // invalid: every peer
	v4, v6 bool           // the families
}

func bindingOf(local netip.AddrPort, remote netip.AddrPort, v6only bool) binding {
	b := binding{local: local.Addr().Unmap(), remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())}
	b.v4 = b.local.Is4()
	b.v6 = !b.v4
	if b.local.IsValid() && !b.local.IsUnspecified() {
		return b
	}
	b.local = netip.Addr{}
	b.v4 = b.v4 || !v6only
	if b.remote.IsValid() { // the family is the peer's
		b.v4, b.v6 = b.remote.Addr().Is4(), !b.remote.Addr().Is4()
	}
	return b
}

// takes reports whether a is of a family that the socket speaks.
func (b *binding) takes(a netip.Addr) bool { return a.Is4() && b.v4 || a.Is6() && b.v6 }

// match returns how well the binding fits p, or -1.
func (b *binding) match(p *wire.Packet) int {
	if v4 := len(p.Dst) == 4; v4 && !b.v4 || !v4 && !b.v6 {
		return -1
	}
	rank := 0
	if b.local.IsValid() {
		if b.local != wire.Addr(p.Dst) {
			return -1
		}
		rank = 1
	}
	if b.remote.IsValid() {
		if b.remote.Port() != p.SrcPort || b.remote.Addr() != wire.Addr(p.Src) {
			return -1
		}
		rank += 2
	}
	return rank
}
