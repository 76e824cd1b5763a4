package steer

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"shardnet/driver/wire"
)

// EveryShard is the owner of packets that all shards must see.
const EveryShard = -1

// Port table entries. A port is listening (the shard of arrival owns its
// packets) or pinned (one shard does).
const (
	portFree      = 0
	portListening = 1
	portPinned    = 2 // + shard
)

// Table is the rule with what it depends on. The shards of a stack share one: all read it
// for each packet, sockets write it when they come and go. Any goroutine may call its
// methods.
type Table struct {
	rssQueue func(src, dst netip.AddrPort) int
	shards   int
	lo, hi   int    // ephemeral range, inclusive
	share    int    // ports of each shard
	fragSeed uint64 // keyed, so that fragments can't be aimed at a shard
	tcp, udp [65536]atomic.Uint32
	mu       sync.Mutex
	uses     map[portKey]*portUse
}

type portKey struct {
	proto uint8
	port  uint16
}

// New returns the table of so many shards, which split the ephemeral ports lo to hi.
// rssQueue is the queue of a TCP or UDP packet by the NIC's RSS, or nil if that is not
// known.
func New(shards int, lo, hi uint16, rssQueue func(src, dst netip.AddrPort) int) (*Table, error) {
	share := (int(hi) - int(lo) + 1) / shards
	if lo == 0 || share < 1 {
		return nil, fmt.Errorf("ephemeral ports %d-%d do not give each of %d shards one: widen Config.PortRange", lo, hi, shards)
	}
	return &Table{
		rssQueue: rssQueue,
		shards:   shards, lo: int(lo), hi: int(hi), share: share,
		fragSeed: rand.Uint64() | 1,
		uses:     make(map[portKey]*portUse),
	}, nil
}

// Shards is the number of shards.
func (t *Table) Shards() int { return t.shards }

// KnowsRSS reports whether the NIC keeps a flow on a queue that can be computed.
func (t *Table) KnowsRSS() bool { return t.rssQueue != nil }

// PortRange is shard's part of the ephemeral range, inclusive. The last shard
// has the remainder.
func (t *Table) PortRange(shard int) (lo, hi uint16) {
	lo = uint16(t.lo + shard*t.share)
	if shard == t.shards-1 {
		return lo, uint16(t.hi)
	}
	return lo, lo + uint16(t.share) - 1
}

func (t *Table) table(proto uint8) *[65536]atomic.Uint32 {
	if proto == wire.ProtoUDP {
		return &t.udp
	}
	return &t.tcp
}

// Owner is the rule: the shard that p belongs to, having arrived on shard
// arrival, or EveryShard.
func (t *Table) Owner(p *wire.Packet, arrival int) int {
	if t.shards == 1 {
		return 0
	}
	switch {
	case p.Fragment:
		return t.fragmentOwner(p)
	case p.Src == nil: // not IP
		if p.EtherType == wire.EtherTypeARP && (p.ARPOp == wire.ARPReply || p.ARPAnnounce) {
			return EveryShard
		}
		return arrival
	}
	switch p.Proto {
	case wire.ProtoTCP, wire.ProtoUDP:
		switch e := t.table(p.Proto)[p.DstPort].Load(); {
		case e == portListening:
			return arrival
		case e >= portPinned:
			return int(e - portPinned)
		}
		if port := int(p.DstPort); port >= t.lo && port <= t.hi {
			return min((port-t.lo)/t.share, t.shards-1)
		}
	case wire.ProtoIGMP:
		return EveryShard
	case wire.ProtoICMP:
		switch p.L4[0] {
		case wire.ICMPUnreachable, wire.ICMPSourceQuench, wire.ICMPRedirect, wire.ICMPTimeExceeded, wire.ICMPParameter:
			return EveryShard
		}
	case wire.ProtoICMPv6:
		switch typ := p.L4[0]; {
		case typ < wire.ICMPv6EchoRequest: // errors
			return EveryShard
		case typ >= wire.ICMPv6MLDQuery && typ <= wire.ICMPv6MLDDone, typ == wire.ICMPv6MLDv2Report:
			return EveryShard
		case typ == wire.ICMPv6RouterAdvert, typ == wire.ICMPv6NeighborAdvert, typ == wire.ICMPv6NeighborRedirect:
			return EveryShard
		}
	}
	return arrival
}

