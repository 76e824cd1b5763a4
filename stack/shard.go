package stack

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"shardnet/driver"
	"shardnet/stack/flow"
	"shardnet/stack/internal/clock"
	"shardnet/stack/internal/counter"
	"shardnet/stack/internal/enginetcp"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/ring"
	"shardnet/stack/internal/steer"
	"shardnet/stack/internal/txq"
	"shardnet/stack/internal/udp"
)

const (
	// stuckRetry is how soon the loop tries again when the TX ring was full.
	stuckRetry = time.Millisecond
	// linkRetry is how often it looks whether a link that was down is up again.
	linkRetry = 100 * time.Millisecond
	// idleYield is after how many turns without work a polling loop lets others run:
	// about a microsecond.
	idleYield = 8
	// stallLogEvery bounds what the log says of handlers that take too long.
	stallLogEvery = 10 * time.Second
)

// Shard is one queue, what runs over it, and the goroutine that runs it: the loop.
//
// Other goroutines, the loops of other shards among them, meet the loop in these places,
// and nowhere else:
//
//	shardParts.q          Wake, Stats and Close, which the driver lets anybody call
//	shardParts.stack      closing and the list of sockets, by Stack.mu
//	shardParts.tx         writers' frames and neighbors, by its lock; waiting, by an atomic
//	shardParts.engine     calls of applications and look-ups of other shards, by its lock;
//	                      slow-path input, by another; active and left, by atomics
//	shardParts.netstack   endpoints and look-ups of other shards, by netstack's locks;
//	                      a socket's readiness, by atomics
//	shardParts.udp        a socket's queue and its reads and writes, by its locks; the
//	                      table, by atomics
//	shardParts.clock      timers, by its lock; the cached time, by atomics
//	shardParts.inbox      frames of other shards, one producer and one consumer each
//	shardParts.steering   the port table, by atomics (the stack's; sockets write it)
//	shardParts.done       closed when the loop has ended
//	tasks                 posted tasks, by its lock; counts, by atomics
//	wake                  atomics
//	counters              what was published, by atomics
type Shard struct {
	shardParts
	loopState
	tasks    tasks
	counters counter.Set
	_        [64]byte
	wake
	_ [64]byte
}

// shardParts are set by newShard and not changed; each guards its own state.
type shardParts struct {
	index    int
	stack    *Stack
	q        driver.Queue // the loop's, but for Wake, Stats and Close
	clock    *clock.Clock
	tx       *txq.Queue
	steering *steer.Table // the stack's
	netstack *netstack.Netstack
	engine   *enginetcp.TCP
	udp      *udp.Sockets
	inbox    []*ring.Ring  // from each other shard; nil at index
	done     chan struct{} // closed when the loop has ended
}

// loopState is touched by the loop alone.
type loopState struct {
	batch       batch
	syn         *steer.SYNFilter
	running     loop.Running // the last task or handler of this turn
	stallLogged int64        // when, by clock
	linkDown    bool
	retryLink   int64 // when to flush again while the link is down, by clock
}

// wake is how others wake the loop: all atomics.
type wake struct {
	sleeping atomic.Uint32 // 1 while the loop sleeps or is about to
	woken    atomic.Uint32 // 1 when an application goroutine was woken this turn
	stopping atomic.Bool
}

// newShard makes shard i of st. Its loop does not run yet.
func newShard(st *Stack, i int, secret [32]byte) (*Shard, error) {
	sh := &Shard{}
	sh.index, sh.stack, sh.steering, sh.q = i, st, st.steering, st.dev.Queue(i)
	sh.done = make(chan struct{})
	sh.syn = steer.NewSYNFilter()
	sh.clock = clock.New(sh.kick)
	sh.tx = txq.New(sh.q, sh.kick)
	for j := range st.cfg.Shards {
		var in *ring.Ring
		if j != i {
			in = new(ring.Ring)
		}
		sh.inbox = append(sh.inbox, in)
	}
	var err error
	if sh.engine, err = enginetcp.New(enginetcp.Config{
		Shard: sh.up(), Running: &sh.running, Clock: sh.clock, Queue: sh.q, Tx: sh.tx,
		Steering: st.steering, Own: st.own, MAC: st.mac, MTU: st.info.MTU,
		Memory: st.cfg.TCPMemory / int64(st.cfg.Shards), Secret: secret,
	}); err != nil {
		return nil, err
	}
	routes := make([]netstack.Route, len(st.cfg.Routes))
	for i, r := range st.cfg.Routes {
		routes[i] = netstack.Route(r)
	}
	sh.netstack, err = netstack.New(netstack.Config{
		Shard: sh.up(), Running: &sh.running, Clock: sh.clock, Counters: &sh.counters, Tx: sh.tx,
		Steering: st.steering, Own: st.own, Addresses: st.cfg.Addresses, Routes: routes,
		MAC: st.mac, MTU: st.info.MTU, Logger: st.log, Engine: sh.engine,
		SteerReassembled: sh.steerReassembled, ReassembledArrived: sh.reassembledArrived,
	})
	if err != nil {
		sh.destroy()
		return nil, err
	}
	sh.engine.Attach(sh.netstack)
	sh.udp = udp.New(udp.Config{
		Shard: sh.up(), Running: &sh.running, Clock: sh.clock, Counters: &sh.counters, Tx: sh.tx,
		Netstack: sh.netstack, Own: st.own, MAC: st.mac, MTU: st.info.MTU,
	})
	return sh, nil
}

