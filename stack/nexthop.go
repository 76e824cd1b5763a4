package stack

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// hop is how packets to one destination leave: from which of our addresses, and to
// which neighbour.
type hop struct {
	dst     netip.Addr
	src     netip.Addr
	mac     [6]byte
	turnOf  uint32 // generation of the neighbours
	expires int64  // by the shard's clock, in nanoseconds
	known   bool   // false: netstack looks for the neighbour
	waiting int    // datagrams given to netstack meanwhile
}

// hopCache remembers the next hops of what bypasses netstack. It asks netstack's
// routes and neighbours, and follows them: an entry is used for hopLife, and no
// longer than until the next ARP reply or neighbour advertisement, of whoever,
// comes in. So a neighbour in use is probed as RFC 4861 has it, at most hopLife
// late, and one that changed its MAC address is found at once.
//
// It is a table of small sets: a destination more than a set holds has another
// looked up again, which is slower and nothing else. The transmitter's mutex guards
// it.
type hopCache struct {
	seed maphash.Seed
	gen  atomic.Uint32 // of the neighbours; changed under the mutex
	sets [hopSets][hopWays]hop
}

const (
	hopSets = 1024
	hopWays = 4
	hopLife = int64(1e9)
	// maxUnresolved is how many datagrams netstack gets to keep for a neighbour it
	// looks for: as many as it would not drop again. Each costs it memory until the
	// search has ended, those that it drops as well.
	maxUnresolved = 256
)

// slot returns the place of dst: where it is, or else where it may go, which is
// in place of what expires first.
func (c *hopCache) slot(dst netip.Addr) *hop {
	b := dst.As16()
	set := &c.sets[maphash.Bytes(c.seed, b[:])%hopSets]
	oldest := &set[0]
	for i := range set {
		h := &set[i]
		if h.dst == dst {
			return h
		}
		if h.expires < oldest.expires {
			oldest = h
		}
	}
	return oldest
}

// get returns the hop of dst, or nil when it is to be looked up.
func (c *hopCache) get(dst netip.Addr, now int64) *hop {
	h := c.slot(dst)
	if !h.known || !c.holds(h, dst, now) {
		return nil
	}
	return h
}

// waits counts a datagram to dst that netstack is to keep until the neighbour is
// found. It returns false when there are too many.
func (c *hopCache) waits(dst netip.Addr, now int64) bool {
	h := c.slot(dst)
	if h.known || !c.holds(h, dst, now) {
		return true
	}
	h.waiting++
	return h.waiting <= maxUnresolved
}

// holds reports whether h is dst's, known or not, and still holds.
func (c *hopCache) holds(h *hop, dst netip.Addr, now int64) bool {
	return h.dst == dst && h.turnOf == c.gen.Load() && h.expires > now
}

// neighboursChanged forgets everything: an answer from a neighbour came in. Any
// goroutine may call it.
func (t *transmitter) neighboursChanged() {
	t.mu.Lock()
	t.hops.gen.Add(1)
	t.mu.Unlock()
}

// lockHop takes the transmitter's mutex and returns the next hop to dst, looked up
// in netstack if need be, or nil if it is not known. The mutex is the caller's in
// either case, and the hop its for as long.
func (sh *Shard) lockHop(dst netip.Addr) *hop {
	t, now := sh.tx, sh.clock.nanos()
	t.mu.Lock()
	h := t.hops.get(dst, now)
	if h == nil {
		t.mu.Unlock()
		sh.learnHop(dst)
		t.mu.Lock()
		h = t.hops.get(dst, now)
	}
	return h
}

// learnHop looks dst up in netstack and remembers it, if its neighbour is known
// and it is a host. If not, netstack begins to look for the neighbour, and is not
// asked again before there is news of neighbours, or hopLife has passed: it keeps
// every question until it has the answer.
func (sh *Shard) learnHop(dst netip.Addr) {
	if dst.Zone() != "" || dst.IsMulticast() || dst.IsUnspecified() || dst.IsLoopback() || sh.st.owns(dst) {
		return
	}
	r, err := sh.ns.FindRoute(nicID, tcpip.Address{}, fromNetip(dst), protocolOf(dst), false)
	if err != nil {
		return
	}
	defer r.Release()
	if r.IsOutboundBroadcast() || r.Loop()&stack.PacketLoop != 0 {
		return
	}
	t, now := sh.tx, sh.clock.nanos()
	t.mu.Lock()
	slot, gen := t.hops.slot(dst), t.hops.gen.Load()
	if t.hops.holds(slot, dst, now) {
		t.mu.Unlock()
		return
	}
	*slot = hop{dst: dst, turnOf: gen, expires: now + hopLife}
	t.mu.Unlock()
	r.ResolvedFields(func(res stack.ResolvedFieldsResult) {
		if res.Err != nil || len(res.RouteInfo.RemoteLinkAddress) != 6 {
			return
		}
		h := hop{dst: dst, src: toNetip(res.RouteInfo.LocalAddress), turnOf: gen, expires: now + hopLife, known: true}
		copy(h.mac[:], res.RouteInfo.RemoteLinkAddress)
		t.mu.Lock()
		*t.hops.slot(dst) = h
		t.mu.Unlock()
	})
}

// forgetMoved has netstack forget a neighbour that says in an ARP reply or
// announcement (RFC 5227 section 2.3: its own address as target) that its MAC address is
// another than the one known, so that it is asked for anew. Netstack by itself
// would go on sending to the old address until probes of it were not answered,
// eight seconds or more; Linux takes the new one at once.
func (sh *Shard) forgetMoved(arp []byte) {
	const reply = 2
	mac, sender, target := arp[8:14], arp[14:18], arp[24:28]
	if binary.BigEndian.Uint16(arp[6:]) != reply && [4]byte(sender) != [4]byte(target) {
		return
	}
	addr := tcpip.AddrFromSlice(sender)
	neighbours, err := sh.ns.Neighbors(nicID, header.IPv4ProtocolNumber)
	if err != nil {
		return
	}
	for i := range neighbours {
		n := &neighbours[i]
		if n.Addr == addr && n.State != stack.Static && len(n.LinkAddr) > 0 && n.LinkAddr != tcpip.LinkAddress(mac) {
			sh.ns.RemoveNeighbor(nicID, header.IPv4ProtocolNumber, addr)
			return
		}
	}
}
