package rawload

import (
	"time"
)

const (
	// bulkAckDelay is when a second segment has not come and the first is
	// acknowledged alone.
	bulkAckDelay = 500 * time.Microsecond
	// sendAhead is how much of BulkSend's stream is committed at a time.
	sendAhead = 1 << 30
	// probeDelay is for how long nothing is acknowledged before the oldest segment
	// is sent again, as RFC 8985's tail loss probe: a stack that acknowledges once
	// a batch may owe the duplicates that would have told sooner.
	probeDelay = 20 * time.Millisecond
	// maxWindow bounds congestion windows.
	maxWindow = 8 << 20
	// bulkQueued is the most segments under way, on all connections: half of what the
	// shortest queue of a server holds, the kernel's net.core.netdev_max_backlog of
	// 1000. A sender without SACK that overran it would be measured recovering.
	bulkQueued = 512
)

// bulkSender is the app of BulkSend: it streams the pattern, with NewReno's
// congestion control (RFC 5681, RFC 6582), and counts what is acknowledged.
type bulkSender struct {
	t     *tcpLoad
	m     meter
	flows []congestion
	most  uint32 // bytes of a congestion window
}

// congestion is a connection's congestion control.
type congestion struct {
	cwnd, ssthresh uint32
	recover        uint32 // what was sent when the loss was noticed
	recovering     bool
	progress       int64 // when an acknowledgement, or a probe, was last seen
}

// window is how many bytes may be under way on connection i.
func (a *bulkSender) window(i int) uint32 { return a.flows[i].cwnd }

// timeout starts again with a segment; all that is under way is sent again.
func (a *bulkSender) timeout(i int) {
	c, f := &a.t.conns[i], &a.flows[i]
	mss := uint32(c.mss)
	f.ssthresh = max((c.max-c.una)/2, 2*mss)
	f.cwnd, f.recovering = mss, false
}

// duplicate is a duplicate acknowledgement: the third is a loss.
func (a *bulkSender) duplicate(i int, c *conn) {
	f, mss := &a.flows[i], uint32(c.mss)
	if f.recovering {
		f.cwnd = min(f.cwnd+mss, a.most)
		a.t.touch(i)
		return
	}
	// After a recovery, those to what was sent before it say nothing.
	if c.dupacks++; c.dupacks >= 3 && int32(c.una-f.recover) >= 0 {
		a.recover(i, c)
	}
}

// recover begins a recovery: the oldest segment is lost.
func (a *bulkSender) recover(i int, c *conn) {
	f, mss := &a.flows[i], uint32(c.mss)
	f.ssthresh = max((c.max-c.una)/2, 2*mss)
	f.cwnd = min(f.ssthresh+3*mss, a.most)
	f.recover, f.recovering = c.max, true
	a.resend(i, c)
}

// probe is the stage's each.
func (a *bulkSender) probe() {
	for i := range a.t.conns {
		c, f := &a.t.conns[i], &a.flows[i]
		if c.state != open || c.una == c.max || a.t.g.now-f.progress < int64(probeDelay) {
			continue
		}
		if f.progress = a.t.g.now; f.recovering {
			a.resend(i, c) // the retransmission is lost, too
		} else {
			a.recover(i, c)
		}
	}
}

func (a *bulkSender) resend(i int, c *conn) {
	c.flags |= resendOne
	a.t.r.Retransmits++
	a.t.touch(i)
}

// acked implements app.
func (a *bulkSender) acked(i int, c *conn, n uint32) {
	if a.m.in(a.t.g.now) {
		a.m.r.Bytes += uint64(n)
	}
	if c.end-c.una < sendAhead/2 {
		c.end += sendAhead / 2
	}
	f, mss := &a.flows[i], uint32(c.mss)
	f.progress = a.t.g.now
	switch {
	case f.recovering && int32(c.una-f.recover) < 0:
		// The next hole: deflate by what is acknowledged, and a segment more.
		f.cwnd = max(f.cwnd, n+mss) - n
		f.cwnd += mss
		a.resend(i, c)
	case f.recovering:
		f.cwnd, f.recovering = f.ssthresh, false
	case f.cwnd < f.ssthresh:
		f.cwnd = min(f.cwnd+min(n, 2*mss), a.most)
	default:
		f.cwnd = min(f.cwnd+max(mss*mss/f.cwnd, 1), a.most)
	}
	a.t.touch(i)
}

