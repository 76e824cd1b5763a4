package memcached

import (
	"math"
	"strconv"
)

// appendItem appends the item with key to dst, as a get (or gat, with touch)
// answers: VALUE line and data block. It appends nothing if there is none.
func (st *Store) appendItem(dst, key []byte, withCAS, touch bool, expiry uint32) []byte {
	sh, hash := st.locate(key)
	now := st.clock.now()
	r, dst := sh.findFor(dst, key, hash, now)
	defer sh.mu.Unlock()
	if touch {
		sh.counts.CmdTouch++
	}
	if r == 0 {
		if touch {
			sh.counts.TouchMisses++
		} else {
			sh.counts.GetMisses++
		}
		return dst
	}
	h := sh.head(r)
	if touch {
		sh.expire(h, expiry)
		sh.counts.TouchHits++
	} else {
		sh.counts.GetHits++
	}
	sh.used(r, h, now)
	n := h.valueLen()
	dst = append(dst, "VALUE "...)
	dst = append(dst, key...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(h.clientFlags()), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(n), 10)
	if withCAS {
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, h.cas(), 10)
	}
	dst = append(dst, "\r\n"...)
	at := sh.value(r, h)
	dst = sh.appendTo(dst, &at, n)
	return append(dst, "\r\n"...)
}

// touch sets the expiry of the item with key.
func (st *Store) touch(key []byte, expiry uint32) bool {
	sh, hash := st.locate(key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	sh.counts.CmdTouch++
	r := sh.find(key, hash, now)
	if r == 0 {
		sh.counts.TouchMisses++
		return false
	}
	sh.counts.TouchHits++
	h := sh.head(r)
	sh.expire(h, expiry)
	sh.used(r, h, now)
	return true
}

func (st *Store) delete(key []byte) bool {
	sh, hash := st.locate(key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	r := sh.find(key, hash, now)
	if r == 0 {
		sh.counts.DeleteMisses++
		return false
	}
	sh.counts.DeleteHits++
	sh.drop(r, sh.head(r))
	return true
}

// delta adds by to the number that the item with key holds, modulo 2^64, or
// subtracts it down to zero.
func (st *Store) delta(key []byte, decr bool, by uint64) (uint64, outcome) {
	sh, hash := st.locate(key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	_, n, result := sh.delta(key, hash, now, decr, by, 0)
	if result == notFound {
		sh.countDeltaMiss(decr)
	}
	return n, result
}

func (sh *shard) countDeltaMiss(decr bool) {
	if decr {
		sh.counts.DecrMisses++
	} else {
		sh.counts.IncrMisses++
	}
}

// delta does the work for Store.delta and for meta arithmetic. The item is not
// changed if cas is neither zero nor the item's.
//
// A result with fewer digits than the value had is padded with spaces, and the
// value keeps its length, as memcached does it.
func (sh *shard) delta(key []byte, hash, now uint32, decr bool, by, cas uint64) (ref, uint64, outcome) {
	r := sh.find(key, hash, now)
	if r == 0 {
		return 0, 0, notFound
	}
	h := sh.head(r)
	had := h.valueLen()
	if had == 0 {
		return 0, 0, notNumeric
	}
	if cas != 0 && cas != h.cas() {
		return 0, 0, exists
	}
	var scratch [64]byte
	from := sh.value(r, h)
	text := sh.appendTo(scratch[:0], &from, min(had, len(scratch)))
	n, ok := parseUint(text, had <= len(scratch), math.MaxUint64)
	if !ok {
		return 0, 0, notNumeric
	}
	switch {
	case !decr:
		sh.counts.IncrHits++
		n += by
	case by > n:
		sh.counts.DecrHits++
		n = 0
	default:
		sh.counts.DecrHits++
		n -= by
	}
	text = strconv.AppendUint(scratch[:0], n, 10)
	if len(text) > had {
		// memcached makes a new item then, which was not read and is not stale.
		h[53] &= itemBinaryKey
	}
	if len(text) > had && !sh.fits(r, h, len(text)) {
		sh.unlink(r, h)
		longer := sh.alloc(key, len(text), now)
		if longer == 0 {
			sh.attach(r, h)
			return 0, 0, noMemory
		}
		lh := sh.head(longer)
		lh.setFlags(h.clientFlags())
		sh.expire(lh, h.expiry())
		lh[53] = h[53]
		at := sh.value(longer, lh)
		sh.write(&at, text)
		sh.releaseChain(r)
		sh.link(longer, hash, now)
		return longer, n, stored
	}
	at := sh.value(r, h)
	sh.write(&at, text)
	for pad := had - len(text); pad > 0; {
		const spaces = "                                "
		m := min(pad, len(spaces))
		sh.write(&at, append(scratch[:0], spaces[:m]...))
		pad -= m
	}
	h.setValueLen(max(had, len(text)))
	h.setCAS(sh.nextCAS())
	sh.freshen(r, h)
	return r, n, stored
}

// lineRoom is more than a reply line takes beside key and value.
const lineRoom = 256

// findFor is find, locking sh, and giving dst the capacity to hold the item in a
// reply. The memory for a long value is taken without holding the lock.
func (sh *shard) findFor(dst, key []byte, hash, now uint32) (ref, []byte) {
	for {
		sh.lock(now)
		r := sh.find(key, hash, now)
		if r == 0 {
			return 0, dst
		}
		need := len(dst) + 2*len(key) + sh.head(r).valueLen() + lineRoom
		if cap(dst) >= need {
			return r, dst
		}
		sh.mu.Unlock()
		dst = append(make([]byte, 0, max(need, 2*cap(dst))), dst...)
	}
}
