package memcached

import (
	"fmt"
	"testing"
)

// checkStore fails the test if any invariant of the store does not hold. No
// operation may be under way.
func checkStore(t testing.TB, st *Store) {
	t.Helper()
	for i := range st.shards {
		if err := st.shards[i].check(); err != nil {
			t.Errorf("shard %d: %v", i, err)
		}
	}
}

// check walks all there is in a shard, in four ways: extents in memory order,
// free lists, LRU list and index; and compares.
func (sh *shard) check() error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	free := map[ref]uint32{}
	used := map[ref]uint32{}
	live, freeUnits := 0, uint32(0)
	for s, seg := range sh.segs {
		if seg == nil {
			continue
		}
		live++
		prevFree := false
		for off := uint32(0); off < segUnits; {
			r := ref(uint32(s)<<segShift + off)
			h := sh.head(r)
			n := h.units()
			if n < minUnits || off+n > segUnits {
				return fmt.Errorf("extent %d of %d units", r, n)
			}
			if (h.word()&flagPrevFree != 0) != prevFree {
				return fmt.Errorf("extent %d believes its neighbour's freedom is %v", r, !prevFree)
			}
			if prevFree = !h.used(); prevFree {
				if h.word()&flagPrevFree != 0 {
					return fmt.Errorf("free extent %d was not coalesced", r)
				}
				if foot := le.Uint32(sh.at(r)[n<<unitShift-4:]); foot != n {
					return fmt.Errorf("free extent %d of %d units ends with %d", r, n, foot)
				}
				free[r] = n
				freeUnits += n
			} else if r != 0 {
				used[r] = n
			}
			off += n
		}
	}
	if live != sh.live || freeUnits != sh.free {
		return fmt.Errorf("%d segments, %d units free; counted %d, %d", live, freeUnits, sh.live, sh.free)
	}
	hung := 0
	for list, r := range sh.lists {
		if (r != 0) != (sh.bitmap&(1<<list) != 0) {
			return fmt.Errorf("list %d: first is %d, its bit is not so", list, r)
		}
		for prev := ref(0); r != 0; prev, r = r, sh.head(r).next() {
			h := sh.head(r)
			if free[r] == 0 || listOf(free[r]) != list || h.prev() != prev {
				return fmt.Errorf("extent %d in list %d: %d units free, previous %d, not %d", r, list, free[r], h.prev(), prev)
			}
			if hung++; hung > len(free) {
				return fmt.Errorf("list %d goes in circles", list)
			}
		}
	}
	if hung != len(free) {
		return fmt.Errorf("%d free extents, %d in lists", len(free), hung)
	}

	items := map[ref]bool{}
	newer := ref(0)
	for r := sh.newest; r != 0; newer, r = r, sh.head(r).older() {
		if items[r] || sh.head(r).newer() != newer {
			return fmt.Errorf("LRU list is broken at %d", r)
		}
		items[r] = true
		for e := r; e != 0; e = sh.head(e).next() {
			if used[e] == 0 {
				return fmt.Errorf("item %d has extent %d, which is not a used one, or another's", r, e)
			}
			delete(used, e)
		}
	}
	if newer != sh.oldest {
		return fmt.Errorf("LRU list ends with %d, not %d", newer, sh.oldest)
	}
	if len(items) != sh.items {
		return fmt.Errorf("%d items in the LRU list, %d counted", len(items), sh.items)
	}
	if len(used) != 0 {
		return fmt.Errorf("%d extents leaked", len(used))
	}
	found := 0
	for b := range sh.buckets() {
		for r := *sh.bucket(uint32(b)); r != 0; r = sh.head(r).chain() {
			if !items[r] || sh.slot(sh.head(r).hash()) != sh.bucket(uint32(b)) {
				return fmt.Errorf("bucket %d has %d, which does not belong there", b, r)
			}
			if found++; found > sh.items {
				return fmt.Errorf("bucket %d goes in circles", b)
			}
		}
	}
	if found != sh.items {
		return fmt.Errorf("%d items in the index, %d counted", found, sh.items)
	}
	return nil
}
