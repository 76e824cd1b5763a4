package drivertest

import (
	"runtime"
	"testing"
	"time"

	"shardnet/driver"
)

// testStatistics: the counters of both ends add up, with each other and with what
// the caller did and saw.
func testStatistics(r *rig) {
	sizes := []int{minPacket, 200, r.maxPacket()}
	for round := range uint16(6) {
		for _, pair := range [][2]*side{{r.a, r.b}, {r.b, r.a}} {
			from, to := pair[0], pair[1]
			for q := range from.queues {
				flow := uint16(q)
				from.send(q, batch/2, sizes[int(round)%len(sizes)], flow, to.next[flow])
				to.expect(batch / 2)
			}
		}
	}
	// Frames held, and given back unsent, are no packets.
	held := make([]driver.Frame, 5)
	r.a.alloc(0, held)
	for _, s := range []*side{r.a, r.b} {
		s.flush()
		for q := range s.queues {
			st := s.queues[q].Stats()
			want := driver.Stats{
				RxPackets: s.lent[q], RxBytes: s.lentBytes[q],
				TxPackets: s.sent[q], TxBytes: s.sentBytes[q],
			}
			if st.RxPackets != want.RxPackets || st.RxBytes != want.RxBytes ||
				st.TxPackets != want.TxPackets || st.TxBytes != want.TxBytes {
				r.Errorf("%s: queue %d counted %+v, want %+v", s.name, q, st, want)
			}
			if st.TxErrors != 0 || st.RxErrors != 0 || st.RxDropped != 0 && !r.pair.Uncounted {
				r.Errorf("%s: queue %d counted errors where there were none: %+v", s.name, q, st)
			}
			if st.Doorbells == 0 {
				r.Errorf("%s: queue %d rang no doorbell: %+v", s.name, q, st)
			}
			lent := 0
			if s == r.a && q == 0 {
				lent = len(held)
			}
			if st.Lent != lent {
				r.Errorf("%s: queue %d has %d frames lent, want %d", s.name, q, st.Lent, lent)
			}
		}
	}
	r.a.queues[0].Release(held)
	r.a.flush()
	if st := r.a.queues[0].Stats(); st.Lent != 0 {
		r.Errorf("A: %d frames lent after all were released", st.Lent)
	}
	// One doorbell a batch, not one a packet: a device may need a few for what it
	// moves at a time, and some to refill.
	doorbells, packets := r.a.stats().Doorbells, r.a.stats().TxPackets+r.a.stats().RxPackets
	if doorbells > packets {
		r.Errorf("A: %d doorbells for %d packets", doorbells, packets)
	}
	// Stats may be read by anybody while the owner works.
	done := make(chan struct{})
	go func() {
		defer close(done)
		var last driver.Stats
		for range 1000 {
			st := r.a.queues[0].Stats()
			if st.TxPackets < last.TxPackets || st.RxPackets < last.RxPackets || st.RxBytes < last.RxBytes {
				r.Errorf("A: counters went back from %+v to %+v", last, st)
				return
			}
			last = st
			runtime.Gosched()
		}
	}()
	for reading := true; reading; {
		r.exchange(60)
		select {
		case <-done:
			reading = false
		default:
		}
	}
}

// mover sends batches from A to B and back in place, on the raw devices, without
// allocating.
type mover struct {
	a, b     []driver.Queue
	me, peer host
	size     int
	fs, rx   []driver.Frame
	seq      uint64
	sum      uint64 // of the sequence numbers sent and not yet back
	out      int    // packets sent and not yet back
	returned int
	damaged  int
	failed   error
}

func newMover(r *rig) *mover {
	m := &mover{
		me: r.a.me, peer: r.b.me, size: r.packetSize(minPacket),
		fs: make([]driver.Frame, batch), rx: make([]driver.Frame, batch),
	}
	for i := range r.cfg.Queues {
		m.a = append(m.a, r.pair.A.Queue(i))
		m.b = append(m.b, r.pair.B.Queue(i))
	}
	return m
}

// send sends up to n packets from A's queue q.
func (m *mover) send(q, n int) {
	k := m.a[q].Alloc(m.fs[:n])
	for i := range m.fs[:k] {
		m.fs[i].Data = build(m.fs[i].Data, m.me, m.peer, tag{uint16(m.seq % 64), m.seq + uint64(i)}, m.size)
	}
	took, err := m.a[q].Transmit(m.fs[:k])
	m.fail(err)
	m.a[q].Release(m.fs[took:k])
	for i := range took {
		m.sum += m.seq + uint64(i)
	}
	m.seq += uint64(took)
	m.out += took
	m.fail(m.a[q].Flush())
}

