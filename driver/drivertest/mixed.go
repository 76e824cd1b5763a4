package drivertest

import "shardnet/driver"

// testMixedSizes: packets of all sizes around those at which devices divide
// memory, each between a small and a large one, arrive whole and in order both
// ways, are rewritten in place to other sizes and sent back, and count as what
// they are.
func testMixedSizes(r *rig) {
	sizes := boundarySizes(r.maxPacket())
	for _, pair := range [][2]*side{{r.a, r.b}, {r.b, r.a}} {
		from, to := pair[0], pair[1]
		for q := range from.queues {
			flow := uint16(q)
			for rest := sizes; len(rest) > 0; {
				n := min(len(rest), batch/2)
				from.sendSizes(q, rest[:n], flow, to.next[flow])
				to.expect(n)
				rest = rest[n:]
			}
		}
	}
	// Answers go through the sizes the other way, so that every size becomes
	// another.
	answered := make([]uint64, len(r.b.queues))
	for rest := sizes; len(rest) > 0; {
		n := min(len(rest), batch/4)
		r.a.sendSizes(0, rest[:n], 50, r.b.next[50])
		rest = rest[n:]
		want := r.b.arrived + n
		r.until("packets to turn round", func() {
			r.b.poll(func(q int, fr *driver.Frame, l tag) bool {
				r.b.check(fr, l)
				size := min(sizes[len(sizes)-1-int(l.seq)%len(sizes)], cap(fr.Data))
				fr.Data = build(fr.Data, r.b.me, r.b.peer, tag{100 + uint16(q), answered[q]}, size)
				answered[q]++
				r.b.transmit(q, []driver.Frame{*fr})
				return true
			})
		}, func() bool { return r.b.arrived == want })
		r.a.expect(n)
	}
	for _, s := range []*side{r.a, r.b} {
		s.flush()
		for q := range s.queues {
			st := s.queues[q].Stats()
			if st.RxPackets != s.lent[q] || st.RxBytes != s.lentBytes[q] || st.TxPackets != s.sent[q] || st.TxBytes != s.sentBytes[q] ||
				st.RxErrors != 0 || st.TxErrors != 0 || st.Lent != 0 {
				r.Errorf("%s: queue %d lent %d packets of %d bytes, sent %d of %d, and counted %+v",
					s.name, q, s.lent[q], s.lentBytes[q], s.sent[q], s.sentBytes[q], st)
			}
		}
	}
}

// boundarySizes returns sizes up to most around multiples of 2 and 4 KiB, with
// and without the kernel's headroom, each followed by the least and the largest
// in turn.
func boundarySizes(most int) (sizes []int) {
	other := [2]int{minPacket, most}
	for _, chunk := range []int{2048, 4096} {
		for _, room := range []int{chunk - 256, chunk} {
			for edge := room; edge-1 <= most; edge += room {
				for size := edge - 1; size <= min(edge+1, most); size++ {
					sizes = append(sizes, size, other[len(sizes)/2%2])
				}
			}
		}
	}
	return append(sizes, minPacket, most, minPacket, most)
}
