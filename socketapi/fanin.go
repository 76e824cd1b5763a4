package socketapi

import (
	"errors"
	"net"
	"shardnet/stack/flow"
	"sync/atomic"
)

// A fanIn waits for whichever of several sockets, one a shard, is ready first,
// without a goroutine for each.
//
// A member's notice marks it and wakes the waiting goroutine. do tries marked
// members only, so that a call on a busy group does not take the locks of all
// shards. The mark is taken off before the try and set again unless the member
// turned out empty: so it may be set for nothing, but is never missing.
//
// A member may be read directly at the same time. Both readers are woken then,
// and who comes second finds nothing and sleeps again.
type fanIn struct {
	wait    waiter
	members []fanMember
	next    int // where the next search begins: who was just served comes last
	live    int // members not gone
}

type fanMember struct {
	ready atomic.Bool // there may be something: set by notices, cleared before a try
	gone  bool        // closed; guarded by fanIn.wait.mu
	_     [58]byte    // a line each: shards mark their own only
}

func (f *fanIn) init(members int) {
	f.members = make([]fanMember, members)
	f.live = members
	for i := range f.members {
		f.members[i].ready.Store(true)
	}
}

// signal marks member i. It may be called from a notice.
func (f *fanIn) signal(i int) {
	if m := &f.members[i]; !m.ready.Load() {
		m.ready.Store(true)
	}
	f.wait.signal()
}

// do calls try with the index of a ready member until it returns something else
// than flow.ErrWouldBlock, and returns that. Members take turns. A member that
// returns net.ErrClosed is left out from then on; when none is left, or the fanIn
// itself is closed, do returns net.ErrClosed.
func (f *fanIn) do(try func(i int) error) error {
	f.wait.mu.Lock()
	defer f.wait.mu.Unlock()
	for {
		f.wait.clear()
		if err := f.wait.err(); err != nil {
			return err
		}
		i := f.next
		for range f.members {
			m := &f.members[i]
			this := i
			if i++; i == len(f.members) {
				i = 0
			}
			if m.gone || !m.ready.Load() {
				continue
			}
			m.ready.Store(false)
			err := try(this)
			if err == flow.ErrWouldBlock {
				continue
			}
			if err != nil && errors.Is(err, net.ErrClosed) {
				m.gone = true
				f.live--
				continue
			}
			m.ready.Store(true)
			f.next = i
			return err
		}
		if f.live == 0 {
			return net.ErrClosed
		}
		f.wait.park()
	}
}
