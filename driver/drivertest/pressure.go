package drivertest

import (
	"shardnet/driver"
)

// testTransmitPartial: a TX ring that is full takes what fits and leaves the rest
// with the caller, who sends it later.
func testTransmitPartial(r *rig) {
	size := r.packetSize(minPacket)
	n := r.a.info.TxRing + batch
	frames := r.a.stats().Frames
	if n+r.a.info.RxRing > frames {
		r.Fatalf("A has %d frames for rings of %d and %d: its TX ring can't be filled", frames, r.a.info.RxRing, r.a.info.TxRing)
	}
	fs := make([]driver.Frame, n)
	seq := uint64(0)
	for range 4 {
		r.a.alloc(0, fs)
		for i := range fs {
			fs[i].Data = build(fs[i].Data, r.a.me, r.a.peer, tag{1, seq}, size)
			seq++
		}
		before := r.a.queues[0].Stats()
		took, err := r.a.queues[0].Transmit(fs)
		if err != nil || took < 0 || took > n {
			r.Fatalf("A: transmit took %d of %d: %v", took, n, err)
		}
		if took == 0 {
			r.Fatalf("A: an empty TX ring took nothing")
		}
		// Nothing need leave before Flush, but may; so all may have been taken.
		if err := r.a.queues[0].Flush(); err != nil {
			r.Fatalf("A: flush: %v", err)
		}
		after := r.a.queues[0].Stats()
		if full := after.TxFull - before.TxFull; full != uint64(n-took) {
			r.Errorf("A: TxFull rose by %d though %d of %d were taken", full, took, n)
		}
		if sent := after.TxPackets - before.TxPackets; sent != uint64(took) {
			r.Errorf("A: TxPackets rose by %d though %d were taken", sent, took)
		}
		if after.Lent != n-took {
			r.Errorf("A: %d frames lent though %d are held", after.Lent, n-took)
		}
		// The rest is still the caller's: half of it goes back unsent, and one
		// packet's bytes are built anew.
		rest := fs[took:]
		r.a.queues[0].Release(rest[:len(rest)/2])
		rest = rest[len(rest)/2:]
		seq -= uint64(n - took)
		for i := range rest {
			rest[i].Data = build(rest[i].Data, r.a.me, r.a.peer, tag{1, seq}, size)
			seq++
		}
		arrived := r.b.arrived + took + len(rest)
		r.a.transmitWhile(rest, func() { r.b.pollChecked() })
		r.until("packets to B", r.b.pollChecked, func() bool { return r.b.arrived == arrived })
	}
	if r.b.stats().RxDropped == 0 && r.b.next[1] != seq {
		r.Errorf("B got %d packets, want %d", r.b.next[1], seq)
	}
}

// pollChecked receives and checks what there is.
func (s *side) pollChecked() {
	s.Helper()
	s.poll(func(_ int, fr *driver.Frame, l tag) bool { s.check(fr, l); return false })
}

// transmitWhile transmits all of fs on queue 0, running step in between.
func (s *side) transmitWhile(fs []driver.Frame, step func()) {
	s.Helper()
	s.until("room in "+s.name+"'s TX ring", step, func() bool {
		n, err := s.queues[0].Transmit(fs)
		if err != nil {
			s.Fatalf("%s: transmit: %v", s.name, err)
		}
		fs = fs[n:]
		return len(fs) == 0
	})
	s.flush()
}