// Index is the shard's number, and that of its queue.
func (sh *Shard) Index() int { return sh.index }

// run is the loop. A turn: time and timers, a batch from the queue, what other shards handed
// over, what applications left, netstack's TCP, tasks, acknowledgements that no reply
// carries, transmit; and sleep when there was nothing.
func (sh *Shard) run() {
	defer close(sh.done)
	pinned, yield := false, true
	if cpus := sh.stack.cfg.CPUs; len(cpus) > 0 {
		// To yield, a goroutine bound to its thread must change threads twice.
		// With a processor to spare, others run the goroutines it wakes.
		pinned, yield = true, runtime.GOMAXPROCS(0) <= len(cpus)
		sh.q.BlockThread(true)
		// The thread ends with the goroutine: it is not unlocked.
		runtime.LockOSThread()
		if err := pinThread(cpus[sh.index]); err != nil {
			sh.stack.log.Warn("shard runs unpinned", "shard", sh.index, "cpu", cpus[sh.index], "error", err)
		}
	}
	now := sh.clock.Refresh()
	poll := loop.NewPoller(int64(sh.stack.cfg.Spin), now)
	for idle := 0; !sh.stopping.Load(); {
		before := now
		now = sh.clock.Refresh()
		if sh.running.Task != nil { // last turn, which did not sleep then
			sh.checkStall(before, now)
		}
		timers := sh.clock.RunTimers(now)
		sh.engine.StartTurn(now)
		work := timers
		n, err := sh.receive()
		if err != nil {
			sh.stack.fail(fmt.Errorf("receive on shard %d: %w", sh.index, err))
			break
		}
		work += n + sh.receiveHandedOver() + sh.engine.DrainDeferred()
		work += sh.netstack.Drain() + sh.runTasks()
		woken := sh.woken.Load() != 0
		if woken {
			sh.woken.Store(0)
			if yield {
				// Let the application goroutines that were woken run, here and now:
				// they are on this processor's run queue, and what they reply
				// leaves in this turn, in one packet with the acknowledgement.
				sh.counters.Inc(counter.Yields)
				if sh.running.Task != nil {
					sh.checkStall(now, sh.clock.Real())
				}
				runtime.Gosched()
			}
		}
		sh.netstack.SendACKs()
		segments, more := sh.engine.Flush()
		if work += segments; more {
			work++
		}
		n, err = sh.tx.Flush()
		if sh.linkDown && err == nil && n == 0 && now >= sh.retryLink {
			// Frames may lie in the TX ring that only a flush makes leave.
			sh.retryLink = now + int64(linkRetry)
			if err = sh.q.Flush(); err == nil {
				sh.noteLink(1, nil)
			}
		}
		sh.noteLink(n, err)
		work += n
		sh.counters.Inc(counter.Turns)
		sh.counters.Add(counter.Timers, timers)
		sh.counters.Store(counter.ACKsSaved, sh.tx.ACKsSaved())
		switch {
		case work > 0 || woken:
			poll.NoteWork(now)
			sh.counters.Publish()
			idle = 0
		case poll.Poll(now):
			// To yield takes longer than a turn that finds nothing.
			if idle++; !pinned && idle%idleYield == 0 {
				runtime.Gosched()
			}
		default:
			sh.sleep()
			idle = 0
		}
	}
	sh.counters.Publish()
	sh.tasks.close()
}

