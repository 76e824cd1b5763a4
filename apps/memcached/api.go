package memcached

// Get appends the value of the item with key to dst, and returns it with its
// client flags. It counts as a get.
func (st *Store) Get(dst, key []byte) (value []byte, flags uint32, ok bool) {
	sh, hash := st.locate(key)
	now := st.clock.now()
	r, dst := sh.findFor(dst, key, hash, now)
	defer sh.mu.Unlock()
	if r == 0 {
		sh.counts.GetMisses++
		return dst, 0, false
	}
	sh.counts.GetHits++
	h := sh.head(r)
	sh.used(r, h, now)
	at := sh.value(r, h)
	return sh.appendTo(dst, &at, h.valueLen()), h.clientFlags(), true
}

// Set stores a copy of value under key. exptime is as in the protocol: 0 is
// never, up to 30 days are seconds from now, more is a Unix time, and less has
// passed already. The error is ErrTooLarge or ErrNoMemory, and an item that was
// there is gone then.
func (st *Store) Set(key, value []byte, flags uint32, exptime int64) error {
	if len(key) > MaxKeyLen {
		return ErrTooLarge
	}
	q := storing{key: key, flags: flags, expiry: st.clock.expiry(exptime)}
	result := st.check(&q, len(value))
	if result == stored {
		result, _ = st.store(&q, value)
	}
	switch result {
	case tooLarge:
		return ErrTooLarge
	case noMemory:
		return ErrNoMemory
	}
	return nil
}

// Delete removes the item with key, and reports whether there was one.
func (st *Store) Delete(key []byte) bool { return st.delete(key) }
