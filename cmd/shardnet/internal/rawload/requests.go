package rawload

import (
	"fmt"
	"math"
	"time"
)

// request is one that was issued on a connection.
type request struct {
	due   int64  // when it should have been sent
	start uint32 // sequence number of its first byte
	key   uint32 // memcached: which, with setBit
}

// protocol is what requests and answers are.
type protocol interface {
	// next chooses the request r, and returns its length; 0 when there is none
	// left.
	next(r *request) int
	// fill writes to b what the stream holds at seq; rs are the requests from the
	// oldest that is not answered.
	fill(rs requestRing, seq uint32, b []byte)
	// answer compares b with the answer to r from off on. It takes n bytes; done
	// says whether they complete it, and what is wrong with them, "" if nothing.
	answer(r *request, off uint32, b []byte) (n int, done bool, what string)
}

// requestRing is the requests of a connection; their numbers are masked.
type requestRing struct {
	slots      []request
	head, tail uint32
}

func (q requestRing) at(n uint32) *request { return &q.slots[n&uint32(len(q.slots)-1)] }

// requester is the app that asks and checks answers.
type requester struct {
	t        *tcpLoad
	m        meter
	p        pacer
	protocol protocol
	ring     int  // requests a connection has room for, a power of two
	connect  bool // a connection for each request
	once     bool // a request for each connection

	reqs        []request
	ready       []int32 // a ring of connections with room for a request
	head, n     int     // of ready
	outstanding int
	most        int // of outstanding
	drained     bool
}

func newRequester(t *tcpLoad, p protocol, window int) *requester {
	ring := 1
	for ring < window {
		ring *= 2
	}
	return &requester{
		t: t, protocol: p, ring: ring, most: math.MaxInt,
		reqs:  make([]request, len(t.conns)*ring),
		ready: make([]int32, len(t.conns)*window),
		m:     meter{r: t.r, from: math.MaxInt64, to: math.MaxInt64},
	}
}

func (a *requester) push(i int) {
	at := a.head + a.n
	if at >= len(a.ready) {
		at -= len(a.ready)
	}
	a.ready[at] = int32(i)
	a.n++
}

func (a *requester) pop() int {
	i := a.ready[a.head]
	if a.head++; a.head == len(a.ready) {
		a.head = 0
	}
	a.n--
	return int(i)
}

// fillReady makes every connection ready for window requests.
func (a *requester) fillReady(window int) {
	a.head, a.n = 0, 0
	for range window {
		for i := range a.t.conns {
			a.push(i)
		}
	}
}

func (a *requester) requests(i int, c *conn) requestRing {
	return requestRing{a.reqs[i*a.ring:][:a.ring], c.head, c.tail}
}

// issue does what is due; it is the stage's each.
func (a *requester) issue() {
	now := a.t.g.now
	for a.n > 0 && now < a.m.to && a.outstanding < a.most {
		due := a.p.due(now)
		if due > now || due >= a.m.to {
			return
		}
		i := a.pop()
		c := &a.t.conns[i]
		if a.connect {
			if !a.t.open(i) {
				a.push(i)
				return
			}
			a.reqs[i*a.ring].due = due
		} else if c.state != open || !a.ask(i, c, due) {
			continue // and not ready again
		}
		a.p.take()
	}
}

// ask issues a request on c; false when there is none left.
func (a *requester) ask(i int, c *conn, due int64) bool {
	r := a.requests(i, c).at(c.tail)
	n := a.protocol.next(r)
	if n == 0 {
		a.drained = true
		return false
	}
	r.due, r.start = due, c.end
	c.tail++
	a.outstanding++
	a.t.commit(i, n)
	return true
}

// opened implements app.
func (a *requester) opened(i int, c *conn) {
	c.mark = 0
	if a.connect {
		a.ask(i, c, a.reqs[i*a.ring].due)
	}
}

// received implements app.
func (a *requester) received(i int, c *conn, b []byte) string {
	for len(b) > 0 {
		if c.head == c.tail {
			return "answer to no request"
		}
		r := a.requests(i, c).at(c.head)
		n, done, what := a.protocol.answer(r, c.mark, b)
		if what != "" {
			return what
		}
		b = b[n:]
		if c.mark += uint32(n); !done {
			continue
		}
		c.mark = 0
		c.head++
		a.outstanding--
		a.m.right(a.t.g.now, r.due)
		switch {
		case a.connect:
			a.t.close(i)
		case a.once:
			a.t.ack(i) // no request will carry it
		default:
			a.push(i)
		}
	}
	if c.mark > 0 {
		a.t.ack(i) // the sender may wait for it (RFC 896)
	}
	return ""
}

// fill implements app.
func (a *requester) fill(i int, c *conn, seq uint32, b []byte) {
	a.protocol.fill(a.requests(i, c), seq, b)
}

// acked implements app.
func (a *requester) acked(int, *conn, uint32) {}

// ended implements app.
func (a *requester) ended(i int, c *conn, _ bool) {
	q := a.requests(i, c)
	for ; c.head != c.tail; c.head++ {
		a.m.lost(q.at(c.head).due)
		a.outstanding--
	}
	if a.connect {
		a.push(i)
	}
}

// wake is when issue has something to do.
func (a *requester) wake() int64 {
	now := a.t.g.now
	if a.n == 0 || now >= a.m.to || a.outstanding >= a.most {
		return math.MaxInt64
	}
	return a.p.due(now)
}

// measure runs the measured part, on connections that stand already unless each
// request has its own.
func (a *requester) measure(w *Work) error {
	g := a.t.g
	a.fillReady(len(a.ready) / len(a.t.conns))
	a.m = g.measure(w)
	a.p = newPacer(w.Rate, g.now)
	grace := int64(max(w.Timeout, time.Second))
	err := a.t.stage(a.issue, a.wake, func() bool {
		switch {
		case !a.connect && a.t.live == 0:
			return true
		case g.now < a.m.to:
			return false
		case g.now >= a.m.to+grace:
			return true
		case a.connect:
			return a.t.live == 0
		}
		return a.outstanding == 0
	})
	a.t.r.Unsent = a.p.unsent(a.m.from, min(a.m.to, g.now))
	a.t.r.Elapsed = elapsed(g.now, a.m)
	return err
}

// echoProtocol is requests that come back as they were: the pattern at their own
// sequence numbers, so that connections differ by where they began.
type echoProtocol struct {
	payload int
	pattern []byte
}

func (e *echoProtocol) next(*request) int { return e.payload }

func (e *echoProtocol) fill(_ requestRing, seq uint32, b []byte) {
	copy(b, e.pattern[seq%patternLen:])
}

func (e *echoProtocol) answer(r *request, off uint32, b []byte) (n int, done bool, what string) {
	n = min(e.payload-int(off), len(b))
	if string(b[:n]) != string(e.pattern[(r.start+off)%patternLen:][:n]) {
		return 0, false, fmt.Sprintf("echo differs from the request, from byte %d on", off)
	}
	return n, int(off)+n == e.payload, ""
}
