package memcached

import (
	"math"
	"strconv"
)

// ms <key> <datalen> <flags>*, and the data block.
func (s *Session) metaSet(in []byte, end int, out []byte) (used int, outp []byte, more bool) {
	w := &s.words
	fault := s.metaKey(errManyFlags)
	if fault == "" && w.n == 2 {
		fault = errFormat
	}
	if fault != "" {
		return end, append(out, fault...), true
	}
	n, ok := parseInt32(w.word[2])
	if !ok || n < 0 || n > math.MaxInt32-2 {
		return end, append(out, errFormat...), true
	}
	var f metaFlags
	fault = s.metaParse(3, &f)
	mode := modeSet
	switch f.mode {
	case 0, 'S':
	case 'E':
		mode = modeAdd
	case 'A':
		mode = modeAppend
	case 'P':
		mode = modePrepend
	case 'R':
		mode = modeReplace
	default:
		if fault == "" {
			fault = "CLIENT_ERROR invalid mode for ms M token\r\n"
		}
	}
	if fault != "" {
		return s.refuseBlock(int(n), end, append(out, fault...))
	}
	if f.hasCAS && (mode == modeSet || mode == modeReplace) {
		mode = modeCAS
	}
	s.req = storing{
		mode:       mode,
		key:        w.word[1],
		flags:      f.clientFlags,
		expiry:     f.ttl,
		cas:        f.cas,
		invalidate: f.invalidate,
		binaryKey:  f.binary,
	}
	s.meta = metaReply{active: true, quiet: f.quiet}
	k := 0
	for _, word := range w.word[3:w.n] {
		switch word[0] {
		case 'O':
			s.meta.length = copy(s.meta.opaque[:], word)
		case 'k', 'c':
		default:
			continue
		}
		s.meta.order[k] = word[0]
		k++
	}
	return s.beginBlock(int(n), in, end, out)
}

// metaStored is the reply to a meta set.
func (s *Session) metaStored(out []byte, result outcome, cas uint64) []byte {
	m := &s.meta
	m.active = false
	switch result {
	case stored:
		if m.quiet {
			return out
		}
		out = append(out, "HD"...)
	case exists:
		out = append(out, "EX"...)
	case notFound:
		out = append(out, "NF"...)
	default:
		out = append(out, "NS"...)
	}
	for _, flag := range m.order {
		switch flag {
		case 'O':
			out = append(append(out, ' '), m.opaque[:m.length]...)
		case 'k':
			out = appendMetaKey(out, s.req.key, s.req.binaryKey)
		case 'c':
			out = appendFlag(out, 'c', cas)
		}
	}
	return append(out, "\r\n"...)
}

// md <key> <flags>*
func (s *Session) metaDelete(out []byte) []byte {
	if fault := s.metaKey(errManyFlags); fault != "" {
		return append(out, fault...)
	}
	var f metaFlags
	if fault := s.metaParse(2, &f); fault != "" {
		if fault != errOpaque {
			fault = errBadFlags
		}
		return append(out, fault...)
	}
	code := s.store.metaDelete(s.words.word[1], &f)
	if code == "HD" && f.quiet {
		return out
	}
	return append(s.appendEchoes(append(out, code...), f.binary), "\r\n"...)
}

func (st *Store) metaDelete(key []byte, f *metaFlags) string {
	sh, hash := st.locate(key)
	now := st.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	r := sh.find(key, hash, now)
	if r == 0 {
		sh.counts.DeleteMisses++
		return "NF"
	}
	h := sh.head(r)
	if f.hasCAS && f.cas != h.cas() {
		sh.counts.DeleteMisses++
		return "EX"
	}
	if f.invalidate {
		if f.hasTTL {
			sh.expire(h, f.ttl)
		}
		h.mark(itemStale)
		h.unmark(itemWon)
		h.setCAS(sh.nextCAS())
		return "HD"
	}
	sh.counts.DeleteHits++
	sh.drop(r, h)
	return "HD"
}

// ma <key> <flags>*
func (s *Session) metaArithmetic(out []byte) []byte {
	if fault := s.metaKey(errManyFlags); fault != "" {
		return append(out, fault...)
	}
	f := metaFlags{delta: 1}
	if fault := s.metaParse(2, &f); fault != "" {
		if fault != errOpaque {
			fault = errBadFlags
		}
		return append(out, fault...)
	}
	decr := false
	switch f.mode {
	case 0, 'I', '+':
	case 'D', '-':
		decr = true
	default:
		return append(out, "CLIENT_ERROR invalid mode for ma M token\r\n"...)
	}
	key := s.words.word[1]
	sh, hash := s.store.locate(key)
	now := s.store.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	r, n, result := sh.delta(key, hash, now, decr, f.delta, f.cas)
	created := false
	switch result {
	case stored:
		if f.quiet {
			// The flags are gone through all the same: T changes the item.
			_ = s.metaDeltaFlags(nil, sh, sh.head(r), &f, now, false)
			return out
		}
	case notNumeric:
		return append(out, errNumber...)
	case noMemory:
		return append(out, errOutOfRoom...)
	case exists:
		return append(s.appendEchoes(append(out, "EX"...), f.binary), "\r\n"...)
	case notFound:
		if !f.vivify {
			sh.countDeltaMiss(decr)
			return append(s.appendEchoes(append(out, "NF"...), f.binary), "\r\n"...)
		}
		var scratch [20]byte
		n = f.initial
		r = sh.vivify(key, strconv.AppendUint(scratch[:0], n, 10), hash, now, f.binary)
		if r == 0 {
			return append(out, "SERVER_ERROR Out of memory allocating new item\r\n"...)
		}
		created = true
	}
	var scratch [20]byte
	number := strconv.AppendUint(scratch[:0], n, 10)
	if f.value {
		out = strconv.AppendInt(append(out, "VA "...), int64(len(number)), 10)
	} else {
		out = append(out, "HD"...)
	}
	out = append(s.metaDeltaFlags(out, sh, sh.head(r), &f, now, created), "\r\n"...)
	if f.value {
		out = append(append(out, number...), "\r\n"...)
	}
	return out
}

func (s *Session) metaDeltaFlags(out []byte, sh *shard, h *head, f *metaFlags, now uint32, created bool) []byte {
	for _, word := range s.words.word[2:s.words.n] {
		switch word[0] {
		case 'c':
			out = appendFlag(out, 'c', h.cas())
		case 't':
			out = appendTTL(out, h, now)
		case 'T':
			sh.expire(h, f.ttl)
		case 'N':
			if created {
				sh.expire(h, f.vivTTL)
			}
		case 'O':
			out = append(append(out, ' '), word...)
		case 'k':
			out = appendMetaKey(out, s.words.word[1], f.binary)
		}
	}
	return out
}
