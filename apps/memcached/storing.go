package memcached

// outcome is what came of an operation on an item.
type outcome uint8

const (
	stored outcome = iota
	notStored
	exists
	notFound
	tooLarge
	noMemory
	notNumeric
)

type storeMode uint8

const (
	modeSet storeMode = iota
	modeAdd
	modeReplace
	modeAppend
	modePrepend
	modeCAS
)

// storing is a request to store a value under key.
type storing struct {
	mode       storeMode
	key        []byte
	flags      uint32
	expiry     uint32 // on the store's clock
	cas        uint64 // what the item's must be, unless zero
	invalidate bool   // with an older cas: store, and mark stale (meta set, I)
	binaryKey  bool
}

// check says whether a value of n bytes is acceptable at all; if not, it counts
// that, and a set still removes what it was to replace.
func (st *Store) check(q *storing, n int) outcome {
	if wireSize(len(q.key), q.flags, n) <= st.maxItem {
		return stored
	}
	sh, hash := st.locate(q.key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	sh.counts.StoreTooLarge++
	sh.forget(q, hash, now)
	return tooLarge
}

// forget removes what a set was to replace and could not: better no data than
// data its owner believes replaced.
func (sh *shard) forget(q *storing, hash, now uint32) {
	if q.mode != modeSet {
		return
	}
	if r := sh.find(q.key, hash, now); r != 0 {
		sh.drop(r, sh.head(r))
	}
}

// store stores value, which check has accepted. It returns the item's new CAS
// unique.
func (st *Store) store(q *storing, value []byte) (outcome, uint64) {
	sh, hash := st.locate(q.key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	return sh.put(q, hash, now, value, 0)
}

// reservation is memory for a value that arrives in pieces: an item no one can
// find yet. It is not evicted, and counts as used; so a value is copied once
// however it arrives, and connections that send slowly stay within the memory
// limit. It must be committed or cancelled.
type reservation struct {
	sh   *shard
	item ref
	at   cursor
	hash uint32
}

// reserve makes room for a value of n bytes, which check has accepted.
func (st *Store) reserve(q *storing, n int) (reservation, outcome) {
	sh, hash := st.locate(q.key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	r := sh.alloc(q.key, n, now)
	if r == 0 {
		sh.counts.StoreNoMemory++
		sh.forget(q, hash, now)
		return reservation{}, noMemory
	}
	return reservation{sh, r, sh.value(r, sh.head(r)), hash}, stored
}

// fill appends p to the reserved value.
func (rv *reservation) fill(p []byte) {
	rv.sh.mu.Lock()
	rv.sh.write(&rv.at, p)
	rv.sh.mu.Unlock()
}

// cancel gives the memory back.
func (rv *reservation) cancel() {
	rv.sh.mu.Lock()
	rv.sh.releaseChain(rv.item)
	rv.sh.mu.Unlock()
}

// commit stores the reserved value, whose bytes have all been filled in.
func (st *Store) commit(q *storing, rv *reservation) (outcome, uint64) {
	now := st.clock.now()
	rv.sh.lock(now)
	defer rv.sh.mu.Unlock()
	return rv.sh.put(q, rv.hash, now, nil, rv.item)
}

// put stores a value: that of the unlinked item reserved, if there is one, which
// it takes over.
func (sh *shard) put(q *storing, hash, now uint32, value []byte, reserved ref) (outcome, uint64) {
	sh.counts.CmdSet++
	old := sh.find(q.key, hash, now)
	result, stale := sh.judge(q, old)
	if result != stored {
		sh.releaseChain(reserved)
		return result, 0
	}
	if q.mode == modeAppend || q.mode == modePrepend {
		return sh.join(q, old, now, value, reserved)
	}
	expiry, mark := q.expiry, byte(0)
	if q.binaryKey {
		mark = itemBinaryKey
	}
	if stale {
		h := sh.head(old)
		expiry = h.expiry()
		mark |= itemStale | h[53]&itemWon
	}
	r := reserved
	if old != 0 {
		if h := sh.head(old); reserved == 0 && sh.fits(old, h, len(value)) {
			// The common case of a set: same key, a value as long as the last.
			at := sh.value(old, h)
			sh.write(&at, value)
			h.setValueLen(len(value))
			h.setFlags(q.flags)
			sh.expire(h, expiry)
			h[53] = mark
			h.setAccessed(now)
			h.setCAS(sh.nextCAS())
			sh.counts.TotalItems++
			sh.freshen(old, h)
			return stored, h.cas()
		} else {
			sh.drop(old, h)
		}
	}
	if r == 0 {
		if r = sh.alloc(q.key, len(value), now); r == 0 {
			sh.counts.StoreNoMemory++
			return noMemory, 0
		}
		at := sh.value(r, sh.head(r))
		sh.write(&at, value)
	}
	h := sh.head(r)
	h.setFlags(q.flags)
	sh.expire(h, expiry)
	h[53] = mark
	return stored, sh.link(r, hash, now)
}

// judge decides whether q may be stored over old, or over nothing if that is 0.
// stale: it may, but the CAS unique was outdated and the item is to be marked.
func (sh *shard) judge(q *storing, old ref) (result outcome, stale bool) {
	if old == 0 {
		switch q.mode {
		case modeSet, modeAdd:
			return stored, false
		case modeCAS:
			sh.counts.CASMisses++
			return notFound, false
		}
		return notStored, false
	}
	h := sh.head(old)
	switch q.mode {
	case modeAdd:
		sh.freshen(old, h)
		return notStored, false
	case modeCAS:
		switch {
		case q.cas != 0 && q.cas == h.cas():
			sh.counts.CASHits++
			return stored, false
		case q.cas != 0 && q.cas < h.cas() && q.invalidate:
			sh.counts.CASHits++
			return stored, true
		}
		sh.counts.CASBadval++
		return exists, false
	case modeAppend, modePrepend:
		if q.cas != 0 && q.cas != h.cas() {
			return exists, false
		}
	}
	return stored, false
}

// fits reports whether a value of n bytes can replace that of item r in place,
// without lying in much more memory than it needs.
func (sh *shard) fits(r ref, h *head, n int) bool {
	want := unitsFor(h.keyLen(), n)
	if h.next() == 0 {
		return h.units()-want < minUnits
	}
	have, extents := sh.capacity(r)
	want += uint32((extents-1)*extentHeader+unitSize-1) >> unitShift
	return have-want < minUnits+have/64
}

// join appends or prepends a value to that of old.
func (sh *shard) join(q *storing, old ref, now uint32, value []byte, reserved ref) (outcome, uint64) {
	h := sh.head(old)
	n, had := len(value), h.valueLen()
	if reserved != 0 {
		n = sh.head(reserved).valueLen()
	}
	// While memory is sought, old must not be what is evicted.
	sh.unlink(old, h)
	r := ref(0)
	if wireSize(len(q.key), h.clientFlags(), had+n) <= sh.maxItem {
		r = sh.alloc(q.key, had+n, now)
	}
	if r == 0 {
		sh.attach(old, h)
		sh.releaseChain(reserved)
		return notStored, 0
	}
	rh := sh.head(r)
	at, from := sh.value(r, rh), sh.value(old, h)
	if q.mode == modeAppend {
		sh.copy(&at, &from, had)
	}
	if reserved != 0 {
		added := sh.value(reserved, sh.head(reserved))
		sh.copy(&at, &added, n)
	} else {
		sh.write(&at, value)
	}
	if q.mode == modePrepend {
		sh.copy(&at, &from, had)
	}
	rh.setFlags(h.clientFlags())
	sh.expire(rh, h.expiry())
	rh[53] = h[53] & itemBinaryKey
	hash := h.hash()
	sh.releaseChain(old)
	sh.releaseChain(reserved)
	return stored, sh.link(r, hash, now)
}
