package drivertest

import (
	"bytes"
	"errors"
	"net"
	"reflect"
	"slices"
	"time"

	"shardnet/driver"
	"shardnet/driver/rss"
)

// testInfo: a device says sane things about itself.
func testInfo(r *rig) {
	for _, s := range []*side{r.a, r.b} {
		i := s.info
		if i.Driver == "" || i.Interface == "" || i.Mode == "" {
			r.Errorf("%s: driver %q, interface %q, mode %q: one is empty", s.name, i.Driver, i.Interface, i.Mode)
		}
		if len(i.MAC) != 6 || i.MAC[0]&1 != 0 || bytes.Equal(i.MAC, make([]byte, 6)) {
			r.Errorf("%s: MAC %v is no unicast address", s.name, i.MAC)
		}
		if i.MTU < 68 || i.FrameSize < i.MTU+etherHeader {
			r.Errorf("%s: MTU %d, frame size %d", s.name, i.MTU, i.FrameSize)
		}
		if i.RxRing < 1 || i.TxRing < 1 {
			r.Errorf("%s: rings of %d and %d", s.name, i.RxRing, i.TxRing)
		}
		if rs := i.RSS; rs != nil {
			if len(rs.Key) != rss.KeySize {
				r.Errorf("%s: RSS key has %d bytes", s.name, len(rs.Key))
			}
			if err := rss.Table(rs.Table).Validate(i.Queues); err != nil {
				r.Errorf("%s: RSS: %v", s.name, err)
			}
		}
		if len(i.Addresses) > 0 && !slices.Contains(i.Addresses, s.me.addr) {
			r.Errorf("%s: redirects packets to %v, and was opened with %v", s.name, i.Addresses, s.me.addr)
		}
		if again := s.dev.Info(); !reflect.DeepEqual(again, i) {
			r.Errorf("%s: info changed from %+v to %+v", s.name, i, again)
		}
		for q := range i.Queues {
			raw := s.raw.Queue(q)
			if raw == nil || raw != s.raw.Queue(q) {
				r.Errorf("%s: Queue(%d) is not the same each time", s.name, q)
			}
			if st := raw.Stats(); st.Frames < 2 || st.Lent != 0 || st.TxPackets != 0 || st.AllocShort != 0 {
				r.Errorf("%s: queue %d opened with %+v", s.name, q, st)
			}
		}
	}
	if bytes.Equal(r.a.info.MAC, r.b.info.MAC) {
		r.Errorf("both ends have MAC %v", r.a.info.MAC)
	}
}

// testNothingToDo: calls with nothing in them do nothing.
func testNothingToDo(r *rig) {
	for _, s := range []*side{r.a, r.b} {
		for i, q := range s.queues {
			before := q.Stats()
			if n, err := q.Receive(nil); n != 0 || err != nil {
				r.Errorf("%s: Receive of nothing: %d, %v", s.name, n, err)
			}
			if n := q.Alloc(nil); n != 0 {
				r.Errorf("%s: Alloc of nothing: %d", s.name, n)
			}
			if n, err := q.Transmit(nil); n != 0 || err != nil {
				r.Errorf("%s: Transmit of nothing: %d, %v", s.name, n, err)
			}
			q.Release(nil)
			for range 2 {
				if err := q.Flush(); err != nil {
					r.Errorf("%s: Flush of nothing: %v", s.name, err)
				}
			}
			after := q.Stats()
			if after.TxPackets != before.TxPackets || after.TxErrors != before.TxErrors || after.TxFull != before.TxFull ||
				after.AllocShort != before.AllocShort || after.Lent != 0 || after.RxPackets != before.RxPackets {
				r.Errorf("%s: queue %d counted nothing: %+v, then %+v", s.name, i, before, after)
			}
		}
	}
	r.exchange(0)
}

// testBatches: whatever goes in at one end comes out at the other, once, in
// order and unaltered, at all sizes of batch and packet, from all queues.
func testBatches(r *rig) {
	flow := uint16(0)
	for _, pair := range [][2]*side{{r.a, r.b}, {r.b, r.a}} {
		from, to := pair[0], pair[1]
		for q := range from.queues {
			for _, size := range []int{minPacket, 61, 64, 65, 128, 590, r.maxPacket()} {
				for _, n := range []int{1, 2, 31, 32, 33, batch} {
					from.send(q, n, size, flow, to.next[flow])
					to.expect(n)
				}
			}
			flow++
		}
	}
	// A receiver that asks for less gets the rest later, in order.
	r.a.send(0, batch, minPacket, flow, 0)
	small := make([]driver.Frame, 3)
	r.until("a batch in threes", func() {
		for q := range r.b.queues {
			fs := r.b.receive(q, small)
			for i := range fs {
				if l, ok := parse(fs[i].Data); ok {
					r.b.check(&fs[i], l)
				}
			}
			r.b.queues[q].Release(fs)
		}
	}, func() bool { return r.b.next[flow] == batch })
}

