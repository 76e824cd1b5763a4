package tcp

// pool allocates items of one type from slabs. An item is known by its reference: a number of 32
// bits, which the garbage collector does not follow. Zero is no item. Items do not move, so a
// pointer to one is valid until put. Empty slabs are freed, except one.
type pool[T any] struct {
	slabs  []slab[T]
	head   int32  // first of the slabs with free items, -1 is none
	unused int32  // first of the entries of slabs that were freed
	spare  int32  // an empty slab, or -1
	shift  uint8  // a slab has 1<<shift items
	stride uint32 // bytes that go with each item, in slab.bytes
	live   int    // allocated items
}

type slab[T any] struct {
	items      []T
	bytes      []byte
	links      []uint32 // links[i] is the free item after i, plus one
	free       uint32   // the first free item, plus one
	frees      uint32
	prev, next int32 // slabs with free items
}

func newPool[T any](shift uint8, stride uint32) pool[T] {
	return pool[T]{head: -1, unused: -1, spare: -1, shift: shift, stride: stride}
}

// at returns the item with a reference from get.
func (p *pool[T]) at(ref uint32) *T {
	return &p.slabs[ref>>p.shift].items[ref&(1<<p.shift-1)]
}

// mem returns the bytes that belong to an item.
func (p *pool[T]) mem(ref uint32) []byte {
	i := (ref & (1<<p.shift - 1)) * p.stride
	return p.slabs[ref>>p.shift].bytes[i : i+p.stride : i+p.stride]
}

// get allocates an item. It still has the contents of its last use.
func (p *pool[T]) get() uint32 {
	if p.head < 0 {
		p.grow()
	}
	k := p.head
	s := &p.slabs[k]
	if p.spare == k {
		p.spare = -1
	}
	i := s.free - 1
	s.free = s.links[i]
	s.frees--
	if s.frees == 0 {
		p.unlink(k)
	}
	p.live++
	return uint32(k)<<p.shift | i
}

// put frees an item.
func (p *pool[T]) put(ref uint32) {
	k := int32(ref >> p.shift)
	s := &p.slabs[k]
	i := ref & (1<<p.shift - 1)
	s.links[i] = s.free
	s.free = i + 1
	s.frees++
	p.live--
	if s.frees == 1 {
		p.link(k)
	}
	if s.frees == 1<<p.shift && k != 0 {
		if p.spare < 0 {
			p.spare = k
			return
		}
		p.unlink(k)
		*s = slab[T]{next: p.unused}
		p.unused = k
	}
}

// grow adds a slab.
func (p *pool[T]) grow() {
	k := p.unused
	if k >= 0 {
		p.unused = p.slabs[k].next
	} else {
		k = int32(len(p.slabs))
		p.slabs = append(p.slabs, slab[T]{})
	}
	n := uint32(1) << p.shift
	s := &p.slabs[k]
	*s = slab[T]{items: make([]T, n), links: make([]uint32, n), free: 1, frees: n}
	if p.stride > 0 {
		s.bytes = make([]byte, n*p.stride)
	}
	for i := range n - 1 {
		s.links[i] = i + 2
	}
	if k == 0 { // reference 0 is none; slab 0 is never freed
		s.free, s.frees = 2, n-1
	}
	p.link(k)
}

func (p *pool[T]) link(k int32) {
	p.slabs[k].prev, p.slabs[k].next = -1, p.head
	if p.head >= 0 {
		p.slabs[p.head].prev = k
	}
	p.head = k
}

func (p *pool[T]) unlink(k int32) {
	s := &p.slabs[k]
	if s.prev >= 0 {
		p.slabs[s.prev].next = s.next
	} else {
		p.head = s.next
	}
	if s.next >= 0 {
		p.slabs[s.next].prev = s.prev
	}
}
