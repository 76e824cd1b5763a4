package memcached

import "math"

// memcached reads its lines with the C library. These functions read them
// alike, oddities included, so that no client finds a number or a line taken
// here that is refused there, or the other way round.

// maxTokens is how many words of a line are told apart; commands that take more
// read on by themselves.
const maxTokens = 23

// tokens are the words of a line.
type tokens struct {
	word [maxTokens][]byte
	n    int
}

// split finds the words of line. They are separated by spaces alone; a zero byte
// ends the line.
func (t *tokens) split(line []byte) {
	t.n = 0
	for i := 0; i < len(line); {
		if line[i] == ' ' {
			i++
			continue
		}
		if line[i] == 0 {
			return
		}
		j := i + 1
		for j < len(line) && line[j] != ' ' && line[j] != 0 {
			j++
		}
		t.word[t.n] = line[i:j]
		if t.n++; t.n == maxTokens {
			return
		}
		i = j
	}
}

// last is the last word, if there is one.
func (t *tokens) last() []byte {
	if t.n == 0 {
		return nil
	}
	return t.word[t.n-1]
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// scanNumber reads white space, a sign and digits. rest is what follows; ok is
// false if there is no digit, or the number needs more than 64 bits.
func scanNumber(s []byte) (magnitude uint64, negative bool, rest []byte, ok bool) {
	i := 0
	for i < len(s) && isSpace(s[i]) {
		i++
	}
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		negative = s[i] == '-'
		i++
	}
	first := i
	for i < len(s) && s[i]-'0' <= 9 {
		d := uint64(s[i] - '0')
		if magnitude > (math.MaxUint64-d)/10 {
			return 0, false, nil, false
		}
		magnitude = magnitude*10 + d
		i++
	}
	return magnitude, negative, s[i:], i > first
}

// ends reports whether a number followed by rest is complete: white space may
// follow, and anything after it. whole: nothing was cut off behind rest.
func ends(rest []byte, whole bool) bool {
	if len(rest) == 0 {
		return whole
	}
	return isSpace(rest[0])
}

// parseUint is safe_strtoul and safe_strtoull: it reads a number as strtoul
// does, which accepts a sign and wraps, and refuses it only if the result has
// its highest bit set by a minus. Bits beyond mask are cut off.
func parseUint(s []byte, whole bool, mask uint64) (uint64, bool) {
	n, negative, rest, ok := scanNumber(s)
	if !ok || !ends(rest, whole) {
		return 0, false
	}
	if negative {
		n = -n
	}
	if int64(n) < 0 {
		for _, c := range s {
			if c == '-' {
				return 0, false
			}
		}
	}
	return n & mask, true
}

func parseUint64(s []byte) (uint64, bool) { return parseUint(s, true, math.MaxUint64) }

func parseUint32(s []byte) (uint32, bool) {
	n, ok := parseUint(s, true, math.MaxUint32)
	return uint32(n), ok
}

// parseInt32 is safe_strtol: a 64-bit number of which 32 bits are taken.
func parseInt32(s []byte) (int32, bool) {
	n, negative, rest, ok := scanNumber(s)
	if !ok || !ends(rest, true) {
		return 0, false
	}
	if negative {
		if n > 1<<63 {
			return 0, false
		}
		return int32(uint32(-n)), true
	}
	if n > math.MaxInt64 {
		return 0, false
	}
	return int32(uint32(n)), true
}
