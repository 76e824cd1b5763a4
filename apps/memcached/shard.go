package memcached

import "sync"

// shard is one part of the store, with all that belongs to the keys that hash
// to it. Nothing is shared between shards but the clock.
//
// The LRU list is exact where it matters and still while it is read: an item
// that was put in front a moment ago stays where it is when it is read again. A
// moment is an eighth of the list, measured in the number of items put in front
// since; so the reads of hot items write no other item's header, and an item
// leaves the cache at the earliest when seven eighths of it were used since.
type shard struct {
	mu sync.Mutex
	arena
	index
	newest, oldest ref
	items          int
	seq            uint32 // counts what was put in front of the LRU list

	cas, casStep uint64 // last CAS unique given; they are distinct over all shards
	flushed      uint64 // items with a CAS unique up to this one are dead
	flushAt      uint32 // when a delayed flush_all is due; 0 is never

	reaper
	noEvict bool
	maxItem int // as wireSize counts
	counts  counters

	_ [128]byte // the next shard's lock is on another line
}

// lock locks the shard for an operation at now.
func (sh *shard) lock(now uint32) {
	sh.mu.Lock()
	if sh.flushAt != 0 && now >= sh.flushAt {
		// This is the first operation since: whatever is here was stored before.
		sh.flushAt = 0
		sh.flushAll()
	}
}

func (sh *shard) flushAll() {
	sh.flushed = sh.nextCAS()
	sh.noteDeath(0)
}

func (sh *shard) nextCAS() uint64 {
	sh.cas += sh.casStep
	return sh.cas
}

// find returns the live item with the key, or 0. A dead one is freed.
func (sh *shard) find(key []byte, hash, now uint32) ref {
	r := *sh.slot(hash)
	for r != 0 {
		h := sh.head(r)
		if h.hash() == hash && sh.hasKey(r, h, key) {
			break
		}
		r = h.chain()
	}
	if r == 0 {
		return 0
	}
	h := sh.head(r)
	switch {
	case h.cas() <= sh.flushed:
		sh.counts.GetFlushed++
	case expired(h, now):
		sh.counts.GetExpired++
	default:
		return r
	}
	sh.drop(r, h)
	return 0
}

func expired(h *head, now uint32) bool { return h.expiry() != 0 && h.expiry() <= now }

// alloc returns the extents for an item, evicting what it must, or 0. Key,
// lengths and item flags are set, the rest of the header is not.
//
// It takes one extent if there is one long enough. If not, and 1/32 of the
// shard is free in pieces, the item is chained together from these. Otherwise it
// evicts: mostly what leaves is as long as what comes, and its extent is found
// at once.
func (sh *shard) alloc(key []byte, valueLen int, now uint32) ref {
	n := int(unitsFor(len(key), valueLen))
	limit := sh.maxSegs * segUnits
	if n+n/16+2*minUnits > limit {
		return 0
	}
	slack := limit / 32
	var r ref
	for r == 0 {
		available := (sh.maxSegs-sh.live)*segUnits + int(sh.free)
		if available >= n {
			if n <= segUnits {
				if one, ok := sh.take(uint32(n)); ok {
					r = one
					break
				}
			}
			if available >= n+slack {
				r = sh.allocChain(itemHeader+len(key)+valueLen, now)
				break
			}
		}
		if !sh.evict(now) {
			if available >= n {
				r = sh.allocChain(itemHeader+len(key)+valueLen, now)
			}
			break
		}
	}
	if r == 0 {
		return 0
	}
	h := sh.head(r)
	h.setKeyLen(len(key))
	h.setValueLen(valueLen)
	h[53] = 0
	sh.write(&cursor{r, itemHeader}, key)
	return r
}

