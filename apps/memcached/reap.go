package memcached

import "math"

// reaper finds dead items, expired or flushed, when memory is short: some
// buckets of the index at a time, round and round. As long as nothing can have
// died it does not look, so that a cache whose items never expire pays nothing.
type reaper struct {
	hand uint32 // next bucket to look at
	// No item dies before due: it is the earliest expiry there was when the last
	// round began, or that was set since. soonest is what due will be after the
	// present round.
	due, soonest uint32
}

const (
	// reapBuckets are looked at for an item that has to go: so many cache misses.
	reapBuckets = 4
	// Where nothing may be evicted, it is worth more.
	reapBucketsNoEvict = 64
)

func newReaper() reaper { return reaper{due: math.MaxUint32, soonest: math.MaxUint32} }

// noteDeath: some item dies at the given time.
func (p *reaper) noteDeath(at uint32) {
	p.due, p.soonest = min(p.due, at), min(p.soonest, at)
}

// expire sets when the item with header h expires.
func (sh *shard) expire(h *head, at uint32) {
	h.setExpiry(at)
	if at != 0 {
		sh.noteDeath(at)
	}
}

func (sh *shard) dead(h *head, now uint32) bool {
	return h.cas() <= sh.flushed || expired(h, now)
}

// findDead returns a dead item if a short search finds one.
func (sh *shard) findDead(now uint32) ref {
	if now < sh.due {
		return 0
	}
	search := reapBuckets
	if sh.noEvict {
		search = reapBucketsNoEvict
	}
	for range search {
		if int(sh.hand) >= sh.buckets() {
			sh.hand = 0
			if sh.due, sh.soonest = sh.soonest, math.MaxUint32; now < sh.due {
				return 0
			}
		}
		for r := *sh.bucket(sh.hand); r != 0; {
			h := sh.head(r)
			if sh.dead(h, now) {
				// There may be more in this bucket: the hand stays.
				return r
			}
			if at := h.expiry(); at != 0 {
				sh.soonest = min(sh.soonest, at)
			}
			r = h.chain()
		}
		sh.hand++
	}
	return 0
}