// testRSS: a device that says how it spreads flows does it that way; any device
// keeps a flow in order.
func testRSS(r *rig) {
	for _, pair := range [][2]*side{{r.a, r.b}, {r.b, r.a}} {
		from, to := pair[0], pair[1]
		var steering *rss.Steering
		if to.info.RSS != nil {
			var err error
			if steering, err = rss.New(to.info.RSS.Key, to.info.RSS.Table); err != nil {
				r.Fatal(err)
			}
		}
		hits := make([]int, len(to.queues))
		for flow := range uint16(256) {
			from.send(int(flow)%len(from.queues), 2, minPacket, flow, 0)
			want := to.arrived + 2
			r.until("a flow's packets", func() {
				to.poll(func(q int, fr *driver.Frame, l tag) bool {
					to.check(fr, l)
					hits[q]++
					if steering != nil && steering.QueueOfFrame(fr.Data) != q {
						r.Errorf("%s: flow %d came in on queue %d, want %d", to.name, l.flow, q, steering.QueueOfFrame(fr.Data))
					}
					return false
				})
			}, func() bool { return to.arrived == want })
		}
		for q, n := range hits {
			if n == 0 {
				r.Errorf("%s: none of 256 flows came in on queue %d: %v", to.name, q, hits)
			}
		}
	}
}

// testTransmitInPlace: a received frame is rewritten, shorter, longer or as long,
// and sent back without a copy.
func testTransmitInPlace(r *rig) {
	sizes := []int{minPacket, 100, 600, r.maxPacket()}
	seq := make(map[uint16]uint64)
	for round := range 64 {
		in, out := sizes[round%len(sizes)], sizes[round/len(sizes)%len(sizes)]
		q := round % len(r.a.queues)
		// Flows of B's answers, by the queue they leave from, since packets of one
		// flow keep their order on one queue alone.
		r.a.send(q, 16, in, uint16(q), r.b.next[uint16(q)])
		want := r.b.arrived + 16
		r.until("packets to turn round", func() {
			r.b.poll(func(q int, fr *driver.Frame, l tag) bool {
				r.b.check(fr, l)
				answer := tag{flow: 100 + uint16(q)}
				answer.seq = seq[answer.flow]
				seq[answer.flow]++
				fr.Data = build(fr.Data, r.b.me, r.b.peer, answer, min(out, cap(fr.Data)))
				r.b.transmit(q, []driver.Frame{*fr})
				return true
			})
		}, func() bool { return r.b.arrived == want })
		r.a.expect(16)
	}
	if held := r.b.stats().Lent; held != 0 {
		r.Errorf("B still holds %d frames", held)
	}
}

// testTrimFront: holders may trim a frame's front and send what is left; the
// whole of it is there again when it is lent next.
func testTrimFront(r *rig) {
	size := r.packetSize(200)
	frames := r.b.stats().Frames + r.a.stats().Frames
	for sent, trim := 0, 0; sent < 3*frames; sent += 2 * batch / 4 {
		trim = (trim + 7) % 120
		// Empty frames, filled further back.
		fs := r.a.fs[:batch/4]
		r.a.alloc(0, fs)
		for i := range fs {
			if c := cap(fs[i].Data); c < r.a.info.FrameSize {
				r.Fatalf("A: Alloc lent %d bytes, want %d", c, r.a.info.FrameSize)
			}
			l := tag{1, r.b.next[1] + uint64(i)}
			fs[i].Data = fs[i].Data[trim:trim]
			fs[i].Data = build(fs[i].Data, r.a.me, r.a.peer, l, min(size, cap(fs[i].Data)))
		}
		r.a.transmit(0, fs)
		want := r.b.arrived + batch/4
		r.until("packets to trim", func() {
			r.b.poll(func(q int, fr *driver.Frame, l tag) bool {
				r.b.check(fr, l)
				l = tag{2, l.seq}
				fr.Data = fr.Data[trim:trim]
				fr.Data = build(fr.Data, r.b.me, r.b.peer, l, min(size-trim/2, cap(fr.Data)))
				r.b.transmit(q, []driver.Frame{*fr})
				return true
			})
		}, func() bool { return r.b.arrived == want })
		r.a.expect(batch / 4)
	}
	r.exchange(10)
}

