package pcap

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// direction is the value of epb_flags bits 0 and 1.
// Source: draft-ietf-opsawg-pcapng, section 4.3.1.
type direction uint32

const (
	inbound  direction = 1
	outbound direction = 2
)

// record is one captured frame. As given by ring.peek, data is memory of the
// ring and valid until ring.pop.
type record struct {
	time int64 // nanoseconds since 1970
	wire uint32
	dir  direction
	data []byte
}

// A record lies in the ring as a header (time, wire length, captured length,
// direction, unused) and the captured bytes, padded to 8. It never wraps: when
// the rest of the ring is too short for it, that rest is skipped, said by a
// header with skipMark for the captured length, or by there being no room for
// a header at all.
const (
	headerSize = 24
	skipMark   = ^uint32(0)
)

// ring carries records from the owner of a queue to the goroutine that writes
// the capture: one producer, one consumer, no lock, no allocation.
//
// Positions count bytes since the start and never wrap in practice; the place
// in buf is the position modulo its size, a power of two.
type ring struct {
	buf []byte

	// Producer's side. staged is where the next record goes: between tail and
	// staged lie records the consumer does not see yet.
	staged    uint64
	headCache uint64 // last head seen, so that head's cache line is read only when the ring looks full
	_         [64]byte

	// tail is stored by the producer after the records before it are written,
	// and loaded by the consumer before it reads them.
	tail atomic.Uint64
	_    [64]byte

	// head is stored by the consumer after it is done with the records before
	// it, and loaded by the producer before it writes over them.
	head atomic.Uint64
	_    [64]byte
}

// newRing returns a ring of at least size bytes.
func newRing(size int) *ring {
	if size < 4*headerSize {
		size = 4 * headerSize
	}
	return &ring{buf: make([]byte, 1<<bits.Len(uint(size-1)))}
}

// stage copies a frame's first snap bytes into the ring without showing it to
// the consumer. It reports false when there is no room.
func (r *ring) stage(now int64, dir direction, frame []byte, snap int) bool {
	n := min(len(frame), snap)
	need := uint64(headerSize + (n+7)&^7)
	size := uint64(len(r.buf))
	at := r.staged & (size - 1)
	var skip uint64
	if size-at < need {
		skip = size - at
	}
	if r.staged+skip+need-r.headCache > size {
		r.headCache = r.head.Load()
		if r.staged+skip+need-r.headCache > size {
			return false
		}
	}
	if skip > 0 {
		if skip >= headerSize {
			binary.LittleEndian.PutUint32(r.buf[at+12:], skipMark)
		}
		r.staged += skip
		at = 0
	}
	h := r.buf[at : at+headerSize : at+headerSize]
	binary.LittleEndian.PutUint64(h[0:], uint64(now))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(frame)))
	binary.LittleEndian.PutUint32(h[12:], uint32(n))
	binary.LittleEndian.PutUint32(h[16:], uint32(dir))
	copy(r.buf[at+headerSize:], frame[:n])
	r.staged += need
	return true
}

// publish shows the first n staged records to the consumer and forgets the
// rest. There must be n.
func (r *ring) publish(n int) {
	pos := r.tail.Load()
	for ; n > 0; n-- {
		pos = r.recordAt(pos)
		_, pos = r.parse(pos)
	}
	r.staged = pos
	r.tail.Store(pos)
}

// empty says whether the consumer has nothing to take.
func (r *ring) empty() bool { return r.head.Load() == r.tail.Load() }

// peek returns the oldest published record and the position behind it, to be
// given to pop.
func (r *ring) peek() (rec record, next uint64, ok bool) {
	pos := r.head.Load()
	if pos == r.tail.Load() {
		return record{}, 0, false
	}
	rec, next = r.parse(r.recordAt(pos))
	return rec, next, true
}

// pop gives the memory before next back to the producer.
func (r *ring) pop(next uint64) { r.head.Store(next) }

// recordAt steps over the skipped rest of the ring, if pos is at one.
func (r *ring) recordAt(pos uint64) uint64 {
	size := uint64(len(r.buf))
	at := pos & (size - 1)
	if rest := size - at; rest < headerSize || binary.LittleEndian.Uint32(r.buf[at+12:]) == skipMark {
		return pos + rest
	}
	return pos
}

// parse reads the record at pos, and returns the position behind it.
func (r *ring) parse(pos uint64) (record, uint64) {
	at := pos & uint64(len(r.buf)-1)
	h := r.buf[at : at+headerSize]
	n := uint64(binary.LittleEndian.Uint32(h[12:]))
	return record{
		time: int64(binary.LittleEndian.Uint64(h[0:])),
		wire: binary.LittleEndian.Uint32(h[8:]),
		dir:  direction(binary.LittleEndian.Uint32(h[16:])),
		data: r.buf[at+headerSize : at+headerSize+n],
	}, pos + headerSize + (n+7)&^7
}
