package memcached

// The keys of a get are answered one by one, while the replies have room, and a
// key as soon as it is there: so a get of any length needs neither the memory
// for its line nor that for all its values.

// retrieval tells whether line is a get, gets, gat, gats or bget, and where its
// name begins.
func retrieval(line []byte) (from int, ok bool) {
	for from < len(line) && line[from] == ' ' {
		from++
	}
	word := line[from:]
	if len(word) < 3 || word[0] != 'g' && word[0] != 'b' {
		return from, false
	}
	for i, c := range word {
		if c == ' ' {
			word = word[:i]
			break
		}
		if i == 4 {
			return from, false
		}
	}
	switch string(word) {
	case "get", "gets", "gat", "gats", "bget":
		return from, true
	}
	return from, false
}

// beginKeys begins the retrieval command at in[from:]. end is where the line
// ends, in which case its keys are checked before any of them is answered, as
// memcached does; or -1 for a line that is still coming.
func (s *Session) beginKeys(in []byte, from, end int, out []byte) (used int, outp []byte, more bool) {
	line := in
	if end < 0 {
		line = in[:maxLine+1] // as much as is there however the input was cut
	}
	word := nextWord(line, from)
	name := line[from:word]
	s.withCAS = name[len(name)-1] == 's'
	s.touch = name[0] == 'g' && name[1] == 'a'
	at := word
	first := skipSpaces(line, at)
	if end >= 0 && first == len(line) {
		return end, append(out, "ERROR\r\n"...), true
	}
	if s.touch {
		at = nextWord(line, first)
		exptime, ok := parseInt32(line[first:at])
		if !ok || end < 0 && at == len(line) {
			out = append(out, "CLIENT_ERROR invalid exptime argument\r\n"...)
			return s.endLine(end, out)
		}
		s.expiry = s.store.clock.expiry(int64(exptime))
	}
	if end >= 0 {
		for i := skipSpaces(line, at); i < len(line); {
			j := nextWord(line, i)
			if j-i > MaxKeyLen {
				return end, append(out, "CLIENT_ERROR bad command line format\r\n"...), true
			}
			i = skipSpaces(line, j)
		}
	}
	s.state = inKeys
	return at, out, true
}

// endLine is done with the line that ends at end, or with one that has no end
// yet.
func (s *Session) endLine(end int, out []byte) (used int, outp []byte, more bool) {
	if end < 0 {
		s.state = inRestLine
		return 0, out, true
	}
	return end, out, true
}

// keys answers the keys of a retrieval command that are there.
func (s *Session) keys(in, out []byte, before int) (used int, outp []byte, more bool) {
	for len(out)-before < replyRoom {
		i := skipSpaces(in, used)
		j := i
		for j < len(in) && in[j] != ' ' && in[j] != '\n' && in[j] != 0 {
			j++
		}
		key := in[i:j]
		if j == len(in) {
			// The key may go on, or its last byte be half of the line's end.
			if len(key) <= MaxKeyLen+1 {
				return i, out, false
			}
		} else if in[j] == '\n' && len(key) > 0 && key[len(key)-1] == '\r' {
			key = key[:len(key)-1]
		}
		if len(key) > MaxKeyLen {
			s.state = inRestLine
			return i, append(out, "CLIENT_ERROR bad command line format\r\n"...), true
		}
		if len(key) > 0 {
			out = s.store.appendItem(out, key, s.withCAS, s.touch, s.expiry)
		}
		used = j
		if in[j] == ' ' {
			continue
		}
		out = append(out, "END\r\n"...)
		if in[j] == 0 {
			s.state = inRestLine
			return used, out, true
		}
		s.state = atCommand
		return used + 1, out, true
	}
	return used, out, true
}

func skipSpaces(line []byte, i int) int {
	for i < len(line) && line[i] == ' ' {
		i++
	}
	return i
}

// nextWord is the end of the word that begins at i.
func nextWord(line []byte, i int) int {
	for i < len(line) && line[i] != ' ' {
		i++
	}
	return i
}