// opened implements app.
func (a *bulkSender) opened(i int, c *conn) {
	a.flows[i] = congestion{cwnd: 10 * uint32(c.mss), ssthresh: maxWindow, recover: c.una, progress: a.t.g.now}
	a.t.commit(i, sendAhead)
}

// received implements app: a sink says nothing.
func (a *bulkSender) received(int, *conn, []byte) string { return "answer from a sink" }

// fill implements app.
func (a *bulkSender) fill(_ int, _ *conn, seq uint32, b []byte) {
	copy(b, pattern()[seq%patternLen:])
}

// ended implements app.
func (a *bulkSender) ended(int, *conn, bool) {}

// bulkReceiver is the app of BulkReceive: it compares what comes with RFC 864's
// pattern, and counts it.
type bulkReceiver struct {
	t       *tcpLoad
	m       meter
	pattern []byte
}

// opened implements app.
func (a *bulkReceiver) opened(_ int, c *conn) { c.mark = 0 }

// received implements app.
func (a *bulkReceiver) received(_ int, c *conn, b []byte) string {
	if string(b) != string(a.pattern[c.mark:][:len(b)]) {
		return "stream differs from RFC 864's pattern"
	}
	c.mark = (c.mark + uint32(len(b))) % chargenPeriod
	if a.m.in(a.t.g.now) {
		a.m.r.Bytes += uint64(len(b))
	}
	return ""
}

// fill implements app. Nothing is ever sent.
func (a *bulkReceiver) fill(_ int, _ *conn, _ uint32, b []byte) { clear(b) }

// acked implements app.
func (a *bulkReceiver) acked(int, *conn, uint32) {}

// ended implements app.
func (a *bulkReceiver) ended(int, *conn, bool) {}

// acknowledge is the stage's each: it acknowledges what has waited for a second
// segment.
func (a *bulkReceiver) acknowledge() {
	if a.t.g.now-a.t.heard < int64(bulkAckDelay) {
		return
	}
	for i := range a.t.conns {
		if a.t.conns[i].unacked > 0 {
			a.t.ack(i)
		}
	}
}

// runBulk runs BulkReceive and BulkSend.
func (t *tcpLoad) runBulk(w Work) error {
	var m *meter
	var each func()
	var when func() int64
	if w.Kind == BulkSend {
		most := min(max(bulkQueued*int(t.mss)/w.Conns, 10*int(t.mss)), maxWindow)
		a := &bulkSender{t: t, flows: make([]congestion, w.Conns), most: uint32(most)}
		t.app, t.bulk, m = a, a, &a.m
		each, when = a.probe, func() int64 { return t.heard + int64(probeDelay) }
	} else {
		a := &bulkReceiver{t: t, pattern: chargen()}
		t.app, m = a, &a.m
		each, when = a.acknowledge, func() int64 { return t.heard + int64(bulkAckDelay) }
		// All connections' windows together stay below half of the ring, as nobody
		// says how many of its entries are free.
		half := t.g.cfg.Info.RxRing * int(t.mss) / 2
		t.window = uint32(min(max(half/w.Conns, 4*int(t.mss)), 4<<20))
	}
	if err := t.connect(openRate); err != nil || t.g.stop.Load() {
		return err
	}
	*m = t.g.measure(&w)
	err := t.stage(each, when, func() bool { return t.g.now >= m.to || t.live == 0 })
	t.r.Elapsed = elapsed(t.g.now, *m)
	return err
}
