package drivertest

import (
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
)

// batch is how many frames the suite moves in one call, as a stack would.
const batch = 64

// rig is an opened pair and what the tests do with it.
type rig struct {
	*testing.T
	open OpenFunc
	cfg  Config
	pair Pair
	a, b *side

	limit   time.Duration
	large   bool              // packetSize is the largest
	spawned []<-chan struct{} // closed as the goroutines of spawn end
}

// openPair opens the pair, guarded.
func (r *rig) openPair() {
	r.Helper()
	r.pair = r.open(r.T, r.cfg)
	if r.pair.A == nil || r.pair.B == nil {
		r.Fatal("the opener returned no devices")
	}
	if r.pair.Timeout > 0 {
		r.limit = r.pair.Timeout
	}
	infoA, infoB := r.pair.A.Info(), r.pair.B.Info()
	if infoA.Queues != r.cfg.Queues || infoB.Queues != r.cfg.Queues {
		_ = r.pair.A.Close()
		_ = r.pair.B.Close()
		r.Fatalf("opened with %d and %d queues, want %d", infoA.Queues, infoB.Queues, r.cfg.Queues)
	}
	sa := newHost(infoA.MAC, r.cfg.AddrA)
	sb := newHost(infoB.MAC, r.cfg.AddrB)
	r.a = newSide(r, "A", r.pair.A, sa, sb)
	r.b = newSide(r, "B", r.pair.B, sb, sa)
}

// spawn runs f on a goroutine, which may report errors but not call Fatal. What
// hangs in f should end when the devices are closed.
func (r *rig) spawn(f func()) (done <-chan struct{}) {
	ch := make(chan struct{})
	go func() {
		defer close(ch)
		f()
	}()
	r.spawned = append(r.spawned, ch)
	return ch
}

// spawnIn is spawn for a goroutine that is waited for by wg.
func (r *rig) spawnIn(wg *sync.WaitGroup, f func()) {
	wg.Add(1)
	r.spawn(func() {
		defer wg.Done()
		f()
	})
}

// close closes what is open, and waits for the goroutines that used it.
func (r *rig) close() {
	r.Helper()
	for _, s := range []*side{r.a, r.b} {
		if s == nil {
			continue
		}
		r.within("Close of "+s.name, func() {
			if err := s.dev.Close(); err != nil {
				r.Errorf("close %s: %v", s.name, err)
			}
		})
	}
	r.a, r.b = nil, nil
	for _, done := range r.spawned {
		select {
		case <-done:
		case <-time.After(r.limit):
			r.Errorf("a goroutine does not end with its device closed\n%s", stacks())
		}
	}
	r.spawned = nil
}

// within fails the test when f, spawned, takes longer than limit.
func (r *rig) within(what string, f func()) {
	r.Helper()
	select {
	case <-r.spawn(f):
	case <-time.After(r.limit):
		r.Fatalf("%s did not end within %v\n%s", what, r.limit, stacks())
	}
}

// until polls both ends until cond holds, or fails the test. step may be nil.
func (r *rig) until(what string, step func(), cond func() bool) {
	r.Helper()
	for end := time.Now().Add(r.limit); !cond(); {
		if time.Now().After(end) {
			r.Fatalf("not within %v: %s\nA %+v\nB %+v", r.limit, what, r.a.stats(), r.b.stats())
		}
		if step != nil {
			step()
		}
		for _, s := range []*side{r.a, r.b} {
			if !s.ownedElsewhere {
				s.flush()
			}
		}
		runtime.Gosched()
	}
}

// side is one end of the cable.
type side struct {
	*rig
	name     string
	dev      driver.Device // guarded
	raw      driver.Device
	info     driver.Info
	me, peer host
	queues   []driver.Queue

	fs      []driver.Frame
	scratch []byte

	// What the side saw and did, to hold against the statistics; by queue.
	lent, lentBytes []uint64
	sent, sentBytes []uint64
	next            map[uint16]uint64 // by flow, the next sequence number to arrive
	arrived         int               // packets of the suite

	lossy          map[uint16]bool // flows that may lose packets, or deliver them late
	ownedElsewhere bool            // another goroutine owns the queues
}

func newSide(r *rig, name string, dev driver.Device, me, peer host) *side {
	s := &side{
		rig: r, name: name, raw: dev, dev: Guard(r.T, dev), info: dev.Info(), me: me, peer: peer,
		fs: make([]driver.Frame, batch), next: make(map[uint16]uint64), lossy: make(map[uint16]bool),
	}
	s.scratch = make([]byte, max(s.info.FrameSize, s.info.MTU+etherHeader))
	for i := range s.info.Queues {
		s.queues = append(s.queues, s.dev.Queue(i))
	}
	s.lent, s.lentBytes = make([]uint64, s.info.Queues), make([]uint64, s.info.Queues)
	s.sent, s.sentBytes = make([]uint64, s.info.Queues), make([]uint64, s.info.Queues)
	return s
}

// maxPacket is the longest packet both ends take.
func (r *rig) maxPacket() int { return min(r.a.info.MTU, r.b.info.MTU) + etherHeader }

