package rawload

import (
	"math/rand/v2"
	"strconv"
	"sync"
)

// patternLen is the period of the pattern: a power of two, so that offsets of 32
// bits may wrap.
const patternLen = 1 << 16

// pattern is random bytes with period patternLen, and long enough for maxPayload
// from any place in the first period. It is the same in every process.
var pattern = sync.OnceValue(func() []byte {
	p := make([]byte, patternLen+maxPayload)
	rng := rand.New(rand.NewPCG(0x5ba1, 0xd9e7))
	for i := 0; i < patternLen; i += 8 {
		be.PutUint64(p[i:], rng.Uint64())
	}
	copy(p[patternLen:], p)
	return p
})

// Memcached keys have one length, so that a request's length does not depend on
// the key: the value's size and the key's number, in hexadecimal. So anybody who
// sees a key can make its value.
const (
	keyLen        = 14 // "00040-0000002a"
	memFrameLen   = 8
	memDatagram   = 1400 // what memcached sends in a datagram at most
	valueOverhead = len("VALUE  4294967295 65536\r\n\r\nEND\r\n") + keyLen
)

const hexDigits = "0123456789abcdef"

// appendKey appends the key of number k and value size n.
func appendKey(b []byte, k uint32, n int) []byte {
	for shift := 16; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[n>>shift&15])
	}
	b = append(b, '-')
	for shift := 28; shift >= 0; shift -= 4 {
		b = append(b, hexDigits[k>>shift&15])
	}
	return b
}

// parseKey is appendKey's inverse.
func parseKey(b []byte) (k uint32, n int, ok bool) {
	if len(b) < keyLen || b[5] != '-' {
		return 0, 0, false
	}
	var v [2]uint32
	for i, c := range b[:keyLen] {
		which := 0
		if i == 5 {
			continue
		} else if i > 5 {
			which = 1
		}
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		default:
			return 0, 0, false
		}
		v[which] = v[which]<<4 | uint32(c)
	}
	return v[1], int(v[0]), v[0] <= maxPayload
}

// value is the value of key k, of n bytes. The key's flags are k.
func value(k uint32, n int) []byte {
	return pattern()[(k*0x9e3779b1)>>16:][:n]
}

// appendGet appends a get of key k, with n bytes of value.
func appendGet(b []byte, k uint32, n int) []byte {
	b = append(b, "get "...)
	b = appendKey(b, k, n)
	return append(b, "\r\n"...)
}

// appendSetLine appends the first line of a set; the value and an end of line
// follow.
func appendSetLine(b []byte, k uint32, n int) []byte {
	b = append(b, "set "...)
	b = appendKey(b, k, n)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(k), 10)
	b = append(b, " 0 "...)
	b = strconv.AppendUint(b, uint64(n), 10)
	return append(b, "\r\n"...)
}

func appendSet(b []byte, k uint32, n int) []byte {
	b = appendSetLine(b, k, n)
	b = append(b, value(k, n)...)
	return append(b, "\r\n"...)
}

// appendValueLine appends the first line of the answer to a get.
func appendValueLine(b []byte, k uint32, n int) []byte {
	b = append(b, "VALUE "...)
	b = appendKey(b, k, n)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(k), 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, uint64(n), 10)
	return append(b, "\r\n"...)
}

const (
	valueEnd = "\r\nEND\r\n"
	stored   = "STORED\r\n"
)

// appendValue appends the answer to a get.
func appendValue(b []byte, k uint32, n int) []byte {
	b = appendValueLine(b, k, n)
	b = append(b, value(k, n)...)
	return append(b, valueEnd...)
}

// The period of RFC 864's pattern: 95 lines of 72 characters.
const (
	chargenLine   = 74
	chargenPeriod = 95 * chargenLine
)

var chargen = sync.OnceValue(func() []byte {
	p := make([]byte, chargenPeriod+maxPayload)
	for i := range p {
		line, column := i%chargenPeriod/chargenLine, i%chargenLine
		switch column {
		case chargenLine - 2:
			p[i] = '\r'
		case chargenLine - 1:
			p[i] = '\n'
		default:
			p[i] = byte(' ' + (line+column)%95)
		}
	}
	return p
})

// Chargen fills b with RFC 864's pattern (95 printing characters, in lines of 72
// and CRLF that begin one character later each) from offset off of its stream.
// That is what a server of BulkReceive sends.
func Chargen(b []byte, off uint64) {
	for len(b) > 0 {
		n := copy(b, chargen()[off%chargenPeriod:])
		b, off = b[n:], off+uint64(n)
	}
}
