package memcached

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxRelative is the longest expiration time that is relative to now, in
// seconds; a longer one is a Unix time.
const maxRelative = 60 * 60 * 24 * 30

// tick is how old the cached time may be. Expiration is in whole seconds.
const tick = 100 * time.Millisecond

// clock counts seconds since a little before the store began: in 32 bits, never
// zero, and without jumps when the system's time is set.
type clock struct {
	source  func() time.Time // nil: the cached time
	began   time.Time
	cached  atomic.Uint32
	stopped chan struct{}
	once    sync.Once
}

// clockBegin is the first second. It leaves room for times before it.
const clockBegin = 2

func (c *clock) start(source func() time.Time) {
	c.source = source
	c.stopped = make(chan struct{})
	if source != nil {
		c.began = source()
		return
	}
	c.began = time.Now()
	c.cached.Store(clockBegin)
	go func() {
		t := time.NewTicker(tick)
		defer t.Stop()
		for {
			select {
			case <-c.stopped:
				return
			case <-t.C:
				c.cached.Store(c.at(time.Now()))
			}
		}
	}()
}

func (c *clock) stop() {
	c.once.Do(func() { close(c.stopped) })
}

func (c *clock) now() uint32 {
	if c.source != nil {
		return c.at(c.source())
	}
	return c.cached.Load()
}

func (c *clock) at(t time.Time) uint32 {
	return clockBegin + uint32(max(0, t.Sub(c.began)/time.Second))
}

// unix is the Unix time of second now.
func (c *clock) unix(now uint32) int64 {
	return c.began.Unix() + int64(now) - clockBegin
}

// expiry turns the protocol's expiration time into a second of this clock: 0 is
// never, negative is past already, up to 30 days is from now, anything else is a
// Unix time.
func (c *clock) expiry(exptime int64) uint32 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return 1
	case exptime <= maxRelative:
		return c.now() + uint32(exptime)
	}
	at := exptime - c.began.Unix() + clockBegin
	return uint32(min(max(at, 1), 1<<32-1))
}
