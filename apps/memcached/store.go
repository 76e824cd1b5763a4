package memcached

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math/bits"
	"runtime"
	"time"
)

// Defaults of StoreConfig, which are memcached's own.
const (
	DefaultMemoryLimit = 64 << 20
	DefaultMaxItemSize = 1 << 20

	// MaxKeyLen is the longest key, in bytes.
	MaxKeyLen = 250
)

// ErrTooLarge means that an item is longer than StoreConfig.MaxItemSize, or its
// key than MaxKeyLen.
var ErrTooLarge = errors.New("object too large for cache")

// ErrNoMemory means that there is no room for an item, and none can be made.
var ErrNoMemory = errors.New("out of memory storing object")

// StoreConfig says how large a store may become. The zero value, and nil, are
// memcached's defaults.
type StoreConfig struct {
	// MemoryLimit bounds the memory of items, in bytes: keys, values, headers
	// and what is lost between them. Beside it there is the index: 4 bytes an
	// item, so a sixteenth of the limit when all items are as small as can be.
	MemoryLimit int64

	// MaxItemSize bounds one item, in bytes, counted as memcached counts: value,
	// key, and some 60 bytes.
	MaxItemSize int

	// Shards is the number of parts with locks, memory and LRU lists of their
	// own; 0 chooses by the number of cores and MemoryLimit.
	Shards int

	// NoEviction makes a full store refuse new items instead of evicting old.
	NoEviction bool

	// Now is the clock. Nil is the system's, read a few times a second by a
	// goroutine that Close ends.
	Now func() time.Time
}

// Store is a cache in memory. Its methods may be called from any goroutine; two
// calls disturb one another only if their keys are in the same shard, for the
// time of a look-up and a copy.
type Store struct {
	shards  []shard
	shift   uint // a key's shard is the top bits of its hash
	seed    maphash.Seed
	maxItem int
	clock   clock
}

// NewStore makes an empty store. The memory is taken as items come. The error
// says what does not fit together in cfg.
func NewStore(cfg *StoreConfig) (*Store, error) {
	var c StoreConfig
	if cfg != nil {
		c = *cfg
	}
	if c.MemoryLimit == 0 {
		c.MemoryLimit = DefaultMemoryLimit
	}
	if c.MaxItemSize == 0 {
		c.MaxItemSize = DefaultMaxItemSize
	}
	// The largest item fits into a shard with room for others.
	least := segmentsFor(int64(c.MaxItemSize)*2) + 1
	if c.MaxItemSize < 1024 || c.MaxItemSize > 1<<30 {
		return nil, fmt.Errorf("maximum item size %d is not between 1 KiB and 1 GiB", c.MaxItemSize)
	}
	if segmentsFor(c.MemoryLimit) < least {
		return nil, fmt.Errorf("memory limit %d is below %d, the least for items of up to %d bytes",
			c.MemoryLimit, least*segSize, c.MaxItemSize)
	}
	if c.Shards == 0 {
		c.Shards = chooseShards(c.MemoryLimit, least)
	}
	if c.Shards < 0 || c.Shards > 1<<12 || c.Shards&(c.Shards-1) != 0 {
		return nil, fmt.Errorf("number of shards %d is not a power of two up to 4096", c.Shards)
	}
	perShard := int(c.MemoryLimit / int64(c.Shards) / segSize)
	if perShard < least {
		return nil, fmt.Errorf("memory limit %d leaves %d bytes to each of %d shards, too few for items of up to %d bytes",
			c.MemoryLimit, perShard*segSize, c.Shards, c.MaxItemSize)
	}
	if perShard > 1<<(32-segShift) {
		return nil, fmt.Errorf("memory limit %d is too large for %d shards", c.MemoryLimit, c.Shards)
	}
	st := &Store{
		shards:  make([]shard, c.Shards),
		shift:   uint(64 - bits.Len(uint(c.Shards-1))),
		seed:    maphash.MakeSeed(),
		maxItem: c.MaxItemSize,
	}
	for i := range st.shards {
		sh := &st.shards[i]
		sh.index = newIndex()
		sh.reaper = newReaper()
		sh.maxSegs = perShard
		sh.noEvict = c.NoEviction
		sh.maxItem = c.MaxItemSize
		sh.cas, sh.casStep = uint64(i), uint64(c.Shards)
	}
	st.clock.start(c.Now)
	return st, nil
}

// Close ends the store's clock. The store must not be used any more.
func (st *Store) Close() { st.clock.stop() }

// segmentsFor is the number of segments that hold n bytes.
func segmentsFor(n int64) int { return int((n + segSize - 1) / segSize) }

// chooseShards is four shards a core, so that two cores seldom meet, but none
// so small that one large item empties it.
func chooseShards(limit int64, least int) int {
	n := 1
	for n < 4*runtime.GOMAXPROCS(0) && n < 256 && limit/int64(2*n)/segSize >= int64(max(2*least, 16)) {
		n *= 2
	}
	return n
}

// locate is a key's shard, and its hash within it.
func (st *Store) locate(key []byte) (*shard, uint32) {
	hash := maphash.Bytes(st.seed, key)
	return &st.shards[hash>>st.shift], uint32(hash)
}

// SetMemoryLimit changes the memory limit, in bytes. If it is lower than what is
// used, items are evicted before it returns; memory that is thereby free in
// segments of 256 KiB goes back to the system, the rest is used again.
func (st *Store) SetMemoryLimit(limit int64) error {
	perShard := limit / int64(len(st.shards)) / segSize
	if perShard < 2 || perShard > 1<<(32-segShift) {
		return fmt.Errorf("memory limit %d is out of bounds for %d shards", limit, len(st.shards))
	}
	now := st.clock.now()
	for i := range st.shards {
		sh := &st.shards[i]
		sh.lock(now)
		sh.setLimit(int(perShard), now)
		sh.mu.Unlock()
	}
	return nil
}

// Flush makes every item dead that was stored before; with a delay, every item
// that will have been stored when it is over. The delay is as Set's exptime. Their memory is used
// again as new items come. A delayed flush that is pending is forgotten.
func (st *Store) Flush(delay int64) {
	var at uint32
	if delay > 0 {
		at = st.clock.expiry(delay)
	}
	now := st.clock.now()
	for i := range st.shards {
		sh := &st.shards[i]
		sh.lock(now)
		if sh.flushAt = 0; at > now {
			sh.flushAt = at
		} else {
			sh.flushAll()
		}
		sh.mu.Unlock()
	}
}
