package memcached

import (
	"encoding/base64"
	"strconv"
)

// mg <key> <flags>*
func (s *Session) metaGet(out []byte) []byte {
	if fault := s.metaKey("CLIENT_ERROR options flags are too long\r\n"); fault != "" {
		return append(out, fault...)
	}
	var f metaFlags
	if fault := s.metaParse(2, &f); fault != "" {
		return append(out, fault...)
	}
	key := s.words.word[1]
	sh, hash := s.store.locate(key)
	now := s.store.clock.now()
	r, out := sh.findFor(out, key, hash, now)
	defer sh.mu.Unlock()
	created := false
	if r == 0 && f.vivify {
		if r = sh.vivify(key, nil, hash, now, f.binary); r != 0 {
			created = true
		}
	}
	if r == 0 {
		if f.hasTTL {
			sh.counts.CmdTouch++
			sh.counts.TouchMisses++
		} else {
			sh.counts.GetMisses++
		}
		if f.quiet {
			return out
		}
		return append(s.appendEchoes(append(out, "EN"...), f.binary), "\r\n"...)
	}
	h := sh.head(r)
	if f.hasTTL {
		sh.counts.CmdTouch++
		sh.counts.TouchHits++
	} else {
		sh.counts.GetHits++
	}
	if f.value {
		out = strconv.AppendInt(append(out, "VA "...), int64(h.valueLen()), 10)
	} else {
		out = append(out, "HD"...)
	}
	out, won := s.metaGetFlags(out, sh, r, &f, now, created)
	sent := h.is(itemWon)
	if sent {
		out = append(out, " Z"...)
	}
	if h.is(itemStale) {
		out = append(out, " X"...)
		won = won || !sent
	}
	if won {
		out = append(out, " W"...)
		h.mark(itemWon)
	}
	out = append(out, "\r\n"...)
	if f.value {
		at := sh.value(r, h)
		out = append(sh.appendTo(out, &at, h.valueLen()), "\r\n"...)
	}
	if !f.noBump {
		sh.used(r, h, now)
	}
	return out
}

// metaGetFlags goes through the flags of a hit, in order: some change the item,
// others return something of it. won: the client is to recache the item.
func (s *Session) metaGetFlags(out []byte, sh *shard, r ref, f *metaFlags, now uint32, created bool) (_ []byte, won bool) {
	h := sh.head(r)
	for _, word := range s.words.word[2:s.words.n] {
		switch word[0] {
		case 'T':
			sh.expire(h, f.ttl)
		case 'N':
			if created {
				sh.expire(h, f.vivTTL)
				won = true
			}
		case 'R':
			if !created && !h.is(itemWon) && h.expiry() != 0 && h.expiry() < f.recache {
				won = true
			}
		case 's':
			out = appendFlag(out, 's', uint64(h.valueLen()))
		case 't':
			out = appendTTL(out, h, now)
		case 'c':
			out = appendFlag(out, 'c', h.cas())
		case 'f':
			out = appendFlag(out, 'f', uint64(h.clientFlags()))
		case 'l':
			out = appendFlag(out, 'l', uint64(now-min(now, h.accessed())))
		case 'h':
			hit := uint64(0)
			if h.is(itemFetched) {
				hit = 1
			}
			out = appendFlag(out, 'h', hit)
		case 'O':
			out = append(append(out, ' '), word...)
		case 'k':
			out = appendMetaKey(out, s.words.word[1], h.is(itemBinaryKey))
		}
	}
	return out, won
}

func appendTTL(out []byte, h *head, now uint32) []byte {
	if h.expiry() == 0 {
		return append(out, " t-1"...)
	}
	return appendFlag(out, 't', uint64(h.expiry()-min(now, h.expiry())))
}

// vivify makes an item that was missed. It never expires, until told otherwise.
func (sh *shard) vivify(key, value []byte, hash, now uint32, binary bool) ref {
	r := sh.alloc(key, len(value), now)
	if r == 0 {
		sh.counts.StoreNoMemory++
		return 0
	}
	h := sh.head(r)
	at := sh.value(r, h)
	sh.write(&at, value)
	h.setFlags(0)
	sh.expire(h, 0)
	if binary {
		h.mark(itemBinaryKey)
	}
	sh.link(r, hash, now)
	return r
}

// me <key> [b]: what is known of an item, for people.
func (s *Session) metaDebug(out []byte) []byte {
	w := &s.words
	if w.n < 2 || len(w.word[1]) > MaxKeyLen {
		return append(out, errFormat...)
	}
	if w.n > 2 && string(w.word[2]) == "b" && !s.decodeKey() {
		return append(out, errFormat...)
	}
	key := w.word[1]
	sh, hash := s.store.locate(key)
	now := s.store.clock.now()
	sh.lock(now)
	defer sh.mu.Unlock()
	r := sh.find(key, hash, now)
	if r == 0 {
		return append(out, "EN\r\n"...)
	}
	h := sh.head(r)
	out = append(out, "ME "...)
	if h.is(itemBinaryKey) {
		out = base64.StdEncoding.AppendEncode(out, key)
	} else {
		out = append(out, key...)
	}
	out = append(out, " exp="...)
	if h.expiry() == 0 {
		out = append(out, "-1"...)
	} else {
		out = strconv.AppendUint(out, uint64(h.expiry()-min(now, h.expiry())), 10)
	}
	out = strconv.AppendUint(append(out, " la="...), uint64(now-min(now, h.accessed())), 10)
	out = strconv.AppendUint(append(out, " cas="...), h.cas(), 10)
	if h.is(itemFetched) {
		out = append(out, " fetch=yes"...)
	} else {
		out = append(out, " fetch=no"...)
	}
	units, _ := sh.capacity(r)
	out = strconv.AppendUint(append(out, " cls=1 size="...), uint64(units)*unitSize, 10)
	return append(out, "\r\n"...)
}
