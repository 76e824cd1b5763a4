package memcached

import (
	"encoding/base64"
	"strconv"
)

// The meta commands (memcached's doc/protocol.txt, Meta Commands): a command of
// two letters, a key, and flags of one letter with an argument each perhaps.
// What flags ask to have returned comes in their order.

const (
	maxMetaWords = 19
	maxOpaqueLen = 32 // with its O
)

// metaFlags are the flags of one command.
type metaFlags struct {
	binary     bool // b
	noBump     bool // u
	quiet      bool // q
	value      bool // v
	invalidate bool // I
	vivify     bool // N
	hasTTL     bool // T
	hasCAS     bool // C

	mode                 byte // M
	ttl, vivTTL, recache uint32
	clientFlags          uint32
	cas, delta, initial  uint64
}

// metaReply is what a meta set returns once its data block is there.
type metaReply struct {
	active bool // the present storage command is a meta set
	quiet  bool
	order  [3]byte // of O, k and c
	opaque [maxOpaqueLen]byte
	length int // of opaque
}

const (
	errDuplicate = "CLIENT_ERROR duplicate flag\r\n"
	errFlag      = "CLIENT_ERROR invalid flag\r\n"
	errBadFlags  = "CLIENT_ERROR invalid or duplicate flag\r\n"
	errToken     = "CLIENT_ERROR bad token in command line format\r\n"
	errDecode    = "CLIENT_ERROR error decoding key\r\n"
	errOpaque    = "CLIENT_ERROR opaque token too long\r\n"
	errModeSize  = "CLIENT_ERROR incorrect length for M token\r\n"
	errInitial   = "CLIENT_ERROR invalid numeric initial value\r\n"
	errByDelta   = "CLIENT_ERROR invalid numeric delta value\r\n"
	errManyFlags = "CLIENT_ERROR options flags too long\r\n"
)

// metaKey checks the number of words and the key's length.
func (s *Session) metaKey(manyFlags string) (fault string) {
	switch w := &s.words; {
	case w.n < 2:
		return errUnknown
	case len(w.word[1]) > MaxKeyLen:
		return errFormat
	case w.n > maxMetaWords:
		return manyFlags
	}
	return ""
}

// metaParse reads the flags, which begin with word start, and decodes the key.
// Parsing goes on after a bad argument, and the last fault is the one returned, except
// that F's gives way to any other. Parsing ends at a flag that is unknown or comes
// twice.
func (s *Session) metaParse(start int, f *metaFlags) (fault string) {
	var seen [2]uint64
	for i := start; i < s.words.n; i++ {
		word := s.words.word[i]
		o, arg := word[0], word[1:]
		if o >= 127 || seen[o>>6]&(1<<(o&63)) != 0 {
			return errDuplicate
		}
		seen[o>>6] |= 1 << (o & 63)
		ok, why := true, errToken
		switch o {
		case 'b':
			f.binary = true
			ok, why = s.decodeKey(), errDecode
		case 'N':
			f.vivify = true
			f.vivTTL, ok = s.metaTTL(arg)
		case 'T':
			f.hasTTL = true
			f.ttl, ok = s.metaTTL(arg)
		case 'R':
			f.recache, ok = s.metaTTL(arg)
		case 'F':
			f.clientFlags, ok = parseUint32(arg)
			why = errFormat
		case 'C':
			f.hasCAS = true
			f.cas, ok = parseUint64(arg)
		case 'M':
			if ok, why = len(arg) == 1, errModeSize; ok {
				f.mode = arg[0]
			}
		case 'J':
			f.initial, ok = parseUint64(arg)
			why = errInitial
		case 'D':
			f.delta, ok = parseUint64(arg)
			why = errByDelta
		case 'O':
			ok, why = len(word) <= maxOpaqueLen, errOpaque
		case 'v':
			f.value = true
		case 'u':
			f.noBump = true
		case 'q':
			f.quiet = true
		case 'I':
			f.invalidate = true
		case 'P', 'L', 'k', 's', 't', 'c', 'f', 'l', 'h':
		default:
			return errFlag
		}
		if !ok && (o != 'F' || fault == "") {
			fault = why
		}
	}
	return fault
}

func (s *Session) metaTTL(arg []byte) (uint32, bool) {
	n, ok := parseInt32(arg)
	return s.store.clock.expiry(int64(n)), ok
}

// decodeKey replaces a key in base64 by the bytes it means.
func (s *Session) decodeKey() bool {
	n, err := base64.StdEncoding.Decode(s.key[:], s.words.word[1])
	if err != nil || n == 0 {
		return false
	}
	s.words.word[1] = s.key[:n]
	return true
}

func appendFlag(out []byte, flag byte, n uint64) []byte {
	return strconv.AppendUint(append(out, ' ', flag), n, 10)
}

// appendMetaKey appends a k flag: in base64, and with a b behind, if binary.
func appendMetaKey(out, key []byte, binary bool) []byte {
	out = append(out, " k"...)
	if !binary {
		return append(out, key...)
	}
	out = base64.StdEncoding.AppendEncode(out, key)
	return append(out, " b"...)
}

// appendEchoes appends the flags that only hand back what was sent: O and k.
func (s *Session) appendEchoes(out []byte, binary bool) []byte {
	for _, word := range s.words.word[2:s.words.n] {
		switch word[0] {
		case 'O':
			out = append(append(out, ' '), word...)
		case 'k':
			out = appendMetaKey(out, s.words.word[1], binary)
		}
	}
	return out
}
