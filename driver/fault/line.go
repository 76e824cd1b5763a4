package fault

import (
	"math"
	"math/rand/v2"
	"time"

	"shardnet/driver"
)

// never is later than any due time.
const never = int64(math.MaxInt64)

// line is one direction of one queue: frames go in at push, and come out of due
// in the order and at the time the faults give them. It belongs to the owner of
// the queue. Times are nanoseconds since the device was wrapped.
type line struct {
	cfg   Config
	queue driver.Queue // lends the duplicates, and gets back what is dropped

	drop, corrupt, duplicate, reorder *rand.Rand

	// late are frames kept back until enough others passed. All wait for the
	// same number and the same time, so the oldest is always the first to go.
	late   fifo
	passed int64 // frames that were not kept back, the measure of late.pass

	// out are frames on their way through bottleneck and delay. Their due times
	// only grow.
	out  fifo
	busy int64 // when the bottleneck has sent all of out
	sent int64 // position in out of the first frame still in the bottleneck

	one    [1]driver.Frame // for calls of the queue: a slice of a local would be allocated
	counts counters
}

// held is a frame on the line.
type held struct {
	frame  driver.Frame
	due    int64 // when it may go on
	leaves int64 // in out: when the bottleneck has sent it
	pass   int64 // in late: goes on when this many frames have passed
}

// newLine returns the line of queue index i in direction dir.
func newLine(cfg Config, q driver.Queue, i int, dir Direction) *line {
	stream := func(kind uint64) *rand.Rand {
		return rand.New(rand.NewPCG(mix(cfg.Seed), mix(uint64(i)<<16|uint64(dir)<<8|kind)))
	}
	return &line{
		cfg:       cfg,
		queue:     q,
		drop:      stream(1),
		corrupt:   stream(2),
		duplicate: stream(3),
		reorder:   stream(4),
		late:      newFIFO(cfg.Limit),
		out:       newFIFO(cfg.Limit),
	}
}

// mix spreads small differences between seeds over all bits, so that streams
// with neighbouring numbers have nothing in common. Source: SplitMix64's output
// function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// roll draws from a stream whether a fault of probability p happens.
func roll(r *rand.Rand, p float64) bool { return p > 0 && r.Float64() < p }

// push takes a frame from whoever held it. The streams are drawn from for every
// frame, so that no fault shifts the pattern of another.
func (l *line) push(f driver.Frame, now int64) {
	l.expire(now)
	inc(&l.counts.frames)
	drop := roll(l.drop, l.cfg.Drop)
	corrupt := roll(l.corrupt, l.cfg.Corrupt) && len(f.Data) > 0
	duplicate := roll(l.duplicate, l.cfg.Duplicate)
	late := roll(l.reorder, l.cfg.Reorder)
	if corrupt {
		bit := l.corrupt.IntN(8 * len(f.Data))
		if !drop {
			f.Data[bit/8] ^= 1 << (bit % 8)
			inc(&l.counts.corrupted)
		}
	}
	if drop {
		inc(&l.counts.dropped)
		l.release(f)
		return
	}
	var twin driver.Frame
	if duplicate {
		twin, duplicate = l.copyOf(f)
	}
	if late {
		// Its copy, if it has one, is on time.
		l.keepBack(f, now)
	} else {
		l.send(f, now)
	}
	if duplicate {
		l.send(twin, now)
	}
	if !late {
		l.passed++
		l.expire(now)
	}
}

// copyOf returns a copy of f in a frame of the queue's own.
func (l *line) copyOf(f driver.Frame) (driver.Frame, bool) {
	if l.held() >= l.cfg.Limit-1 {
		inc(&l.counts.duplicateShort) // the copy would only push its original out
		return driver.Frame{}, false
	}
	if l.queue.Alloc(l.one[:]) == 0 {
		inc(&l.counts.duplicateShort)
		inc(&l.counts.allocShort)
		return driver.Frame{}, false
	}
	twin := l.one[0]
	if cap(twin.Data) < len(f.Data) {
		inc(&l.counts.duplicateShort)
		l.release(twin)
		return driver.Frame{}, false
	}
	twin.Data = append(twin.Data[:0], f.Data...)
	inc(&l.counts.duplicated)
	return twin, true
}

