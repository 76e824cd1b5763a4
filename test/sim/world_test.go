package sim

import (
	"math"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/fault"
	"shardnet/driver/memnic"
)

// host is a TCP with an application, behind a port.
type host interface {
	// take gives it an IP packet, lent for the call.
	take(packet []byte)
	// turn lets timers that are due, applications and what is to be sent have their
	// turn. It is called after packets were taken, and whenever time has passed.
	turn()
	// next is when it has something to do of its own accord.
	next() (at int64, ok bool)
	// sock opens a connection to the other host, or takes the next that comes from it.
	sock(t testing.TB, active bool) socket
	// counts tells of segments since the beginning: sent and again are segments sent, and sent again; timeouts the expirations of
	// the retransmission timer.
	counts() (sent, again, timeouts uint64)
}

// maker makes host i of a world.
type maker func(t testing.TB, w *world, i int) host

// world is two hosts and the cable between them.
type world struct {
	clock clock
	ports [2]*port
	hosts [2]host
	devs  [2]*fault.Device
}

const (
	etherLen = 14
	ipLen    = 20
)

// NICs of worlds: one with plenty of frames, and one that is always short of them.
var (
	plenty = memnic.End{RxRing: 1 << 11, TxRing: 1 << 10, Frames: 1 << 13}
	scarce = memnic.End{RxRing: 64, TxRing: 32, Frames: 68}
)

// newWorld joins two hosts. path[i] are the faults of what host i sends.
func newWorld(t testing.TB, path [2]fault.Config, hosts [2]maker) *world {
	t.Helper()
	return newWorldOf(t, plenty, path, hosts)
}

func newWorldOf(t testing.TB, end memnic.End, path [2]fault.Config, hosts [2]maker) *world {
	t.Helper()
	w := &world{clock: clock{now: epoch}}
	a, b, err := memnic.NewPair(&memnic.Config{A: end, B: end})
	if err != nil {
		t.Fatal(err)
	}
	for i, dev := range []*memnic.Device{a, b} {
		cfg := path[i]
		cfg.Dir, cfg.Now = fault.TX, w.clock.Now
		if cfg.Limit == 0 {
			cfg.Limit = end.Frames // so it is frames that run out
		}
		log := &waitLog{Queue: dev.Queue(0)}
		d, err := fault.Wrap(logged{dev, log}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = d.Close() })
		w.devs[i] = d
		w.ports[i] = &port{q: d.Queue(0), log: log, peer: 1 - i, frames: make([]driver.Frame, 64)}
	}
	for i := range w.hosts {
		w.hosts[i] = hosts[i](t, w, i)
	}
	return w
}

// waitLog is a queue whose Wait only notes for how long: package fault has it wait
// until the next of the frames that it holds is due.
type waitLog struct {
	driver.Queue
	d time.Duration
}

func (q *waitLog) Wait(d time.Duration) error { q.d = d; return nil }

// logged is the device of a waitLog.
type logged struct {
	driver.Device
	q *waitLog
}

func (d logged) Queue(int) driver.Queue { return d.q }

// port is a host's queue.
type port struct {
	q      driver.Queue
	log    *waitLog
	peer   int
	frames []driver.Frame
	one    [1]driver.Frame
	moved  bool // since the last look
}

// alloc returns a frame's memory for an IP packet of n bytes; send sends it.
func (p *port) alloc(n int) []byte {
	if p.q.Alloc(p.one[:]) == 0 {
		return nil
	}
	f := &p.one[0]
	f.Data = f.Data[:etherLen+n]
	clear(f.Data[:12])
	f.Data[0], f.Data[6] = 2, 2
	f.Data[12], f.Data[13] = 8, 0
	return f.Data[etherLen:]
}

func (p *port) send() {
	if n, err := p.q.Transmit(p.one[:]); n == 0 || err != nil {
		p.q.Release(p.one[:])
	}
	p.moved = true
}

// receive gives h what has arrived.
func (p *port) receive(t testing.TB, h host) {
	for {
		n, err := p.q.Receive(p.frames)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return
		}
		p.moved = true
		for i := range p.frames[:n] {
			if b := p.frames[i].Data; b[12] == 8 && b[13] == 0 {
				h.take(b[etherLen:])
			}
		}
		p.q.Release(p.frames[:n])
	}
}

// next is when the first frame on the line to the other host is due.
func (p *port) next(t testing.TB, now int64) int64 {
	p.log.d = -1
	if err := p.q.Wait(-1); err != nil {
		t.Fatal(err)
	}
	if p.log.d < 0 {
		return math.MaxInt64
	}
	return now + int64(p.log.d)
}

// run lets time pass until done, or for limit. It reports whether it was done.
func (w *world) run(t testing.TB, limit time.Duration, done func() bool) bool {
	t.Helper()
	end := w.clock.read() + int64(limit)
	for {
		w.settle(t)
		if done() {
			return true
		}
		now := w.clock.read()
		next := int64(math.MaxInt64)
		for i, p := range w.ports {
			next = min(next, p.next(t, now))
			if at, ok := w.hosts[i].next(); ok {
				next = min(next, at)
			}
		}
		if next > end {
			w.set(end)
			return false
		}
		w.set(max(next, now+1))
	}
}

func (w *world) set(now int64) {
	w.clock.mu.Lock()
	w.clock.now = now
	w.clock.mu.Unlock()
}

// settle has all that can happen at this time happen.
func (w *world) settle(t testing.TB) {
	for range 100000 {
		w.clock.run()
		for _, p := range w.ports {
			if err := p.q.Flush(); err != nil { // what is due on the line arrives
				t.Fatal(err)
			}
		}
		for i, p := range w.ports {
			p.receive(t, w.hosts[i])
			w.hosts[i].turn()
		}
		moved := w.ports[0].moved || w.ports[1].moved
		w.ports[0].moved, w.ports[1].moved = false, false
		if at, ok := w.clock.next(); !moved && (!ok || at > w.clock.read()) {
			return
		}
	}
	t.Fatal("something happens for ever at one time")
}