// move turns round what is at B and takes in what is at A.
func (m *mover) move() {
	for _, q := range m.b {
		n, err := q.Receive(m.rx)
		m.fail(err)
		keep := m.rx[:0]
		for i := range m.rx[:n] {
			if _, ok := parse(m.rx[i].Data); !ok {
				q.Release(m.rx[i : i+1])
				continue
			}
			swapEndpoints(m.rx[i].Data)
			keep = append(keep, m.rx[i])
		}
		for len(keep) > 0 {
			took, err := q.Transmit(keep)
			m.fail(err)
			m.fail(q.Flush())
			keep = keep[took:]
			if m.failed != nil {
				return
			}
		}
		m.fail(q.Flush())
	}
	for _, q := range m.a {
		m.fail(q.Flush())
		n, err := q.Receive(m.rx)
		m.fail(err)
		for i := range m.rx[:n] {
			if l, ok := parse(m.rx[i].Data); ok {
				m.sum -= l.seq
				m.out--
				m.returned++
				if len(m.rx[i].Data) != m.size {
					m.damaged++
				}
			}
		}
		q.Release(m.rx[:n])
	}
}

func (m *mover) fail(err error) {
	if err != nil && m.failed == nil {
		m.failed = err
	}
}

// round sends n packets from A's queue q and brings them all back.
func (m *mover) round(q, n int, deadline time.Time) bool {
	for want := m.returned + n; m.returned < want && m.failed == nil; {
		if missing := want - m.returned - m.out; missing > 0 {
			m.send(q, min(missing, batch))
		}
		m.move()
		if m.out > 0 {
			runtime.Gosched()
			if time.Now().After(deadline) {
				return false
			}
		}
	}
	return m.failed == nil && m.out == 0 && m.sum == 0 && m.damaged == 0
}

// testNoAllocations: no call on the data path allocates.
func testNoAllocations(r *rig) {
	m := newMover(r)
	ok := true
	turn := func() {
		for q := range m.a {
			ok = ok && m.round(q, batch/2, time.Now().Add(r.limit))
			for _, w := range []driver.Queue{m.a[q], m.b[q]} {
				w.Wake()
				m.fail(w.Wait(-1))
				m.fail(w.Wait(time.Microsecond))
				_ = w.Stats()
			}
		}
	}
	for range 10 {
		turn()
	}
	allocs := testing.AllocsPerRun(50, turn)
	if !ok || m.failed != nil {
		r.Fatalf("packets did not come back: %d missing, %d damaged, %v\nA %+v\nB %+v", m.out, m.damaged, m.failed, r.a.stats(), r.b.stats())
	}
	if allocs != 0 {
		r.Errorf("%v allocations for %d packets there and back", allocs, len(m.a)*batch/2)
	}
}

// testNoLeak: after a million packets every frame is still there.
func testNoLeak(r *rig) {
	packets := r.pair.Packets
	if packets == 0 {
		packets = 1_000_000
	}
	if testing.Short() || underRace {
		packets /= 10
	}
	if r.large {
		packets /= 10
	}
	m := newMover(r)
	before := [2][]int{freeFrames(r, m.a), freeFrames(r, m.b)}
	for sent := 0; sent < packets; sent += batch {
		if !m.round(sent/batch%len(m.a), batch, time.Now().Add(r.limit)) {
			r.Fatalf("after %d packets: %d missing, %d damaged, %v\nA %+v\nB %+v", sent, m.out, m.damaged, m.failed, r.a.stats(), r.b.stats())
		}
	}
	for side, queues := range [2][]driver.Queue{m.a, m.b} {
		for i, q := range queues {
			if err := q.Flush(); err != nil {
				r.Fatal(err)
			}
			if st := q.Stats(); st.Lent != 0 {
				r.Errorf("end %c queue %d: %d frames lent, none is held", 'A'+side, i, st.Lent)
			}
		}
		// What can be allocated is what could be at first. Frames on their way out
		// come back soon.
		var after []int
		r.until("all frames to be there again", func() { m.move() }, func() bool {
			after = freeFrames(r, queues)
			for i := range after {
				if after[i] < before[side][i] {
					return false
				}
			}
			return true
		})
	}
}

// freeFrames is how many frames each queue can lend now.
func freeFrames(r *rig, queues []driver.Queue) (n []int) {
	r.Helper()
	for _, q := range queues {
		fs := make([]driver.Frame, q.Stats().Frames+1)
		k := q.Alloc(fs)
		if k > len(fs)-1 {
			r.Fatalf("Alloc lent %d of %d frames", k, len(fs)-1)
		}
		seen := make(map[uint64]bool)
		for _, f := range fs[:k] {
			if seen[f.Handle] {
				r.Fatalf("Alloc lent frame %#x twice", f.Handle)
			}
			seen[f.Handle] = true
		}
		q.Release(fs[:k])
		n = append(n, k)
	}
	return n
}
