package rawload

import "fmt"

// setBit marks the key of a request that is a set.
const setBit = 1 << 31

// memProtocol is MemcachedTCP's: get and set of the text protocol.
type memProtocol struct {
	keys *keys
	size int
	load *filling // preloading: what is to be set; nil otherwise
}

// filling goes through all keys once.
type filling struct{ next, stored, n uint32 }

func (p *memProtocol) next(r *request) int {
	k, set := uint32(0), true
	switch f := p.load; {
	case f == nil:
		k, set = p.keys.pick()
	case f.next == f.n:
		return 0
	default:
		k = f.next
		f.next++
	}
	if !set {
		r.key = k
		return 4 + keyLen + 2
	}
	r.key = k | setBit
	return len("set   0 \r\n\r\n") + keyLen + digits(k) + digits(uint32(p.size)) + p.size
}

// fill implements protocol. Usually b is within the newest request.
func (p *memProtocol) fill(rs requestRing, seq uint32, b []byte) {
	n := rs.tail
	for n != rs.head {
		n--
		if int32(seq-rs.at(n).start) >= 0 {
			break
		}
	}
	for ; n != rs.tail && len(b) > 0; n++ {
		r := rs.at(n)
		var scratch [96]byte
		var parts [3][]byte
		if k := r.key &^ setBit; r.key&setBit != 0 {
			parts = [3][]byte{appendSetLine(scratch[:0], k, p.size), value(k, p.size), crlf}
		} else {
			parts[0] = appendGet(scratch[:0], k, p.size)
		}
		off := int(seq - r.start)
		for _, part := range parts {
			if off >= len(part) {
				off -= len(part)
				continue
			}
			m := copy(b, part[off:])
			b, seq, off = b[m:], seq+uint32(m), 0
		}
	}
	clear(b) // answered already, and sent again: nobody looks at it
}

var (
	crlf      = []byte("\r\n")
	endBytes  = []byte(valueEnd)
	storedMsg = []byte(stored)
)

// answer implements protocol.
func (p *memProtocol) answer(r *request, off uint32, b []byte) (n int, done bool, what string) {
	var scratch [valueOverhead]byte
	parts := [3][]byte{storedMsg}
	if r.key&setBit == 0 {
		parts = [3][]byte{appendValueLine(scratch[:0], r.key, p.size), value(r.key, p.size), endBytes}
	}
	at := int(off)
	for _, part := range parts {
		if at >= len(part) {
			at -= len(part)
			continue
		}
		m := min(len(part)-at, len(b)-n)
		if string(b[n:n+m]) != string(part[at:at+m]) {
			return 0, false, p.complaint(r, off, b)
		}
		if n += m; at+m < len(part) {
			return n, false, ""
		}
		at = 0
	}
	if p.load != nil {
		p.load.stored++
	}
	return n, true, ""
}

func (p *memProtocol) complaint(r *request, off uint32, b []byte) string {
	switch {
	case r.key&setBit != 0:
		return "set was not answered by STORED"
	case off == 0 && len(b) >= 3 && string(b[:3]) == "END":
		return "key was not found"
	}
	return fmt.Sprintf("get was answered by another key, flags, size or value, from byte %d on", off)
}

// runMemcached runs MemcachedTCP.
func (t *tcpLoad) runMemcached(w Work) error {
	fill := &filling{n: uint32(w.Keys)}
	a := newRequester(t, &memProtocol{size: w.Value, load: fill}, w.Window)
	t.app = a
	if err := t.connect(openRate); err != nil || t.g.stop.Load() {
		return err
	}
	a.fillReady(w.Window)
	t.g.tick()
	a.p = newPacer(0, t.g.now)
	t.heard = t.g.now
	err := t.stage(a.issue, a.wake, func() bool {
		return a.drained && a.outstanding == 0 || t.live == 0 || t.g.now-t.heard > int64(stallTime)
	})
	if err != nil || t.g.stop.Load() {
		return err
	}
	if fill.stored < fill.n {
		return fmt.Errorf("fill memcached: %d of %d keys were stored (wrong answers: %d %s)", fill.stored, fill.n, t.r.Wrong, t.r.FirstWrong)
	}
	a = newRequester(t, &memProtocol{keys: t.g.keys(&w), size: w.Value}, w.Window)
	t.app = a
	return a.measure(&w)
}
