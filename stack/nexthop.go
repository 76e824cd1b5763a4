package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
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
}

// hopCache remembers the next hops of what bypasses netstack. It asks netstack's
// routes and neighbours, and follows them: an entry is used for hopLife, and no
// longer than until the next ARP reply or neighbour advertisement, of whoever,
// comes in. So a neighbour in use is probed as RFC 4861 has it, at most hopLife
// late, and one that changed its MAC address is found at once.
//
// It is a direct-mapped table: two destinations that collide are both looked up
// again and again, which is slower and nothing else. The transmitter's mutex
// guards it.
type hopCache struct {
	seed uint64
	gen  uint32
	hops [hopCacheSize]hop
}

const (
	hopCacheSize = 1024
	hopLife      = int64(1e9)
)

func (c *hopCache) slot(dst netip.Addr) *hop {
	b := dst.As16()
	h := mix(c.seed, binary.NativeEndian.Uint64(b[:]))
	h = mix(h, binary.NativeEndian.Uint64(b[8:]))
	return &c.hops[h%hopCacheSize]
}

// get returns the hop of dst, or nil when it is to be looked up.
func (c *hopCache) get(dst netip.Addr, now int64) *hop {
	h := c.slot(dst)
	if h.dst != dst || h.turnOf != c.gen || h.expires <= now {
		return nil
	}
	return h
}

// neighboursChanged forgets everything: an answer from a neighbour came in. Any
// goroutine may call it.
func (t *transmitter) neighboursChanged() {
	t.mu.Lock()
	t.hops.gen++
	t.mu.Unlock()
}

// learnHop looks dst up in netstack and remembers it, if its neighbour is known
// and it is a host. If not, netstack begins to look for the neighbour.
func (sh *Shard) learnHop(dst netip.Addr) {
	if dst.Zone() != "" || dst.IsMulticast() || sh.st.owns(dst) {
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
	sh.tx.mu.Lock()
	gen := sh.tx.hops.gen
	sh.tx.mu.Unlock()
	r.ResolvedFields(func(res stack.ResolvedFieldsResult) {
		if res.Err != nil || len(res.RouteInfo.RemoteLinkAddress) != 6 {
			return
		}
		h := hop{dst: dst, src: toNetip(res.RouteInfo.LocalAddress), turnOf: gen, expires: sh.clock.nanos() + hopLife}
		copy(h.mac[:], res.RouteInfo.RemoteLinkAddress)
		sh.tx.mu.Lock()
		*sh.tx.hops.slot(dst) = h
		sh.tx.mu.Unlock()
	})
}