// allocChain gathers extents for n bytes, header included, longest first.
func (sh *shard) allocChain(n int, now uint32) ref {
	var first, last ref
	lost := 0 // of the extent to come, to its first words
	for n > 0 {
		want := uint32(min(segUnits, (n+lost+unitSize-1)>>unitShift))
		r, ok := sh.take(want)
		if !ok {
			r, ok = sh.takeLongest(want)
		}
		if !ok {
			if sh.evict(now) {
				continue
			}
			sh.releaseChain(first)
			return 0
		}
		if first == 0 {
			first = r
		} else {
			sh.head(last).setNext(r)
		}
		last = r
		n -= int(sh.head(r).units())<<unitShift - lost
		lost = extentHeader
	}
	return first
}

// evict frees one item: a dead one if a short search finds it, or else the
// least recently used.
func (sh *shard) evict(now uint32) bool {
	if r := sh.findDead(now); r != 0 {
		sh.reclaim(r, sh.head(r))
		return true
	}
	r := sh.oldest
	if r == 0 {
		return false
	}
	h := sh.head(r)
	if sh.dead(h, now) {
		sh.reclaim(r, h)
		return true
	}
	if sh.noEvict {
		return false
	}
	sh.counts.Evictions++
	if !h.is(itemFetched) {
		sh.counts.EvictedUnfetched++
	}
	if h.expiry() != 0 {
		sh.counts.EvictedNonzero++
	}
	sh.counts.EvictedAge = uint64(now - min(now, h.accessed()))
	sh.drop(r, h)
	return true
}

func (sh *shard) reclaim(r ref, h *head) {
	sh.counts.Reclaimed++
	if !h.is(itemFetched) {
		sh.counts.ExpiredUnfetched++
	}
	sh.drop(r, h)
}

// link puts item r into the index and in front of the LRU list, with a new CAS
// unique. What describes the item is set.
func (sh *shard) link(r ref, hash, now uint32) uint64 {
	h := sh.head(r)
	h.setHash(hash)
	h.setCAS(sh.nextCAS())
	h.setAccessed(now)
	sh.counts.TotalItems++
	sh.attach(r, h)
	return h.cas()
}

func (sh *shard) attach(r ref, h *head) {
	sh.items++
	sh.insert(&sh.arena, r, sh.items)
	sh.toFront(r, h)
}

// unlink takes item r out of the index and the LRU list; its extents stay.
func (sh *shard) unlink(r ref, h *head) {
	sh.items--
	sh.remove(&sh.arena, r)
	sh.fromList(h)
}

// drop unlinks item r and frees it.
func (sh *shard) drop(r ref, h *head) {
	sh.unlink(r, h)
	sh.releaseChain(r)
}

// used notes an access to item r.
func (sh *shard) used(r ref, h *head, now uint32) {
	h.setAccessed(now)
	h.mark(itemFetched)
	sh.freshen(r, h)
}

// freshen puts item r in front of the LRU list, unless it is near.
func (sh *shard) freshen(r ref, h *head) {
	if int(sh.seq-h.seq()) > sh.items/8 {
		sh.fromList(h)
		sh.toFront(r, h)
	}
}

func (sh *shard) toFront(r ref, h *head) {
	sh.seq++
	h.setSeq(sh.seq)
	h.setNewer(0)
	h.setOlder(sh.newest)
	if sh.newest != 0 {
		sh.head(sh.newest).setNewer(r)
	} else {
		sh.oldest = r
	}
	sh.newest = r
}

func (sh *shard) fromList(h *head) {
	newer, older := h.newer(), h.older()
	if newer != 0 {
		sh.head(newer).setOlder(older)
	} else {
		sh.newest = older
	}
	if older != 0 {
		sh.head(older).setNewer(newer)
	} else {
		sh.oldest = newer
	}
}

// setLimit sets what the shard may use, in segments, and evicts down to it.
// Memory that is free in whole segments is given back.
func (sh *shard) setLimit(segs int, now uint32) {
	sh.maxSegs = segs
	sh.trim()
	for (sh.maxSegs-sh.live)*segUnits+int(sh.free) < 0 && sh.evict(now) {
	}
}