// keepBack makes a frame wait for others to overtake it.
func (l *line) keepBack(f driver.Frame, now int64) {
	if l.held() >= l.cfg.Limit {
		inc(&l.counts.overflowed)
		l.release(f)
		return
	}
	inc(&l.counts.reordered)
	l.late.push(held{frame: f, due: now + int64(l.cfg.Hold), pass: l.passed + int64(l.cfg.Distance)})
}

// expire sends the frames that were kept back for long enough.
func (l *line) expire(now int64) {
	for l.late.len() > 0 {
		h := l.late.front()
		if h.pass > l.passed && h.due > now {
			return
		}
		f := h.frame
		l.late.pop()
		l.send(f, now)
	}
}

// send puts a frame into bottleneck and delay.
func (l *line) send(f driver.Frame, now int64) {
	leaves := now
	if l.cfg.Rate > 0 {
		for l.sent = max(l.sent, l.out.head); l.sent < l.out.tail && l.out.at(l.sent).leaves <= now; {
			l.sent++
		}
		if l.out.tail-l.sent >= int64(l.cfg.Queue) {
			inc(&l.counts.queueDropped)
			l.release(f)
			return
		}
		leaves = max(now, l.busy) + int64(float64(len(f.Data))*8e9/float64(l.cfg.Rate))
	}
	if l.held() >= l.cfg.Limit {
		inc(&l.counts.overflowed)
		l.release(f)
		return
	}
	l.busy = leaves
	due := leaves + int64(l.cfg.Delay)
	if due > now {
		inc(&l.counts.delayed)
	}
	l.out.push(held{frame: f, due: due, leaves: leaves})
}

// due copies the frames whose time has come into fs, without taking them off
// the line, and returns how many.
func (l *line) due(fs []driver.Frame, now int64) int {
	l.expire(now)
	n := 0
	for ; n < len(fs) && int64(n) < l.out.tail-l.out.head; n++ {
		h := l.out.at(l.out.head + int64(n))
		if h.due > now {
			break
		}
		fs[n] = h.frame
	}
	return n
}

// advance takes the first n frames off the line.
func (l *line) advance(n int) {
	for range n {
		l.out.pop()
	}
}

// ready says whether a frame's time has come.
func (l *line) ready(now int64) bool {
	l.expire(now)
	return l.out.len() > 0 && l.out.front().due <= now
}

// next is when the line has something to do, or never.
func (l *line) next() int64 {
	t := never
	if l.out.len() > 0 {
		t = l.out.front().due
	}
	if l.late.len() > 0 {
		t = min(t, l.late.front().due)
	}
	return t
}

// held is how many frames are on the line.
func (l *line) held() int { return l.late.len() + l.out.len() }

// clear gives all frames back unsent.
func (l *line) clear() {
	for _, q := range []*fifo{&l.late, &l.out} {
		for q.len() > 0 {
			f := q.front().frame
			q.pop()
			l.release(f)
		}
	}
	l.publish()
}

// publish makes the gauge of held frames readable by others.
func (l *line) publish() { l.counts.held.Store(int64(l.held())) }

func (l *line) release(f driver.Frame) {
	l.one[0] = f
	l.queue.Release(l.one[:])
}

// fifo is a ring of held frames of fixed capacity. Positions only grow.
type fifo struct {
	buf        []held
	head, tail int64
}

func newFIFO(n int) fifo { return fifo{buf: make([]held, n)} }

func (q *fifo) len() int           { return int(q.tail - q.head) }
func (q *fifo) at(pos int64) *held { return &q.buf[pos%int64(len(q.buf))] }
func (q *fifo) front() *held       { return q.at(q.head) }

// push needs room: the line's limit is the capacity.
func (q *fifo) push(h held) {
	*q.at(q.tail) = h
	q.tail++
}

func (q *fifo) pop() {
	*q.front() = held{}
	q.head++
}

// clock counts nanoseconds from a start, and never backwards.
type clock struct {
	now   func() time.Time
	start time.Time
	last  int64
}

func (c *clock) read() int64 {
	c.last = max(c.last, int64(c.now().Sub(c.start)))
	return c.last
}
