package rawload

import (
	"fmt"
	"math"
	"time"
)

const (
	// openRate is how many connections a second are opened where Work does not
	// say, and maxOpening how many at once: a server's backlog is bounded.
	openRate   = 50_000
	maxOpening = 64
	// maxAsked is how many idle connections are asked at once.
	maxAsked = 256
	// stallTime ends a stage in which nothing comes any more.
	stallTime = 10 * time.Second

	// resetPause is between batches of resets, which nothing acknowledges.
	resetPause = 200 * time.Microsecond
	quietTime  = 2 * time.Millisecond
	endTime    = 200 * time.Millisecond
)

// runTCP runs a workload of TCP connections.
func (g *Generator) runTCP(w Work) error {
	t := g.newTCPLoad(w.Conns)
	var err error
	switch w.Kind {
	case TCPEcho, TCPConnect, Idle:
		err = t.runEcho(w)
	case BulkReceive, BulkSend:
		err = t.runBulk(w)
	case MemcachedTCP:
		err = t.runMemcached(w)
	}
	return t.end(err)
}

// connect opens all connections, and waits until each stands or has failed. It is
// an error if none stands.
func (t *tcpLoad) connect(rate float64) error {
	g := t.g
	next := 0
	p := newPacer(rate, g.now)
	t.heard = g.now
	err := t.stage(func() {
		for next < len(t.conns) && t.pending < maxOpening && p.due(g.now) <= g.now && t.open(next) {
			next++
			p.take()
		}
	}, func() int64 {
		if next == len(t.conns) || t.pending >= maxOpening {
			return math.MaxInt64
		}
		return p.due(g.now)
	}, func() bool {
		return next == len(t.conns) && t.pending == 0 || g.now-t.heard > int64(stallTime)
	})
	if err != nil || g.stop.Load() {
		return err
	}
	if t.pending > 0 {
		for i := range t.conns {
			if t.conns[i].state == opening {
				t.fail(i)
			}
		}
	}
	if t.r.Connected == 0 {
		return fmt.Errorf("connect to %v port %d: %w: %d of %d failed", g.target.addr, g.target.port, ErrNotConnected, t.r.Failed, len(t.conns))
	}
	return nil
}

// runEcho runs TCPEcho, TCPConnect and Idle.
func (t *tcpLoad) runEcho(w Work) error {
	if w.Kind != TCPEcho {
		w.Window = 1
	}
	a := newRequester(t, &echoProtocol{payload: w.Payload, pattern: pattern()}, w.Window)
	t.app = a
	if w.Kind == TCPConnect {
		a.connect = true
		return a.measure(&w)
	}
	rate := float64(openRate)
	if w.Kind == Idle && w.Rate > 0 {
		rate = w.Rate
	}
	if err := t.connect(rate); err != nil || t.g.stop.Load() {
		return err
	}
	if w.Kind == Idle {
		return a.hold(&w)
	}
	return a.measure(&w)
}

// hold leaves the connections alone for a while, and then asks each once.
func (a *requester) hold(w *Work) error {
	t, g := a.t, a.t.g
	until := g.now + int64(w.Hold)
	g.planned(w, g.now, until)
	never := func() int64 { return math.MaxInt64 }
	if err := t.stage(nil, func() int64 { return until }, func() bool { return g.now >= until }); err != nil || g.stop.Load() {
		return err
	}
	a.once, a.most = true, maxAsked
	a.fillReady(1)
	g.tick()
	a.m = meter{r: t.r, from: g.now, to: math.MaxInt64}
	a.p = newPacer(0, g.now)
	t.heard = g.now
	err := t.stage(a.issue, never, func() bool {
		return a.n == 0 && a.outstanding == 0 || g.now-t.heard > int64(stallTime)
	})
	t.r.Elapsed = time.Duration(g.now - a.m.from)
	return err
}

// end resets what is open, answers what still comes, and takes every port back.
// It returns err, or its own.
func (t *tcpLoad) end(err error) error {
	g := t.g
	if err == nil {
		g.ending, t.resetting = true, true
		err = t.reset()
		g.ending = false
	}
	for i := range t.conns {
		if t.conns[i].state != closed {
			t.remove(i, false)
		}
	}
	return err
}

func (t *tcpLoad) reset() error {
	g := t.g
	g.tick()
	next, at := 0, g.now
	deadline := g.now + int64(time.Second) + int64(len(t.conns))*int64(resetPause)/batch*4
	err := t.stage(func() {
		if g.now < at || len(t.dirty) > 0 {
			return
		}
		n := 0
		for ; next < len(t.conns) && n < batch; next++ {
			if s := t.conns[next].state; s == opening || s == open {
				t.abort(next)
				n++
			}
		}
		at = g.now + int64(resetPause)
	}, func() int64 { return at }, func() bool {
		return next == len(t.conns) && t.live == 0 || g.now >= deadline
	})
	if err != nil {
		return err
	}
	t.heard = g.now
	deadline = g.now + int64(endTime)
	return t.stage(nil, func() int64 { return t.heard + int64(quietTime) }, func() bool {
		return g.now-t.heard > int64(quietTime) || g.now >= deadline
	})
}
