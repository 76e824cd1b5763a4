package memcached

// An item is a chain of extents. Its first extent begins with this header,
// after which key and value follow one another through the chain:
//
//	 0  units and flags    }  of the extent
//	 4  next extent        }
//	 8  next item of the same hash bucket
//	12  towards the recently used end of the LRU list
//	16  towards the other
//	20  hash
//	24  CAS unique, 8 bytes
//	32  expiry, in the store's seconds; 0 is never
//	36  client flags
//	40  when last accessed, in the store's seconds
//	44  length of the value
//	48  the shard's LRU sequence when last put in front
//	52  length of the key
//	53  item flags
const itemHeader = 54

// Item flags.
const (
	itemFetched   = 1 << iota // was read since it was stored
	itemBinaryKey             // the key was given in base64
	itemStale                 // invalidated: meta delete or set with I
	itemWon                   // a client was told to recache it
)

func (h *head) chain() ref           { return ref(le.Uint32(h[8:12])) }
func (h *head) setChain(r ref)       { le.PutUint32(h[8:12], uint32(r)) }
func (h *head) newer() ref           { return ref(le.Uint32(h[12:16])) }
func (h *head) setNewer(r ref)       { le.PutUint32(h[12:16], uint32(r)) }
func (h *head) older() ref           { return ref(le.Uint32(h[16:20])) }
func (h *head) setOlder(r ref)       { le.PutUint32(h[16:20], uint32(r)) }
func (h *head) hash() uint32         { return le.Uint32(h[20:24]) }
func (h *head) setHash(v uint32)     { le.PutUint32(h[20:24], v) }
func (h *head) cas() uint64          { return le.Uint64(h[24:32]) }
func (h *head) setCAS(v uint64)      { le.PutUint64(h[24:32], v) }
func (h *head) expiry() uint32       { return le.Uint32(h[32:36]) }
func (h *head) setExpiry(v uint32)   { le.PutUint32(h[32:36], v) }
func (h *head) clientFlags() uint32  { return le.Uint32(h[36:40]) }
func (h *head) setFlags(v uint32)    { le.PutUint32(h[36:40], v) }
func (h *head) accessed() uint32     { return le.Uint32(h[40:44]) }
func (h *head) setAccessed(v uint32) { le.PutUint32(h[40:44], v) }
func (h *head) valueLen() int        { return int(le.Uint32(h[44:48])) }
func (h *head) setValueLen(n int)    { le.PutUint32(h[44:48], uint32(n)) }
func (h *head) seq() uint32          { return le.Uint32(h[48:52]) }
func (h *head) setSeq(v uint32)      { le.PutUint32(h[48:52], v) }
func (h *head) keyLen() int          { return int(h[52]) }
func (h *head) setKeyLen(n int)      { h[52] = byte(n) }
func (h *head) is(flag byte) bool    { return h[53]&flag != 0 }
func (h *head) mark(flag byte)       { h[53] |= flag }
func (h *head) unmark(flag byte)     { h[53] &^= flag }

// unitsFor is the length of an extent that holds an item whole.
func unitsFor(keyLen, valueLen int) uint32 {
	return max(minUnits, uint32((itemHeader+keyLen+valueLen+unitSize-1)>>unitShift))
}

// wireSize is what C memcached 1.6 would count for the item: its header, the
// key with a zero byte, client flags unless zero, CAS unique, and the value with
// CR LF. The limit on an item's size is held against it, so that the largest
// value is the same byte for byte.
func wireSize(keyLen int, flags uint32, valueLen int) int {
	n := 48 + 8 + keyLen + 1 + valueLen + 2
	if flags != 0 {
		n += 4
	}
	return n
}

// value is a cursor at the first byte of item r's value.
func (a *arena) value(r ref, h *head) cursor {
	c := cursor{r, itemHeader}
	if n := itemHeader + h.keyLen(); n <= int(h.units())<<unitShift {
		c.off = n
		return c
	}
	a.skip(&c, h.keyLen())
	return c
}

// hasKey compares item r's key.
func (a *arena) hasKey(r ref, h *head, key []byte) bool {
	if h.keyLen() != len(key) {
		return false
	}
	if end := itemHeader + len(key); end <= int(h.units())<<unitShift {
		return string(a.at(r)[itemHeader:end]) == string(key)
	}
	c := cursor{r, itemHeader}
	for len(key) > 0 {
		m := a.room(&c)
		m = m[:min(len(m), len(key))]
		if string(m) != string(key[:len(m)]) {
			return false
		}
		c.off += len(m)
		key = key[len(m):]
	}
	return true
}

// capacity is the number of units of item r, over all its extents.
func (a *arena) capacity(r ref) (units uint32, extents int) {
	for ; r != 0; r = a.head(r).next() {
		units += a.head(r).units()
		extents++
	}
	return units, extents
}

// releaseChain frees item r's extents.
func (a *arena) releaseChain(r ref) {
	for r != 0 {
		next := a.head(r).next()
		a.release(r)
		r = next
	}
}
