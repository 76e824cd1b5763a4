package udp

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"shardnet/stack/internal/netstack"
)

// queue holds the datagrams that bypassed netstack until ReadFrom takes
// them: a ring of bytes, in which each datagram is a header and its payload, in one
// piece. It grows by doubling up to limit as the reader falls behind, and a
// datagram that does not fit then is lost, as in any socket; one alone always fits,
// and for that buf may be longer than limit.
//
// The loop pushes, the application pops, under mu.
type queue struct {
	mu    sync.Mutex
	buf   []byte // a power of two
	head  int    // offset of the oldest record
	used  int    // bytes from head, records and the unused end of buf
	count int
	limit int // of used, in bytes
}

const (
	datagramHeader = 40 // length 4, port 2, is it IPv4 1, unused 1, source address 16, destination address 16
	minQueue       = 4 << 10
	skipToBegin    = ^uint32(0) // as length: the rest of buf is unused
)

// push appends a datagram. It returns false when there is no room, ever or now.
// from and to are of one family.
func (q *queue) push(from, to netip.Addr, port uint16, payload []byte) bool {
	need := (datagramHeader + len(payload) + 7) &^ 7
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count > 0 && q.used+need > q.limit {
		return false
	}
	at, ok := q.room(need)
	for !ok {
		if !q.grow(need) {
			return false
		}
		at, ok = q.room(need)
	}
	rec := q.buf[at : at+need]
	binary.NativeEndian.PutUint32(rec, uint32(len(payload)))
	binary.NativeEndian.PutUint16(rec[4:], port)
	rec[6] = 0
	if from.Is4() {
		rec[6] = 1
		*(*[4]byte)(rec[8:]) = from.As4()
		*(*[4]byte)(rec[24:]) = to.As4()
	} else {
		*(*[16]byte)(rec[8:]) = from.As16()
		*(*[16]byte)(rec[24:]) = to.As16()
	}
	copy(rec[datagramHeader:], payload)
	q.used += need
	q.count++
	return true
}

// room finds need bytes in one piece and returns their offset. The caller holds
// mu.
func (q *queue) room(need int) (int, bool) {
	if len(q.buf) == 0 {
		return 0, false
	}
	tail := (q.head + q.used) & (len(q.buf) - 1)
	free := len(q.buf) - q.used
	if end := len(q.buf) - tail; free > 0 && need > end && tail >= q.head {
		// The piece at the end is too short: the ring goes on at its beginning.
		if need > free-end {
			return 0, false
		}
		binary.NativeEndian.PutUint32(q.buf[tail:], skipToBegin)
		q.used += end
		return 0, true
	}
	return tail, need <= free
}

// grow doubles the buffer, for need bytes more. It returns false at the limit,
// unless there is nothing else in it.
func (q *queue) grow(need int) bool {
	size := max(2*len(q.buf), minQueue)
	for size < need {
		size *= 2
	}
	if size > q.limit && q.count > 0 {
		return false
	}
	buf, at := make([]byte, size), 0
	for range q.count {
		rec := q.oldest()
		at += copy(buf[at:], rec)
		q.drop(len(rec))
	}
	q.buf, q.head, q.used = buf, 0, at
	return true
}

// oldest is the record at head, there being one. The caller holds mu.
func (q *queue) oldest() []byte {
	n := binary.NativeEndian.Uint32(q.buf[q.head:])
	if n == skipToBegin {
		q.used -= len(q.buf) - q.head
		q.head = 0
		n = binary.NativeEndian.Uint32(q.buf)
	}
	return q.buf[q.head : q.head+(datagramHeader+int(n)+7)&^7]
}

// drop takes the record at head, of n bytes, out. The caller holds mu.
func (q *queue) drop(n int) {
	q.head = (q.head + n) & (len(q.buf) - 1)
	q.used -= n
}

// pop copies the oldest datagram to p, as much as fits; the rest is lost. ok is
// false when there is none.
func (q *queue) pop(p []byte) (n int, from netip.AddrPort, to netip.Addr, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count == 0 {
		return 0, from, to, false
	}
	rec := q.oldest()
	n = copy(p, rec[datagramHeader:datagramHeader+int(binary.NativeEndian.Uint32(rec))])
	var addr netip.Addr
	if rec[6] == 1 {
		addr, to = netip.AddrFrom4([4]byte(rec[8:])), netip.AddrFrom4([4]byte(rec[24:]))
	} else {
		addr, to = netip.AddrFrom16([16]byte(rec[8:])), netip.AddrFrom16([16]byte(rec[24:]))
	}
	from = netip.AddrPortFrom(addr, binary.NativeEndian.Uint16(rec[4:]))
	q.drop(len(rec))
	if q.count--; q.count == 0 {
		q.head, q.used = 0, 0
	}
	return n, from, to, true
}

// empty reports whether nothing waits.
func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.count == 0
}

// setLimit bounds the queue to about bytes. What is queued stays.
func (q *queue) setLimit(bytes int) {
	size := minQueue
	for size < bytes && size < netstack.UDPBufferMax {
		size *= 2
	}
	q.mu.Lock()
	q.limit = size
	q.mu.Unlock()
}

// release drops what is queued, and the buffer.
func (q *queue) release() {
	q.mu.Lock()
	q.buf, q.head, q.used, q.count, q.limit = nil, 0, 0, 0, 0
	q.mu.Unlock()
}
