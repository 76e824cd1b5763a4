package tcp

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// congestionControl is an algorithm that sets a connection's congestion window. It is a
// value without state, shared by all connections. Its state of each is in Conn.cc.alg.
//
// The engine finds losses, and calls the algorithm when something is learned. An algorithm
// writes cwnd and ssthresh, in bytes; the engine sends while pipe is below cwnd. A pacing
// rate would be a third field beside them, read by outputData. Two rules hold for all
// algorithms: the initial window is that of RFC 6928, and an expired retransmission timer
// sets the window to one segment more than what is in flight (RFC 5681 section 3.1). The
// time of a call is Engine.now.
type congestionControl interface {
	// onRTT takes a round trip, in microseconds, of a segment that was sent once. It
	// comes before the onAck of the same acknowledgement.
	onRTT(c *Conn, rtt uint32)
	// onAck takes an acknowledgement of data in flight, whatever Conn.rec.state is, after
	// losses were looked for. It is also called when the reordering timer finds one.
	onAck(c *Conn, a ackSample)
	// onLoss is called when a loss was found, once for a window of data. The state to
	// enter is caRecovery, or caLoss if the retransmission timer has found it.
	onLoss(c *Conn, to caState)
	// onRecovered is called at the end of caRecovery: the data in flight at onLoss has
	// arrived.
	onRecovered(c *Conn)
	// onUndo is called when nothing was lost after all. saveForUndo kept the windows.
	onUndo(c *Conn)
	// onIdle is called before data is sent after an idle time of more than the
	// retransmission timeout.
	onIdle(c *Conn)
}

// congestionControls are the algorithms that Config.Congestion may name.
var congestionControls = map[string]congestionControl{
	"cubic": cubic{},
	"reno":  reno{},
}

func findCongestionControl(name string) (congestionControl, error) {
	if cc := congestionControls[cmp.Or(name, "cubic")]; cc != nil {
		return cc, nil
	}
	known := slices.Sorted(maps.Keys(congestionControls))
	return nil, fmt.Errorf("congestion control %q is not one of %s", name, strings.Join(known, ", "))
}

// initialThresh is RFC 5681 section 3.1's arbitrarily high one: no loss was seen yet.
const initialThresh = math.MaxInt32

// maxCwnd bounds the congestion window: no peer's window is larger (RFC 7323 section 2.2).
const maxCwnd = 1 << 30

// initCongestion opens the initial window. The MSS is known.
func (c *Conn) initCongestion() {
	c.cc.cwnd = c.initialWindow()
	c.cc.ssthresh = initialThresh
	c.cc.alg = ccState{}
}

// initialWindow is RFC 6928 section 2.
func (c *Conn) initialWindow() uint32 {
	mss := uint32(c.snd.mss)
	return min(10*mss, max(2*mss, 14600))
}

// restartIdle tells the algorithm that sending begins again after an idle time.
func (c *Conn) restartIdle() {
	if c.rec.state == caOpen && c.e.now-c.cc.lastSent >= int64(c.rtt.rto)*1000 {
		c.e.congestion.onIdle(c)
	}
}

// lossBased is what Reno and CUBIC share: slow start with HyStart++, proportional rate
// reduction during recovery, and a window of ssthresh after it.
type lossBased struct{}

// lossState is the state of lossBased.
type lossState struct {
	hystart hystart
	frac    float32 // part of a byte that the window has still to grow by
}

func (lossBased) onRTT(c *Conn, rtt uint32) { c.hystartRTT(rtt) }

func (lossBased) onRecovered(c *Conn) { c.cc.cwnd = max(c.cc.ssthresh, uint32(c.snd.mss)) }

func (lossBased) onUndo(c *Conn) {
	c.cc.cwnd = max(c.cc.cwnd, c.cc.priorCwnd)
	c.cc.ssthresh = max(c.cc.ssthresh, c.cc.priorThresh)
}

// onIdle is RFC 5681 section 4.1: the window is at most the initial one.
func (lossBased) onIdle(c *Conn) {
	if c.cc.ssthresh != initialThresh {
		c.cc.ssthresh = max(c.cc.ssthresh, c.cc.cwnd/4*3)
	}
	c.cc.cwnd = min(c.cc.cwnd, c.initialWindow())
}

// beforeAvoidance does what an acknowledgement means in recovery and slow start. It returns
// true if congestion avoidance should grow the window. A window that did not limit sending
// does not grow: it was not validated by the path (RFC 7661 section 4.3), and would become a
// burst when the peer's window opens.
func (lossBased) beforeAvoidance(c *Conn, a ackSample) bool {
	switch {
	case c.rec.state == caRecovery:
		c.rateReduction(a)
	case a.acked == 0 || c.flags&flagCwndLimited == 0:
	case c.cc.cwnd < c.cc.ssthresh:
		c.slowStart(a.delivered)
	default:
		return true
	}
	return false
}

// grow opens the window by bytes, and keeps what is less than one for the next time.
func (s *lossState) grow(c *Conn, bytes float32) {
	s.frac += bytes
	whole := uint32(s.frac)
	s.frac -= float32(whole)
	c.cc.cwnd = min(c.cc.cwnd+whole, maxCwnd)
}
