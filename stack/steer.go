package stack

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// Steering decides which shard a packet belongs to. This file is the one place
// where the rule is written:
//
//	TCP, UDP to a listening port             the shard it came in on
//	TCP, UDP to a port pinned to a shard     that shard
//	TCP, UDP to another ephemeral port       the shard whose part of the range it is in
//	TCP, UDP to any other port               the shard it came in on (which refuses it)
//	ARP request, NDP solicitation, echo      the shard it came in on
//	ARP reply, NDP advertisement, router
//	  advertisement, redirect, ICMP error,
//	  IGMP, MLD                              every shard
//	IP fragment                              by hash of source, destination and id
//
// A NIC may still move a connection to another queue in mid-life (veth does,
// for what the kernel sends without a socket), and a listener may close before
// its connections do. Shard.flowShard has the last word on TCP for these cases.

// everyShard is the owner of packets that all shards must see.
const everyShard = -1

// Port table entries. A port is listening (the shard of arrival owns its
// packets) or pinned (one shard does).
const (
	portFree      = 0
	portListening = 1
	portPinned    = 2 // + shard
)

// steering is shared by the shards of one Stack: read per packet by all, written
// when sockets come and go.
type steering struct {
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

func newSteering(shards int, lo, hi uint16) (*steering, error) {
	share := (int(hi) - int(lo) + 1) / shards
	if lo == 0 || share < 1 {
		return nil, fmt.Errorf("ephemeral ports %d-%d do not give each of %d shards one: widen Config.PortRange", lo, hi, shards)
	}
	return &steering{
		shards: shards, lo: int(lo), hi: int(hi), share: share,
		fragSeed: rand.Uint64() | 1,
		uses:     make(map[portKey]*portUse),
	}, nil
}

// portRange is shard's part of the ephemeral range, inclusive. The last shard
// has the remainder.
func (s *steering) portRange(shard int) (lo, hi uint16) {
	lo = uint16(s.lo + shard*s.share)
	if shard == s.shards-1 {
		return lo, uint16(s.hi)
	}
	return lo, lo + uint16(s.share) - 1
}

func (s *steering) table(proto uint8) *[65536]atomic.Uint32 {
	if proto == protoUDP {
		return &s.udp
	}
	return &s.tcp
}

// owner is the rule: the shard that p belongs to, having arrived on shard
// arrival, or everyShard.
func (s *steering) owner(p *packet, arrival int) int {
	if s.shards == 1 {
		return 0
	}
	switch {
	case p.fragment:
		return s.fragmentOwner(p)
	case p.src == nil: // not IP
		if p.etherType == etherTypeARP && (p.arpOp == 2 || p.arpSelf) {
			return everyShard
		}
		return arrival
	}
	switch p.proto {
	case protoTCP, protoUDP:
		switch e := s.table(p.proto)[p.dstPort].Load(); {
		case e == portListening:
			return arrival
		case e >= portPinned:
			return int(e - portPinned)
		}
		if port := int(p.dstPort); port >= s.lo && port <= s.hi {
			return min((port-s.lo)/s.share, s.shards-1)
		}
	case protoIGMP:
		return everyShard
	case protoICMP:
		switch p.l4[0] {
		case 3, 4, 5, 11, 12: // unreachable, quench, redirect, time exceeded, parameter problem
			return everyShard
		}
	case protoICMPv6:
		switch typ := p.l4[0]; {
		case typ < 128: // errors
			return everyShard
		case typ >= 130 && typ <= 132, typ == 143: // MLD
			return everyShard
		case typ == 134, typ == 136, typ == 137: // router and neighbor advertisement, redirect
			return everyShard
		}
	}
	return arrival
}

func (s *steering) fragmentOwner(p *packet) int {
	h := s.fragSeed ^ uint64(p.fragID)
	for _, a := range [2][]byte{p.src, p.dst} {
		for ; len(a) >= 4; a = a[4:] {
			h = mix(h, uint64(binary.BigEndian.Uint32(a)))
		}
	}
	hi, _ := bits.Mul64(h, uint64(s.shards))
	return int(hi)
}

// mix folds v into the keyed hash h (multiply and fold, as wyhash does).
func mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^v^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93|h<<1)
	return hi ^ lo
}

// ownedByPort reports whether p's destination port alone says whose p is: it is
// pinned, or an ephemeral one on which nobody listens.
func (s *steering) ownedByPort(p *packet) bool {
	e := s.table(p.proto)[p.dstPort].Load()
	port := int(p.dstPort)
	return e >= portPinned || e == portFree && port >= s.lo && port <= s.hi
}

// portUse is what the port table's entry is derived from.
type portUse struct {
	listeners int         // sockets listening, all shards together
	pins      map[int]int // connections by shard
}

// change applies f to a port's uses and derives its entry again. Listening
// outweighs pins, whose connections Shard.flowShard then finds.
func (s *steering) change(proto uint8, port uint16, f func(u *portUse)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := portKey{proto, port}
	u := s.uses[k]
	if u == nil {
		u = &portUse{pins: make(map[int]int)}
		s.uses[k] = u
	}
	f(u)
	entry := uint32(portFree)
	for shard := range u.pins {
		entry = uint32(portPinned + shard)
	}
	if u.listeners > 0 {
		entry = portListening
	} else if len(u.pins) == 0 {
		delete(s.uses, k)
	}
	s.table(proto)[port].Store(entry)
}

// listen notes one more socket listening on port.
func (s *steering) listen(proto uint8, port uint16) {
	s.change(proto, port, func(u *portUse) { u.listeners++ })
}

// unlisten undoes one listen.
func (s *steering) unlisten(proto uint8, port uint16) {
	s.change(proto, port, func(u *portUse) { u.listeners-- })
}

// pin gives port to shard, for a connection whose local port the application
// chose. It returns false when the port is the shard's without that.
func (s *steering) pin(proto uint8, port uint16, shard int) bool {
	if lo, hi := s.portRange(shard); port >= lo && port <= hi {
		return false
	}
	s.change(proto, port, func(u *portUse) { u.pins[shard]++ })
	return true
}

// unpin undoes one pin.
func (s *steering) unpin(proto uint8, port uint16, shard int) {
	s.change(proto, port, func(u *portUse) {
		if u.pins[shard]--; u.pins[shard] <= 0 {
			delete(u.pins, shard)
		}
	})
}

// synFilter remembers, per shard, the flows whose SYN came in here, where the NIC
// keeps a flow on its queue. It is a
// direct-mapped table of tags: a hit says that the flow very likely lives here,
// a miss that it must be looked up. Being exact is not needed: a false miss costs
// a look-up, a false hit (1 in 32768 of the flows that moved) a reset.
// One goroutine, the shard's loop, uses it.
type synFilter struct {
	seed uint64
	tags []uint16
}

const synFilterSize = 1 << 16

func newSYNFilter() *synFilter {
	return &synFilter{seed: rand.Uint64() | 1, tags: make([]uint16, synFilterSize)}
}

func (f *synFilter) slot(p *packet) (*uint16, uint16) {
	h := mix(f.seed, uint64(p.srcPort)<<16|uint64(p.dstPort))
	for _, a := range [2][]byte{p.src, p.dst} {
		for ; len(a) >= 4; a = a[4:] {
			h = mix(h, uint64(binary.BigEndian.Uint32(a)))
		}
	}
	return &f.tags[h%synFilterSize], uint16(h>>48) | 1
}

func (f *synFilter) add(p *packet) {
	s, tag := f.slot(p)
	*s = tag
}

func (f *synFilter) has(p *packet) bool {
	s, tag := f.slot(p)
	return *s == tag
}