func (t *Table) fragmentOwner(p *wire.Packet) int {
	h := t.fragSeed ^ uint64(p.FragID)
	for _, a := range [2][]byte{p.Src, p.Dst} {
		for ; len(a) >= 4; a = a[4:] {
			h = mix(h, uint64(binary.BigEndian.Uint32(a)))
		}
	}
	hi, _ := bits.Mul64(h, uint64(t.shards))
	return int(hi)
}

// mix folds v into the keyed hash h (multiply and fold, as wyhash does).
func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^v^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93|h<<1)
	return hi ^ lo
}

// OwnedByPort reports whether p's destination port alone says whose p is: it is
// pinned, or an ephemeral one on which nobody listens.
func (t *Table) OwnedByPort(p *wire.Packet) bool {
	e := t.table(p.Proto)[p.DstPort].Load()
	port := int(p.DstPort)
	return e >= portPinned || e == portFree && port >= t.lo && port <= t.hi
}

// portUse is what the port table's entry is derived from.
type portUse struct {
	listeners int         // sockets listening, all shards together
	pins      map[int]int // connections by shard
}

// change applies f to a port's uses and derives its entry again. Listening
// outweighs pins, whose connections stack.Shard.flowShard then finds.
func (t *Table) change(proto uint8, port uint16, f func(u *portUse)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := portKey{proto, port}
	u := t.uses[k]
	if u == nil {
		u = &portUse{pins: make(map[int]int)}
		t.uses[k] = u
	}
	f(u)
	entry := uint32(portFree)
	for shard := range u.pins {
		entry = uint32(portPinned + shard)
	}
	if u.listeners > 0 {
		entry = portListening
	} else if len(u.pins) == 0 {
		delete(t.uses, k)
	}
	t.table(proto)[port].Store(entry)
}

// Listen notes one more socket listening on port.
func (t *Table) Listen(proto uint8, port uint16) {
	t.change(proto, port, func(u *portUse) { u.listeners++ })
}

// Unlisten undoes one Listen.
func (t *Table) Unlisten(proto uint8, port uint16) {
	t.change(proto, port, func(u *portUse) { u.listeners-- })
}

// Pin gives port to shard, for a connection whose local port the application
// chose. It returns false when the port is the shard's without that.
func (t *Table) Pin(proto uint8, port uint16, shard int) bool {
	if lo, hi := t.PortRange(shard); port >= lo && port <= hi {
		return false
	}
	t.change(proto, port, func(u *portUse) { u.pins[shard]++ })
	return true
}

// Unpin undoes one Pin.
func (t *Table) Unpin(proto uint8, port uint16, shard int) {
	t.change(proto, port, func(u *portUse) {
		if u.pins[shard]--; u.pins[shard] <= 0 {
			delete(u.pins, shard)
		}
	})
}

// SYNFilter remembers the flows whose SYN came in on a shard, where the NIC keeps a flow on
// its queue: a direct-mapped table of flow tags. A false miss costs a lookup, a false hit
// (1 in 32768 of the flows that moved) a reset. It belongs to the shard's loop.
type SYNFilter struct {
	seed uint64
	tags []uint16
}

const synFilterSize = 1 << 16

// NewSYNFilter returns an empty filter.
func NewSYNFilter() *SYNFilter {
	return &SYNFilter{seed: rand.Uint64() | 1, tags: make([]uint16, synFilterSize)}
}

func (f *SYNFilter) slot(p *wire.Packet) (*uint16, uint16) {
	h := mix(f.seed, uint64(p.SrcPort)<<16|uint64(p.DstPort))
	for _, a := range [2][]byte{p.Src, p.Dst} {
		for ; len(a) >= 4; a = a[4:] {
			h = mix(h, uint64(binary.BigEndian.Uint32(a)))
		}
	}
	return &f.tags[h%synFilterSize], uint16(h>>48) | 1
}

// Add enters p's flow.
func (f *SYNFilter) Add(p *wire.Packet) {
	s, tag := f.slot(p)
	*s = tag
}

// Has reports whether p's flow was entered.
func (f *SYNFilter) Has(p *wire.Packet) bool {
	s, tag := f.slot(p)
	return *s == tag
}
