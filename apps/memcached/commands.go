package memcached

import "strconv"

// usage lines of several words, as memcached gives them.
const (
	errUnknown   = "ERROR\r\n"
	errFormat    = "CLIENT_ERROR bad command line format\r\n"
	errExptime   = "CLIENT_ERROR invalid exptime argument\r\n"
	errDelta     = "CLIENT_ERROR invalid numeric delta argument\r\n"
	errNumber    = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
	errDelete    = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
	errShutdown  = "ERROR: shutdown not enabled\r\n"
	errOutOfRoom = "SERVER_ERROR out of memory\r\n"
)

// execute runs the command in line, which is not a retrieval. The next line or
// the data block begins at in[end].
func (s *Session) execute(line, in []byte, end int, out []byte) (used int, outp []byte, more bool) {
	w := &s.words
	w.split(line)
	if w.n == 0 || len(w.word[0]) < 2 {
		return end, append(out, errUnknown...), true
	}
	s.meta.active = false
	switch string(w.word[0]) {
	case "set":
		return s.storage(modeSet, in, end, out)
	case "add":
		return s.storage(modeAdd, in, end, out)
	case "replace":
		return s.storage(modeReplace, in, end, out)
	case "append":
		return s.storage(modeAppend, in, end, out)
	case "prepend":
		return s.storage(modePrepend, in, end, out)
	case "cas":
		return s.storage(modeCAS, in, end, out)
	case "ms":
		return s.metaSet(in, end, out)
	}
	return end, s.simple(out), s.state != atEnd
}

// simple runs the command in s.words, which has no data block.
func (s *Session) simple(out []byte) []byte {
	w := &s.words
	switch string(w.word[0]) {
	case "delete":
		return s.delete(out)
	case "incr":
		return s.arithmetic(out, false)
	case "decr":
		return s.arithmetic(out, true)
	case "touch":
		return s.touchKey(out)
	case "mg":
		return s.metaGet(out)
	case "md":
		return s.metaDelete(out)
	case "ma":
		return s.metaArithmetic(out)
	case "me":
		return s.metaDebug(out)
	case "mn":
		return append(out, "MN\r\n"...)
	case "flush_all":
		return s.flushAll(out)
	case "cache_memlimit":
		return s.memoryLimit(out)
	case "verbosity":
		return s.verbosity(out)
	case "stats":
		return s.stats(out)
	case "version":
		out = append(out, "VERSION "...)
		out = append(out, s.srv.cfg.Version...)
		return append(out, "\r\n"...)
	case "quit":
		s.state = atEnd
		return out
	case "shutdown":
		return append(out, errShutdown...)
	}
	if s.isHTTP() {
		s.state = atEnd
		return out
	}
	return append(out, errUnknown...)
}

// isHTTP: a browser that was tricked into talking to a cache is cut off before
// the body of its request is taken for commands.
func (s *Session) isHTTP() bool {
	switch s.words.word[0][0] {
	case 'a', 'c', 'd', 'g', 'i', 's', 't':
		return false
	}
	last := s.words.last()
	return len(last) >= 5 && string(last[:5]) == "HTTP/"
}

// wantsReply notes a noreply at the end of the line. Commands look for it before
// anything else; so an error in a line that ends with it is not reported.
func (s *Session) wantsReply() bool {
	s.noreply = string(s.words.last()) == "noreply"
	return !s.noreply
}

// words in the line, the command's name included, must be between min and max.
func (s *Session) wordsWithin(min, max int) bool {
	return s.words.n >= min && s.words.n <= max
}

// storage runs the commands that have a data block:
//
//	<command> <key> <flags> <exptime> <bytes> [noreply]
//	cas       <key> <flags> <exptime> <bytes> <cas unique> [noreply]
func (s *Session) storage(mode storeMode, in []byte, end int, out []byte) (int, []byte, bool) {
	w := &s.words
	args := 5
	if mode == modeCAS {
		args = 6
	}
	if !s.wordsWithin(args, args+1) {
		return end, append(out, errUnknown...), true
	}
	s.wantsReply()
	if len(w.word[1]) > MaxKeyLen {
		return end, s.reply(out, errFormat), true
	}
	flags, ok1 := parseUint32(w.word[2])
	exptime, ok2 := parseInt32(w.word[3])
	n, ok3 := parseInt32(w.word[4])
	var cas uint64
	ok4 := true
	if mode == modeCAS {
		cas, ok4 = parseUint64(w.word[5])
	}
	if !ok1 || !ok2 || !ok3 || !ok4 || n < 0 || n > 1<<31-3 {
		return end, s.reply(out, errFormat), true
	}
	s.req = storing{
		mode:   mode,
		key:    w.word[1],
		flags:  flags,
		expiry: s.store.clock.expiry(int64(exptime)),
		cas:    cas,
	}
	return s.beginBlock(int(n), in, end, out)
}