// testReceiveRingFull: whoever does not receive loses packets, counted; neither
// end blocks, and all is well as soon as he does.
func testReceiveRingFull(r *rig) {
	size := r.packetSize(minPacket)
	for flow := range uint16(3) {
		r.a.lossy[flow] = true
		want := 4 * (r.a.info.RxRing + r.a.stats().Frames)
		before := r.a.queues[0].Stats()
		lentBefore := r.a.lent[0]
		sent := 0
		r.within("sending to who does not receive", func() {
			// By hand, for Fatal is not for this goroutine.
			q, fs := r.b.queues[0], r.b.fs
			for sent < want {
				n := q.Alloc(fs)
				for i := range fs[:n] {
					fs[i].Data = build(fs[i].Data, r.b.me, r.b.peer, tag{flow, uint64(sent + i)}, size)
				}
				took, err := q.Transmit(fs[:n])
				q.Release(fs[took:n])
				sent += took
				if ferr := q.Flush(); err != nil || ferr != nil {
					r.Errorf("B: transmit: %v, flush: %v", err, ferr)
					return
				}
			}
		})
		// What got through is a run of packets in order, with gaps.
		got, last := 0, -1
		saw := func(fr *driver.Frame, l tag) {
			r.a.check(fr, l)
			if l.flow == flow {
				if int(l.seq) <= last {
					r.Errorf("A: packet %d arrived after %d", l.seq, last)
				}
				last = int(l.seq)
				got++
			}
		}
		drain := func() {
			r.a.poll(func(_ int, fr *driver.Frame, l tag) bool { saw(fr, l); return false })
		}
		accounted := func() bool {
			st := r.a.queues[0].Stats()
			// The lost may include a kernel's own packets, which are not ours to
			// count; so at least as many as ours.
			return st.RxPackets-before.RxPackets+st.RxDropped-before.RxDropped >= uint64(sent)
		}
		r.until("packets out of the full ring", drain, func() bool { return got > 0 })
		if !r.pair.Uncounted {
			r.until("lost packets to be counted", drain, accounted)
			st := r.a.queues[0].Stats()
			if total := st.RxPackets - before.RxPackets + st.RxDropped - before.RxDropped; total != uint64(sent) {
				r.Errorf("A: %d packets received or dropped, %d sent", total, sent)
			}
		}
		r.settle(r.b, r.a, flow+100, saw)
		if got >= sent {
			r.Errorf("A: got %d of %d packets through a ring of %d: it did not fill", got, sent, r.a.info.RxRing)
		}
		st := r.a.queues[0].Stats()
		if st.RxPackets-before.RxPackets != r.a.lent[0]-lentBefore {
			r.Errorf("A: RxPackets rose by %d, Receive lent %d", st.RxPackets-before.RxPackets, r.a.lent[0]-lentBefore)
		}
		r.exchange(200 + 10*flow)
	}
}

// settle sends packets of a flow from one end until one arrives: whatever was sent
// before has arrived then, or is lost. saw, if not nil, is shown all that arrives.
func (r *rig) settle(from, to *side, flow uint16, saw func(fr *driver.Frame, l tag)) {
	r.Helper()
	to.lossy[flow] = true
	arrived, polls := false, 0
	r.until("the cable to pass packets again", func() {
		to.poll(func(_ int, fr *driver.Frame, l tag) bool {
			if saw != nil {
				saw(fr, l)
			}
			arrived = arrived || l.flow == flow
			return false
		})
		if polls%1000 == 0 && !arrived {
			from.send(0, 1, minPacket, flow, uint64(polls))
		}
		polls++
	}, func() bool { return arrived })
}

// testFramesExhausted: a caller who holds every frame gets no more, which is
// counted; packets that come meanwhile are lost; once he gives back, all is well.
func testFramesExhausted(r *rig) {
	for round := range uint16(3) {
		q := r.a.queues[0]
		var held []driver.Frame
		fs := make([]driver.Frame, batch)
		before := q.Stats()
		asked := 0
		for short := false; !short; {
			n := q.Alloc(fs)
			asked += batch
			held = append(held, fs[:n]...)
			short = n < batch
			if len(held) > before.Frames {
				r.Fatalf("A: Alloc lent %d frames of %d", len(held), before.Frames)
			}
		}
		if n := q.Alloc(fs); n != 0 {
			// The device had more under way; it too runs out.
			held = append(held, fs[:n]...)
		}
		if len(held) == 0 {
			r.Fatal("A: Alloc lent nothing")
		}
		r.a.flush()
		st := q.Stats()
		if st.Lent != len(held) || st.Frames != before.Frames {
			r.Errorf("A: holding %d frames: %+v", len(held), st)
		}
		if st.AllocShort-before.AllocShort < uint64(asked-len(held)) {
			r.Errorf("A: AllocShort rose by %d, asked for %d and got %d", st.AllocShort-before.AllocShort, asked, len(held))
		}
		// Take the rest by receiving, until nothing more can arrive.
		r.a.lossy[round] = true
		seq := uint64(0)
		for range 4 * before.Frames / batch {
			r.b.send(0, batch, r.packetSize(minPacket), round, seq)
			seq += batch
			held = append(held, r.a.receive(0, fs)...)
			r.a.flush()
		}
		if len(held) > before.Frames {
			r.Errorf("A: lent %d frames of %d", len(held), before.Frames)
		}
		if st := q.Stats(); st.Lent != len(held) {
			r.Errorf("A: Lent is %d, %d are held", st.Lent, len(held))
		}
		q.Release(held)
		r.settle(r.b, r.a, 100+round, nil)
		r.a.flush()
		if st := q.Stats(); st.Lent != 0 {
			r.Errorf("A: Lent is %d, all was given back", st.Lent)
		}
		r.exchange(200 + 10*round)
	}
}
