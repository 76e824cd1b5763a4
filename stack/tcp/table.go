package tcp

// flowTable maps a tuple to a connection's reference. It has open addressing with linear probing,
// so a lookup reads one cache line of eight slots, and then the connection. A deletion moves later
// entries back (Knuth, volume 3, section 6.4, algorithm R), so there are no tombstones. The table
// grows by moving a few entries at each insertion, and never shrinks.
type flowTable struct {
	slots []slot // a power of two
	n     int
	// While the table grows, entries not yet moved are in old, at or after
	// cursor and in the run that wraps around to the start.
	old    []slot
	oldN   int
	cursor uint32
	// tuple returns the tuple of a reference.
	tuple func(ref uint32) *Tuple
}

type slot struct{ hash, ref uint32 } // ref 0 is free

const (
	minTable = 64
	// migrateStep entries are moved at each insertion. Two would be enough to
	// finish before the next growth.
	migrateStep = 8
)

func newFlowTable(tuple func(ref uint32) *Tuple) flowTable {
	return flowTable{slots: make([]slot, minTable), tuple: tuple}
}

// find returns the reference of a tuple, or 0.
func (t *flowTable) find(hash uint32, key *Tuple) uint32 {
	if i, ok := probe(t.slots, hash, key, t.tuple); ok {
		return t.slots[i].ref
	}
	if t.oldN > 0 {
		if i, ok := probe(t.old, hash, key, t.tuple); ok {
			return t.old[i].ref
		}
	}
	return 0
}

func probe(slots []slot, hash uint32, key *Tuple, tuple func(uint32) *Tuple) (uint32, bool) {
	mask := uint32(len(slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := slots[i]
		if s.ref == 0 {
			return 0, false
		}
		if s.hash == hash && *tuple(s.ref) == *key {
			return i, true
		}
	}
}

// insert adds a reference that is not in the table.
func (t *flowTable) insert(hash, ref uint32) {
	t.migrate(migrateStep)
	if t.n >= len(t.slots)/4*3 {
		t.migrate(t.oldN) // normally none is left, as migrateStep is large enough
		t.old, t.oldN, t.cursor = t.slots, t.n, 0
		t.slots, t.n = make([]slot, 2*len(t.slots)), 0
	}
	insertSlot(t.slots, slot{hash, ref})
	t.n++
}

func insertSlot(slots []slot, s slot) {
	mask := uint32(len(slots) - 1)
	i := s.hash & mask
	for slots[i].ref != 0 {
		i = (i + 1) & mask
	}
	slots[i] = s
}

// replace replaces the reference old, whose tuple is the same, by ref.
func (t *flowTable) replace(hash, old, ref uint32) {
	if i, ok := findRef(t.slots, hash, old); ok {
		t.slots[i].ref = ref
	} else if i, ok := findRef(t.old, hash, old); ok {
		t.old[i].ref = ref
	}
}

// remove removes a reference.
func (t *flowTable) remove(hash, ref uint32) {
	if i, ok := findRef(t.slots, hash, ref); ok {
		closeGap(t.slots, i)
		t.n--
	} else if i, ok := findRef(t.old, hash, ref); ok {
		closeGap(t.old, i)
		t.oldN--
		if t.oldN == 0 {
			t.old = nil
		}
	}
}

func findRef(slots []slot, hash, ref uint32) (uint32, bool) {
	if len(slots) == 0 {
		return 0, false
	}
	mask := uint32(len(slots) - 1)
	for i := hash & mask; slots[i].ref != 0; i = (i + 1) & mask {
		if slots[i].ref == ref {
			return i, true
		}
	}
	return 0, false
}

// closeGap empties slot i, and moves back the entries that were displaced by it.
func closeGap(slots []slot, i uint32) {
	mask := uint32(len(slots) - 1)
	for j := (i + 1) & mask; slots[j].ref != 0; j = (j + 1) & mask {
		// The entry at j fills the gap unless its first slot is after the gap.
		if first := slots[j].hash & mask; (j-first)&mask >= (j-i)&mask {
			slots[i] = slots[j]
			i = j
		}
	}
	slots[i] = slot{}
}

// migrate moves up to n entries to the larger table.
func (t *flowTable) migrate(n int) {
	mask := uint32(len(t.old) - 1)
	for n > 0 && t.oldN > 0 {
		s := t.old[t.cursor&mask]
		if s.ref == 0 {
			t.cursor++
			continue
		}
		// A later entry may have filled the gap, so the cursor stays.
		closeGap(t.old, t.cursor&mask)
		t.oldN--
		insertSlot(t.slots, s)
		t.n++
		n--
	}
	if t.oldN == 0 {
		t.old = nil
	}
}
