package counter

import (
	"sync"
	"testing"

	"shardnet/stack/drop"
)

func TestPublish(t *testing.T) {
	var s Set
	s.Inc(Turns)
	s.Add(RxPackets, 64)
	s.Add(RxPackets, 3)
	s.Drop(drop.Malformed)
	s.Drop(drop.NumReasons - 1)
	s.Drop(drop.NumReasons - 1)
	s.Store(ACKsSaved, 9)
	all := func() (got [drops]uint64) {
		for c := range drops {
			got[c] = s.Get(c)
		}
		return got
	}
	dropped := func() (d drop.Counts) { s.Drops(&d); return d }
	if all() != [drops]uint64{} || dropped() != (drop.Counts{}) {
		t.Errorf("seen before Publish: %v, %v", all(), dropped())
	}
	if n := s.Local(RxPackets); n != 67 {
		t.Errorf("the loop sees %d, want 67", n)
	}
	s.Publish()
	want := [drops]uint64{Turns: 1, RxPackets: 67, ACKsSaved: 9}
	wantDrops := drop.Counts{drop.Malformed: 1, drop.NumReasons - 1: 2}
	if all() != want || dropped() != wantDrops {
		t.Errorf("published %v, %v; want %v, %v", all(), dropped(), want, wantDrops)
	}
	s.Inc(Turns)
	s.Store(ACKsSaved, 10)
	s.Publish()
	s.Publish()
	want[Turns], want[ACKsSaved] = 2, 10
	if all() != want || dropped() != wantDrops {
		t.Errorf("published again: %v, %v; want %v, %v", all(), dropped(), want, wantDrops)
	}
	// Drops adds to what is there, as those of a stack are summed.
	sum := dropped()
	s.Drops(&sum)
	if sum[drop.Malformed] != 2 || sum[drop.NumReasons-1] != 4 {
		t.Errorf("twice the drops are %v", sum)
	}
}

// Each counter and each reason has a place of its own.
func TestCountersDoNotOverlap(t *testing.T) {
	var s Set
	for c := range drops {
		s.Add(c, int(c)+1)
	}
	for r := range drop.NumReasons {
		for range int(r) + 100 {
			s.Drop(r)
		}
	}
	s.Publish()
	for c := range drops {
		if n := s.Get(c); n != uint64(c)+1 {
			t.Errorf("counter %d is %d, want %d", c, n, c+1)
		}
	}
	var d drop.Counts
	s.Drops(&d)
	for r, n := range d {
		if n != uint64(r)+100 {
			t.Errorf("%v is %d, want %d", drop.Reason(r), n, r+100)
		}
	}
}

// Readers on other goroutines see counters that only grow, and in the end all of them.
func TestReadersBesideTheLoop(t *testing.T) {
	const turns = 5000
	var s Set
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			var rx, dropped uint64
			for ended := false; !ended; {
				select {
				case <-done:
					ended = true
				default:
				}
				var d drop.Counts
				n := s.Get(RxPackets)
				s.Drops(&d)
				if n < rx || n%64 != 0 || d[drop.OtherHost] < dropped {
					t.Errorf("%d packets after %d, %d drops after %d", n, rx, d[drop.OtherHost], dropped)
					return
				}
				rx, dropped = n, d[drop.OtherHost]
			}
			if rx != 64*turns || dropped != turns {
				t.Errorf("in the end %d packets and %d drops, want %d and %d", rx, dropped, 64*turns, turns)
			}
		})
	}
	for range turns {
		for range 64 {
			s.Inc(RxPackets)
		}
		s.Drop(drop.OtherHost)
		s.Publish()
	}
	close(done)
	readers.Wait()
}

func TestCountingAllocates(t *testing.T) {
	var s Set
	if n := testing.AllocsPerRun(100, func() { s.Inc(Turns); s.Drop(drop.BadChecksum); s.Publish(); s.Get(Turns) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
