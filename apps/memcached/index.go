package memcached

// The index of a shard finds items by hash. Buckets are refs of items, which
// are chained through their headers. It grows by linear hashing: one bucket is
// split for an item that is one too many, so that no operation ever pays for
// moving the whole table. Buckets live in pages, for the same reason, and hold no
// pointers.
const (
	pageShift   = 12
	pageBuckets = 1 << pageShift
	firstMask   = pageBuckets - 1
)

type index struct {
	pages [][]ref
	mask  uint32 // of the table before the present doubling
	split uint32 // buckets below were split: they use one bit more
}

func newIndex() index {
	return index{pages: [][]ref{make([]ref, pageBuckets)}, mask: firstMask}
}

// buckets is how many there are.
func (x *index) buckets() int { return int(x.mask) + 1 + int(x.split) }

// size is the index's memory in bytes.
func (x *index) size() int { return len(x.pages) * pageBuckets * 4 }

// slot is the bucket of hash.
func (x *index) slot(hash uint32) *ref {
	b := hash & x.mask
	if b < x.split {
		b = hash & (x.mask<<1 | 1)
	}
	return x.bucket(b)
}

func (x *index) bucket(b uint32) *ref {
	return &x.pages[b>>pageShift][b%pageBuckets]
}

// insert puts item r, whose hash is set, into the index.
func (x *index) insert(a *arena, r ref, items int) {
	if items > x.buckets() && x.mask < 1<<30 {
		x.splitOne(a)
	}
	h := a.head(r)
	slot := x.slot(h.hash())
	h.setChain(*slot)
	*slot = r
}

// remove takes item r out of the index.
func (x *index) remove(a *arena, r ref) {
	h := a.head(r)
	slot := x.slot(h.hash())
	if *slot == r {
		*slot = h.chain()
		return
	}
	for at := *slot; ; {
		ah := a.head(at)
		next := ah.chain()
		if next == r {
			ah.setChain(h.chain())
			return
		}
		at = next
	}
}

// splitOne spreads the items of one bucket over it and a new one.
func (x *index) splitOne(a *arena) {
	fresh := x.mask + 1 + x.split
	if int(fresh>>pageShift) == len(x.pages) {
		x.pages = append(x.pages, make([]ref, pageBuckets))
	}
	from, to := x.bucket(x.split), x.bucket(fresh)
	r := *from
	*from = 0
	for r != 0 {
		h := a.head(r)
		next := h.chain()
		into := from
		if h.hash()&(x.mask+1) != 0 {
			into = to
		}
		h.setChain(*into)
		*into = r
		r = next
	}
	if x.split++; x.split > x.mask {
		x.mask = x.mask<<1 | 1
		x.split = 0
	}
}
