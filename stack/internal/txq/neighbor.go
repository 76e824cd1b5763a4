package txq

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// Neighbor is how packets to one destination leave: from which of our addresses, and to
// which MAC address.
type Neighbor struct {
	dst        netip.Addr
	Src        netip.Addr
	MAC        [6]byte
	Generation uint32 // of the cache, when this was learned
	Expires    int64  // by the shard's clock, in nanoseconds
	known      bool   // false: netstack resolves it
	waiting    int    // datagrams given to netstack meanwhile
}

// neighborCache remembers the neighbors of what bypasses netstack. It asks netstack's routes
// and neighbor table, and follows them: an entry is used for neighborLife, and no longer
// than until the next packet that may change a neighbor comes in: any ARP packet, any NDP
// message. So a neighbor in use is probed as RFC 4861 wants it, at most neighborLife late,
// and one that changed its MAC address is found at once.
//
// It is set-associative. A conflict evicts and only costs another lookup. Queue.mu guards
// it.
type neighborCache struct {
	seed maphash.Seed
	gen  atomic.Uint32 // changed under mu, read by any goroutine
	sets [neighborSets][neighborWays]Neighbor
}

const (
	neighborSets = 1024
	neighborWays = 4
	neighborLife = int64(1e9)
	// maxUnresolved is how many datagrams netstack gets to keep for a neighbor that it
	// resolves: as many as it would not drop again. Each costs it memory until the
	// resolution has ended, those that it drops as well.
	maxUnresolved = 256
)

func (c *neighborCache) init() { c.seed = maphash.MakeSeed() }

// slot returns the place of dst: where it is, or else where it may go, which is in place
// of what expires first.
func (c *neighborCache) slot(dst netip.Addr) *Neighbor {
	b := dst.As16()
	set := &c.sets[maphash.Bytes(c.seed, b[:])%neighborSets]
	oldest := &set[0]
	for i := range set {
		n := &set[i]
		if n.dst == dst {
			return n
		}
		if n.Expires < oldest.Expires {
			oldest = n
		}
	}
	return oldest
}

// get returns the entry of dst, or nil when it is to be looked up.
func (c *neighborCache) get(dst netip.Addr, now int64) *Neighbor {
	n := c.slot(dst)
	if !n.known || !c.valid(n, dst, now) {
		return nil
	}
	return n
}

// valid reports whether n is dst's, known or not, and not too old.
func (c *neighborCache) valid(n *Neighbor, dst netip.Addr, now int64) bool {
	return n.dst == dst && n.Generation == c.gen.Load() && n.Expires > now
}

// LockNeighbor takes the lock and returns the neighbor of dst, resolved by netstack if need
// be, or nil if it is not known. The caller unlocks in either case, and the entry is its
// until then.
func (t *Queue) LockNeighbor(dst netip.Addr, now int64) *Neighbor {
	t.mu.Lock()
	n := t.neighbors.get(dst, now)
	if n == nil {
		t.mu.Unlock()
		t.resolve(dst)
		t.mu.Lock()
		n = t.neighbors.get(dst, now)
	}
	return n
}

// MayWait counts a packet to dst that netstack is to keep until the neighbor is resolved.
// It returns false when there are too many. Locked.
func (t *Queue) MayWait(dst netip.Addr, now int64) bool {
	n := t.neighbors.slot(dst)
	if n.known || !t.neighbors.valid(n, dst, now) {
		return true
	}
	n.waiting++
	return n.waiting <= maxUnresolved
}

// BeginResolve enters dst as unresolved. It returns false if that is known already, or the
// neighbor itself: netstack keeps every question until it has the answer, so it is not
// asked again before a packet came that may change neighbors, or neighborLife has passed.
func (t *Queue) BeginResolve(dst netip.Addr, now int64) (generation uint32, begin bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, gen := t.neighbors.slot(dst), t.neighbors.gen.Load()
	if t.neighbors.valid(n, dst, now) {
		return gen, false
	}
	*n = Neighbor{dst: dst, Generation: gen, Expires: now + neighborLife}
	return gen, true
}

// Resolved enters the neighbor of dst, of the generation and time that BeginResolve had.
func (t *Queue) Resolved(dst, src netip.Addr, mac [6]byte, generation uint32, now int64) {
	t.mu.Lock()
	*t.neighbors.slot(dst) = Neighbor{dst: dst, Src: src, MAC: mac, Generation: generation, Expires: now + neighborLife, known: true}
	t.mu.Unlock()
}

// NeighborsChanged forgets all neighbors: a packet came in that may change one. Any
// goroutine may call it.
func (t *Queue) NeighborsChanged() {
	t.mu.Lock()
	t.neighbors.gen.Add(1)
	t.mu.Unlock()
}

// NeighborGeneration is that of the entries in force, for copies of them. Any goroutine may
// call it.
func (t *Queue) NeighborGeneration() uint32 { return t.neighbors.gen.Load() }