// packetSize is the size of the packets of tests that are run again with large
// ones: usual, or the largest. A packet may then be more than a device's memory
// holds in one piece, or take several entries of a ring.
func (r *rig) packetSize(usual int) int {
	if r.large {
		return r.maxPacket()
	}
	return usual
}

func (s *side) stats() (sum driver.Stats) {
	for _, q := range s.queues {
		sum.Add(q.Stats())
	}
	return sum
}

// flush flushes every queue. A link that is down is no failure here.
func (s *side) flush() {
	s.Helper()
	for i, q := range s.queues {
		if err := q.Flush(); err != nil && !errors.Is(err, driver.ErrLinkDown) && !errors.Is(err, net.ErrClosed) {
			s.Fatalf("%s: flush queue %d: %v", s.name, i, err)
		}
	}
}

// alloc fills fs with empty frames, waiting for those still being sent.
func (s *side) alloc(q int, fs []driver.Frame) {
	s.Helper()
	n := 0
	s.until("frames to send from "+s.name, nil, func() bool {
		n += s.queues[q].Alloc(fs[n:])
		return n == len(fs)
	})
}

// transmit has queue q take all of fs, flushing as the ring fills.
func (s *side) transmit(q int, fs []driver.Frame) {
	s.Helper()
	for _, f := range fs {
		s.sent[q]++
		s.sentBytes[q] += uint64(len(f.Data))
	}
	s.until("room in "+s.name+"'s TX ring", nil, func() bool {
		n, err := s.queues[q].Transmit(fs)
		if err != nil {
			s.Fatalf("%s: transmit: %v", s.name, err)
		}
		fs = fs[n:]
		return len(fs) == 0
	})
	if err := s.queues[q].Flush(); err != nil {
		s.Fatalf("%s: flush: %v", s.name, err)
	}
}

// send sends n packets of one flow from queue q, tagged from seq on, at most a
// batch.
func (s *side) send(q, n, size int, flow uint16, seq uint64) {
	s.Helper()
	fs := s.fs[:n]
	s.alloc(q, fs)
	for i := range fs {
		fs[i].Data = build(fs[i].Data, s.me, s.peer, tag{flow, seq + uint64(i)}, size)
	}
	s.transmit(q, fs)
}

// sendSizes is send for packets of these sizes.
func (s *side) sendSizes(q int, sizes []int, flow uint16, seq uint64) {
	s.Helper()
	fs := s.fs[:len(sizes)]
	s.alloc(q, fs)
	for i := range fs {
		fs[i].Data = build(fs[i].Data, s.me, s.peer, tag{flow, seq + uint64(i)}, sizes[i])
	}
	s.transmit(q, fs)
}

// receive lends what queue q has, up to len(fs), and counts it.
func (s *side) receive(q int, fs []driver.Frame) []driver.Frame {
	s.Helper()
	n, err := s.queues[q].Receive(fs)
	if err != nil {
		s.Fatalf("%s: receive from queue %d: %v", s.name, q, err)
	}
	for _, f := range fs[:n] {
		s.lent[q]++
		s.lentBytes[q] += uint64(len(f.Data))
	}
	return fs[:n]
}

// poll receives once from every queue and hands over the suite's packets, of which
// f says whether it gave them back; others are released. Without f all are.
func (s *side) poll(f func(q int, fr *driver.Frame, l tag) (given bool)) {
	s.Helper()
	for q := range s.queues {
		fs := s.receive(q, s.fs)
		for i := range fs {
			l, ok := parse(fs[i].Data)
			if !ok || f == nil || !f(q, &fs[i], l) {
				s.queues[q].Release(fs[i : i+1])
			}
		}
	}
}

// check fails the test unless a packet that arrived at s is as its sender built
// it, and the next of its flow: nothing lost, doubled or out of order. Packets of
// lossy flows are not counted.
func (s *side) check(fr *driver.Frame, l tag) {
	s.Helper()
	if !intact(fr.Data, s.peer, s.me, l, s.scratch) {
		s.Fatalf("%s: packet %+v is damaged: %x", s.name, l, fr.Data)
	}
	if s.lossy[l.flow] {
		return
	}
	if want := s.next[l.flow]; l.seq != want {
		s.Fatalf("%s: packet %d of flow %d arrived, want %d", s.name, l.seq, l.flow, want)
	}
	s.next[l.flow]++
	s.arrived++
}

// expect polls until n more packets arrived, checking each.
func (s *side) expect(n int) {
	s.Helper()
	want := s.arrived + n
	s.until("packets to "+s.name, func() {
		s.poll(func(_ int, fr *driver.Frame, l tag) bool { s.check(fr, l); return false })
	}, func() bool { return s.arrived >= want })
	if s.arrived > want {
		s.Fatalf("%s: %d packets arrived, want %d", s.name, s.arrived, want)
	}
}

// exchange moves a batch each way over every queue: the pair works.
func (r *rig) exchange(flow uint16) {
	r.Helper()
	for _, pair := range [][2]*side{{r.a, r.b}, {r.b, r.a}} {
		from, to := pair[0], pair[1]
		for q := range from.queues {
			f := flow + uint16(q)
			from.send(q, batch/2, minPacket, f, to.next[f])
			to.expect(batch / 2)
		}
	}
}