// testHeldFrames: what the caller holds stays as it is while traffic goes on.
func testHeldFrames(r *rig) {
	const n = 16
	var held []driver.Frame
	r.a.send(0, n, r.packetSize(300), 1, 0)
	r.until("packets to hold", func() {
		r.b.poll(func(_ int, fr *driver.Frame, l tag) bool {
			r.b.check(fr, l)
			held = append(held, *fr)
			return true
		})
	}, func() bool { return len(held) == n })
	empty := make([]driver.Frame, n)
	r.b.alloc(0, empty)
	for i := range empty {
		empty[i].Data = build(empty[i].Data, r.b.me, r.b.peer, tag{2, uint64(i)}, r.packetSize(300))
	}

	frames := r.b.stats().Frames
	for sent := 0; sent < 2*frames; sent += batch {
		r.exchange(10)
	}
	if lent := r.b.stats().Lent; lent != 2*n {
		r.Errorf("B lent %d frames, want %d", lent, 2*n)
	}
	for i, f := range held {
		if !intact(f.Data, r.a.me, r.b.me, tag{1, uint64(i)}, r.b.scratch) {
			r.Errorf("received frame %d changed while held: %x", i, f.Data)
		}
	}
	r.b.queues[0].Release(held)
	r.b.transmit(0, empty)
	r.a.expect(n) // checks their bytes
}

// testUnsendable: frames that can't be sent are taken, counted, recycled and never
// arrive; their neighbors do.
func testUnsendable(r *rig) {
	rounds := r.a.stats().Frames/2 + 1 // more bad frames than there are
	bad := 0
	for round := range uint64(rounds) {
		fs := r.a.fs[:4]
		r.a.alloc(0, fs)
		fs[0].Data = build(fs[0].Data, r.a.me, r.a.peer, tag{1, 2 * round}, minPacket)
		fs[1].Data = fs[1].Data[:0]
		fs[2].Data = fs[2].Data[:0]
		// One byte more than the MTU with a VLAN tag, where a frame can be so long.
		if long := r.a.info.MTU + etherHeader + 4 + 1; cap(fs[2].Data) >= long {
			fs[2].Data = build(fs[2].Data, r.a.me, r.a.peer, tag{2, round}, long)
		}
		fs[3].Data = build(fs[3].Data, r.a.me, r.a.peer, tag{1, 2*round + 1}, minPacket)
		r.a.transmit(0, fs)
		bad += 2
		r.b.expect(2)
	}
	r.a.flush()
	st := r.a.stats()
	if st.TxErrors != uint64(bad) || st.TxPackets != uint64(2*rounds) || st.TxBytes != uint64(2*rounds*minPacket) {
		r.Errorf("after %d good and %d bad frames: %+v", 2*rounds, bad, st)
	}
	if st.Lent != 0 {
		r.Errorf("A still holds %d frames", st.Lent)
	}
}

// testLinkDown: a link that is down is said to be, loses no frame of the queue,
// and comes back.
func testLinkDown(r *rig) {
	if r.pair.SetLink == nil {
		r.Log("the cable has no link to take down")
		return
	}
	r.exchange(0)
	if err := r.pair.SetLink(false); err != nil {
		r.Fatal(err)
	}
	fs := r.a.fs[:8]
	r.a.alloc(0, fs)
	for i := range fs {
		fs[i].Data = build(fs[i].Data, r.a.me, r.a.peer, tag{20, uint64(i)}, minPacket)
	}
	if n, err := r.a.queues[0].Transmit(fs); n != len(fs) || err != nil {
		r.Fatalf("A: transmit with the link down took %d of %d: %v", n, len(fs), err)
	}
	err := r.a.queues[0].Flush()
	r.until("Flush to say that the link is down", func() {
		if err == nil {
			err = r.a.queues[0].Flush()
		}
	}, func() bool { return err != nil })
	if !errors.Is(err, driver.ErrLinkDown) || errors.Is(err, net.ErrClosed) {
		r.Errorf("A: flush with the link down: %v", err)
	}
	for _, s := range []*side{r.a, r.b} {
		if err := s.queues[0].Wait(time.Millisecond); err != nil && !errors.Is(err, driver.ErrLinkDown) {
			r.Errorf("%s: wait with the link down: %v", s.name, err)
		}
		if _, err := s.queues[0].Receive(s.fs[:0]); err != nil {
			r.Errorf("%s: receive with the link down: %v", s.name, err)
		}
	}
	if err := r.pair.SetLink(true); err != nil {
		r.Fatal(err)
	}
	// What was taken leaves, unless a cable of the system's lost it on the way up.
	var seq, got uint64
	r.until("packets over the link that is up again", func() {
		if r.a.queues[0].Flush() == nil {
			r.a.send(0, 1, minPacket, 21, seq)
			seq++
		}
		r.b.poll(func(_ int, fr *driver.Frame, l tag) bool {
			if l.flow == 20 {
				if l.seq != r.b.next[20] && !r.pair.Uncounted {
					r.Errorf("B: packet %d kept over the link's fall arrived, want %d", l.seq, r.b.next[20])
				}
				r.b.next[20]++
			}
			if l.flow == 21 {
				got++
			}
			return false
		})
	}, func() bool { return got > 0 })
	if n := r.b.next[20]; n != 8 && !r.pair.Uncounted {
		r.Errorf("B: %d packets kept over the link's fall arrived, want 8", n)
	}
	if lent := r.a.stats().Lent; lent != 0 {
		r.Errorf("A still holds %d frames", lent)
	}
}