// checkStall counts and logs a turn, from start to end, in which tasks or handlers
// kept the loop from its queue for too long.
func (sh *Shard) checkStall(start, end int64) {
	ran := sh.running.Task
	sh.running.Task = nil
	took := time.Duration(end - start)
	if took <= sh.stack.cfg.HandlerLimit {
		return
	}
	sh.counters.Inc(counter.HandlerStalls)
	if start < sh.stallLogged+int64(stallLogEvery) {
		return
	}
	sh.stallLogged = start
	name := fmt.Sprintf("%T", ran)
	if s, ok := ran.(fmt.Stringer); ok {
		name = s.String()
	}
	sh.stack.log.Warn("a handler kept its shard from the queue: work that takes long, or waits, belongs off the shard",
		"shard", sh.index, "handler", name, "took", took, "limit", sh.stack.cfg.HandlerLimit, "stalls", sh.counters.Local(counter.HandlerStalls))
}

// sleep parks the loop in the queue until a frame arrives, a timer is due, or
// somebody calls kick.
//
// No wake-up is lost: sleeping is set before the last look at what others may
// have left, and others leave their work before they look at sleeping.
func (sh *Shard) sleep() {
	sh.counters.Publish()
	sh.sleeping.Store(1)
	d := sh.clock.Park()
	if t := sh.engine.NextTimer(); t >= 0 {
		d = atMost(d, t)
	}
	if !sh.workLeft() {
		if sh.linkDown {
			d = atMost(d, linkRetry)
		}
		if sh.tx.Stuck() || sh.engine.Stuck() || sh.netstack.LeftToUser() {
			d = atMost(d, stuckRetry)
		}
		sh.counters.Inc(counter.Sleeps)
		sh.counters.Publish()
		if err := sh.q.Wait(d); err != nil {
			sh.stack.fail(fmt.Errorf("wait on shard %d: %w", sh.index, err))
			sh.stopping.Store(true)
		}
	}
	sh.sleeping.Store(0)
}

// atMost bounds d, of which less than zero is for ever.
func atMost(d, limit time.Duration) time.Duration {
	if d < 0 || d > limit {
		return limit
	}
	return d
}

// workLeft reports whether other goroutines left something for the loop.
func (sh *Shard) workLeft() bool {
	if sh.stopping.Load() || sh.engine.Deferred() || sh.tx.Waiting() && !sh.tx.Stuck() || sh.netstack.Pending() {
		return true
	}
	for _, in := range sh.inbox {
		if in != nil && in.Len() > 0 {
			return true
		}
	}
	return sh.tasks.pending()
}

// kick wakes the loop if it sleeps. Any goroutine may call it, after it has left its work
// where workLeft looks.
func (sh *Shard) kick() {
	if sh.sleeping.Load() == 1 && sh.sleeping.CompareAndSwap(1, 0) {
		sh.q.Wake()
	}
}

// noteLink counts and logs the link's going down and coming up again, from what
// a flush returned.
func (sh *Shard) noteLink(sent int, err error) {
	switch {
	case err == nil:
		if sh.linkDown && sent > 0 {
			sh.linkDown = false
			sh.stack.log.Info("link is up again", "shard", sh.index)
		}
	case errors.Is(err, driver.ErrLinkDown):
		if !sh.linkDown {
			sh.linkDown = true
			sh.counters.Inc(counter.LinkDowns)
			sh.stack.log.Warn("link is down: packets wait in the TX ring, and beyond it are dropped", "shard", sh.index)
		}
	default:
		sh.stack.fail(fmt.Errorf("transmit on shard %d: %w", sh.index, err))
		sh.stopping.Store(true)
	}
}

// stop ends the loop and waits for it. It must not be called on the loop.
func (sh *Shard) stop() {
	sh.stopping.Store(true)
	sh.sleeping.Store(0)
	sh.q.Wake()
	<-sh.done
}

// destroy frees what the shard holds, after its loop has ended.
func (sh *Shard) destroy() {
	sh.engine.Close()
	sh.tx.Close()
	sh.netstack.Close()
}

// upward is the shard as its parts see it: it implements loop.Shard.
type upward Shard

func (sh *Shard) up() loop.Shard { return (*upward)(sh) }

// Index implements loop.Shard, as do the methods below.
func (u *upward) Index() int { return u.index }

// Kick wakes the loop.
func (u *upward) Kick() { (*Shard)(u).kick() }

// Sleeping reports whether the loop sleeps.
func (u *upward) Sleeping() bool { return u.sleeping.Load() == 1 }

// NoteWoken has the loop yield at the end of this turn.
func (u *upward) NoteWoken() {
	if u.woken.Load() == 0 {
		u.woken.Store(1)
	}
}

// Post has the loop run t.
func (u *upward) Post(t flow.Task) { (*Shard)(u).Post(t) }

// Register adds s to what Stack.Close closes.
func (u *upward) Register(s loop.Closer) bool { return u.stack.register(s) }

// Unregister takes s out again.
func (u *upward) Unregister(s loop.Closer) { u.stack.unregister(s) }
