package tcp

// The bytes of the send and receive queues are in chunks of four sizes, from pools of the
// engine. A queue is a list of chunks. An empty queue has none.
const (
	chunkClasses  = 4
	chunkSlabLog2 = 18                          // a slab of chunks is 256 KiB
	chunkMinLog2  = 8                           // 256 bytes; each class is four times the one before
	chunkRefBits  = 30                          // a reference's low bits; the class is above
	maxChunk      = 1 << (chunkMinLog2 + 2*3)   // 16 KiB
	chunkMask     = uint32(1)<<chunkRefBits - 1 // of a reference
)

// chunk is the header of a chunk, whose bytes r to w are filled.
type chunk struct {
	next uint32
	r, w uint16
}

type chunks struct {
	class [chunkClasses]pool[chunk]
	bytes int64 // memory of allocated chunks
}

func newChunks() *chunks {
	cs := new(chunks)
	for i := range cs.class {
		log2 := uint8(chunkMinLog2 + 2*i)
		cs.class[i] = newPool[chunk](chunkSlabLog2-log2, 1<<log2)
	}
	return cs
}

func (cs *chunks) at(ref uint32) *chunk {
	return cs.class[ref>>chunkRefBits].at(ref & chunkMask)
}

func (cs *chunks) mem(ref uint32) []byte {
	return cs.class[ref>>chunkRefBits].mem(ref & chunkMask)
}

func chunkSize(ref uint32) uint32 { return 1 << (chunkMinLog2 + 2*(ref>>chunkRefBits)) }

// get returns an empty chunk, the smallest that holds want bytes, or the largest.
func (cs *chunks) get(want int) uint32 {
	class := uint32(0)
	for class < chunkClasses-1 && want > 1<<(chunkMinLog2+2*class) {
		class++
	}
	ref := class<<chunkRefBits | cs.class[class].get()
	*cs.at(ref) = chunk{}
	cs.bytes += int64(chunkSize(ref))
	return ref
}

func (cs *chunks) put(ref uint32) {
	cs.class[ref>>chunkRefBits].put(ref & chunkMask)
	cs.bytes -= int64(chunkSize(ref))
}

// queue is a FIFO of bytes. The zero value is empty.
type queue struct {
	head, tail uint32
	n          uint32 // bytes in it
	mem        uint32 // bytes of its chunks
}

// append copies p to the end of the queue.
func (q *queue) append(cs *chunks, p []byte) {
	for len(p) > 0 {
		if q.tail == 0 || uint32(cs.at(q.tail).w) == chunkSize(q.tail) {
			// A queue that grows takes larger chunks. So much data has few links,
			// and little data wastes little memory.
			q.push(cs, cs.get(max(len(p), int(min(q.n/2, maxChunk)))))
		}
		t := cs.at(q.tail)
		k := copy(cs.mem(q.tail)[t.w:], p)
		t.w += uint16(k)
		q.n += uint32(k)
		p = p[k:]
	}
}

// room is how many bytes append takes without another chunk.
func (q *queue) room(cs *chunks) int {
	if q.tail == 0 {
		return 0
	}
	return int(chunkSize(q.tail)) - int(cs.at(q.tail).w)
}

// push adds a chunk at the end of the list.
func (q *queue) push(cs *chunks, ref uint32) {
	if q.tail == 0 {
		q.head = ref
	} else {
		cs.at(q.tail).next = ref
	}
	q.tail = ref
	q.mem += chunkSize(ref)
}

// splice moves all of from's bytes to q's end.
func (q *queue) splice(cs *chunks, from *queue) {
	if from.head == 0 {
		return
	}
	if q.tail == 0 {
		q.head = from.head
	} else {
		cs.at(q.tail).next = from.head
	}
	q.tail = from.tail
	q.n += from.n
	q.mem += from.mem
	*from = queue{}
}

// front returns the bytes at the head of the queue that are contiguous in memory.
func (q *queue) front(cs *chunks) []byte {
	if q.head == 0 {
		return nil
	}
	h := cs.at(q.head)
	return cs.mem(q.head)[h.r:h.w]
}

// discard drops n bytes, at most q.n, from the head.
func (q *queue) discard(cs *chunks, n uint32) {
	q.n -= n
	for n > 0 || q.head != 0 && q.n == 0 {
		h := cs.at(q.head)
		have := uint32(h.w - h.r)
		if n < have {
			h.r += uint16(n)
			return
		}
		n -= have
		q.pop(cs)
	}
}

// pop frees the first chunk. The caller adjusts q.n.
func (q *queue) pop(cs *chunks) {
	ref := q.head
	q.head = cs.at(ref).next
	if q.head == 0 {
		q.tail = 0
	}
	q.mem -= chunkSize(ref)
	cs.put(ref)
}

// read moves bytes from the head to p.
func (q *queue) read(cs *chunks, p []byte) (n int) {
	for n < len(p) && q.n > 0 {
		k := copy(p[n:], q.front(cs))
		q.discard(cs, uint32(k))
		n += k
	}
	return n
}

// queuePos is a position in a queue: a chunk, and an offset in its memory. The zero value is the
// head of the queue.
type queuePos struct {
	chunk uint32
	off   uint16
}

// copyAt copies len(p) bytes that begin at pl, and returns the position after them. The queue has
// that many there.
func (q *queue) copyAt(cs *chunks, pl queuePos, p []byte) queuePos {
	if pl.chunk == 0 {
		if q.head == 0 {
			return pl
		}
		pl = queuePos{q.head, cs.at(q.head).r}
	}
	for {
		h := cs.at(pl.chunk)
		k := copy(p, cs.mem(pl.chunk)[pl.off:h.w])
		p = p[k:]
		pl.off += uint16(k)
		if len(p) == 0 || h.next == 0 {
			return pl
		}
		pl = queuePos{h.next, cs.at(h.next).r}
	}
}

// skip returns the position n bytes after pl, which is normalized.
func (q *queue) skip(cs *chunks, pl queuePos, n uint32) queuePos {
	for n > 0 {
		h := cs.at(pl.chunk)
		have := uint32(h.w - pl.off)
		if n <= have || h.next == 0 {
			pl.off += uint16(n)
			return pl
		}
		n -= have
		pl = queuePos{h.next, cs.at(h.next).r}
	}
	return pl
}

// normalize returns the same position as pl, in the chunk that has the next byte. The chunk before
// it may be freed.
func (q *queue) normalize(cs *chunks, pl queuePos) queuePos {
	if pl.chunk == 0 {
		if q.head == 0 {
			return pl
		}
		return queuePos{q.head, cs.at(q.head).r}
	}
	if h := cs.at(pl.chunk); pl.off == h.w && h.next != 0 {
		return queuePos{h.next, cs.at(h.next).r}
	}
	return pl
}

// free gives all chunks back.
func (q *queue) free(cs *chunks) {
	for q.head != 0 {
		q.pop(cs)
	}
	q.n = 0
}
