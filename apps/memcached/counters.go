package memcached

// counters are what a shard has counted, under its lock. The names are
// memcached's.
type counters struct {
	CmdSet, CmdTouch                           uint64
	GetHits, GetMisses, GetExpired, GetFlushed uint64
	TouchHits, TouchMisses                     uint64
	DeleteHits, DeleteMisses                   uint64
	IncrHits, IncrMisses, DecrHits, DecrMisses uint64
	CASHits, CASMisses, CASBadval              uint64
	StoreTooLarge, StoreNoMemory               uint64
	TotalItems                                 uint64

	Evictions, EvictedUnfetched uint64
	EvictedNonzero              uint64 // evicted items that would have expired some day
	EvictedAge                  uint64 // seconds since its last access, of the last item evicted
	Reclaimed                   uint64 // dead items whose memory was used again
	ExpiredUnfetched            uint64
}

func (c *counters) add(o *counters) {
	c.CmdSet += o.CmdSet
	c.CmdTouch += o.CmdTouch
	c.GetHits += o.GetHits
	c.GetMisses += o.GetMisses
	c.GetExpired += o.GetExpired
	c.GetFlushed += o.GetFlushed
	c.TouchHits += o.TouchHits
	c.TouchMisses += o.TouchMisses
	c.DeleteHits += o.DeleteHits
	c.DeleteMisses += o.DeleteMisses
	c.IncrHits += o.IncrHits
	c.IncrMisses += o.IncrMisses
	c.DecrHits += o.DecrHits
	c.DecrMisses += o.DecrMisses
	c.CASHits += o.CASHits
	c.CASMisses += o.CASMisses
	c.CASBadval += o.CASBadval
	c.StoreTooLarge += o.StoreTooLarge
	c.StoreNoMemory += o.StoreNoMemory
	c.TotalItems += o.TotalItems
	c.Evictions += o.Evictions
	c.EvictedUnfetched += o.EvictedUnfetched
	c.EvictedNonzero += o.EvictedNonzero
	c.EvictedAge = max(c.EvictedAge, o.EvictedAge)
	c.Reclaimed += o.Reclaimed
	c.ExpiredUnfetched += o.ExpiredUnfetched
}

// Stats describe a store at a moment.
type Stats struct {
	counters

	Items       int   // live, or dead and not yet noticed
	Bytes       int64 // of memory in use by items, headers and padding included
	Allocated   int64 // bytes taken from the system for items
	MemoryLimit int64 // bytes that may be taken
	IndexBytes  int64 // bytes of the index, which come on top
	OldestAge   uint32
}

// Stats adds up what the shards have. It locks one after the other.
func (st *Store) Stats() Stats {
	var s Stats
	now := st.clock.now()
	for i := range st.shards {
		sh := &st.shards[i]
		sh.lock(now)
		s.add(&sh.counts)
		s.Items += sh.items
		s.Bytes += int64(sh.usedUnits()) * unitSize
		s.Allocated += int64(sh.arena.size())
		s.MemoryLimit += int64(sh.maxSegs) * segSize
		s.IndexBytes += int64(sh.index.size())
		if sh.oldest != 0 {
			s.OldestAge = max(s.OldestAge, now-min(now, sh.head(sh.oldest).accessed()))
		}
		sh.mu.Unlock()
	}
	return s
}

// ResetStats sets the counters to zero.
func (st *Store) ResetStats() {
	now := st.clock.now()
	for i := range st.shards {
		sh := &st.shards[i]
		sh.lock(now)
		sh.counts = counters{}
		sh.mu.Unlock()
	}
}