// delete <key> [0] [noreply]
func (s *Session) delete(out []byte) []byte {
	w := &s.words
	if !s.wordsWithin(2, 4) {
		return append(out, errUnknown...)
	}
	if w.n > 2 {
		zero, quiet := string(w.word[2]) == "0", !s.wantsReply()
		if ok := w.n == 3 && (zero || quiet) || w.n == 4 && zero && quiet; !ok {
			return s.reply(out, errDelete)
		}
	}
	if len(w.word[1]) > MaxKeyLen {
		return s.reply(out, errFormat)
	}
	if s.store.delete(w.word[1]) {
		return s.reply(out, "DELETED\r\n")
	}
	return s.reply(out, "NOT_FOUND\r\n")
}

// incr|decr <key> <value> [noreply]
func (s *Session) arithmetic(out []byte, decr bool) []byte {
	w := &s.words
	if !s.wordsWithin(3, 4) {
		return append(out, errUnknown...)
	}
	s.wantsReply()
	if len(w.word[1]) > MaxKeyLen {
		return s.reply(out, errFormat)
	}
	by, ok := parseUint64(w.word[2])
	if !ok {
		return s.reply(out, errDelta)
	}
	n, result := s.store.delta(w.word[1], decr, by)
	switch result {
	case notFound:
		return s.reply(out, "NOT_FOUND\r\n")
	case notNumeric:
		return s.reply(out, errNumber)
	case noMemory:
		return s.reply(out, errOutOfRoom)
	}
	if s.noreply {
		return out
	}
	return append(strconv.AppendUint(out, n, 10), "\r\n"...)
}

// touch <key> <exptime> [noreply]
func (s *Session) touchKey(out []byte) []byte {
	w := &s.words
	if !s.wordsWithin(3, 4) {
		return append(out, errUnknown...)
	}
	s.wantsReply()
	if len(w.word[1]) > MaxKeyLen {
		return s.reply(out, errFormat)
	}
	exptime, ok := parseInt32(w.word[2])
	if !ok {
		return s.reply(out, errExptime)
	}
	if s.store.touch(w.word[1], s.store.clock.expiry(int64(exptime))) {
		return s.reply(out, "TOUCHED\r\n")
	}
	return s.reply(out, "NOT_FOUND\r\n")
}

// flush_all [delay] [noreply]
func (s *Session) flushAll(out []byte) []byte {
	w := &s.words
	if !s.wordsWithin(1, 3) {
		return append(out, errUnknown...)
	}
	s.srv.flushes.Add(1)
	delayAt := 1
	if !s.wantsReply() {
		delayAt = 2
	}
	var delay int32
	if w.n != delayAt {
		var ok bool
		if delay, ok = parseInt32(w.word[1]); !ok {
			return s.reply(out, errExptime)
		}
	}
	s.store.Flush(int64(delay))
	return s.reply(out, "OK\r\n")
}

// cache_memlimit <MiB> [noreply]
func (s *Session) memoryLimit(out []byte) []byte {
	w := &s.words
	if !s.wordsWithin(2, 3) {
		return append(out, errUnknown...)
	}
	s.wantsReply()
	limit, ok := parseUint32(w.word[1])
	switch {
	case !ok:
		return s.reply(out, errUnknown)
	case limit < 8:
		return s.reply(out, "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n")
	case limit > 1e9:
		return s.reply(out, "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n")
	case s.store.SetMemoryLimit(int64(limit)<<20) != nil:
		return s.reply(out, "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n")
	}
	return s.reply(out, "OK\r\n")
}

// verbosity <level> [noreply]. The level is remembered, and has no effect.
func (s *Session) verbosity(out []byte) []byte {
	if !s.wordsWithin(2, 3) {
		return append(out, errUnknown...)
	}
	s.wantsReply()
	level, ok := parseUint32(s.words.word[1])
	if !ok {
		return s.reply(out, errFormat)
	}
	s.srv.verbosity.Store(min(level, 2))
	return s.reply(out, "OK\r\n")
}
