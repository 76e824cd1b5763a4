package tcp

// hystart is the state of HyStart++ (RFC 9406). The first slow start ends when round trips
// become longer, before a queue overflows.
type hystart struct {
	roundEnd  seqNum // SND.NXT when the round began
	last, cur uint32 // minimum RTT of the last round and of this one, in microseconds
	baseline  uint32 // minimum RTT when conservative slow start began; 0 outside of it
	samples   uint8  // in this round
	rounds    uint8  // of conservative slow start
}

// Constants of RFC 9406 section 4.3.
const (
	hystartMinThresh = 4000
	hystartMaxThresh = 16000
	hystartDivisor   = 8
	hystartSamples   = 8
	hystartGrowth    = 4
	hystartRounds    = 5
)

// slowStart opens the window by what was delivered (RFC 5681 section 3.1), or by a quarter of it
// during conservative slow start.
func (c *Conn) slowStart(delivered uint32) {
	h := &c.cc.alg.loss().hystart
	if h.baseline != 0 && c.cc.ssthresh == initialThresh {
		delivered /= hystartGrowth
	}
	c.cc.cwnd = min(c.cc.cwnd+delivered, max(c.cc.ssthresh, c.cc.cwnd), maxCwnd)
}

// hystartRTT takes a round trip of the first slow start (RFC 9406 section 4.2).
func (c *Conn) hystartRTT(rtt uint32) {
	if c.cc.ssthresh != initialThresh || c.rec.state != caOpen {
		return
	}
	h := &c.cc.alg.loss().hystart
	if c.snd.una.afterEq(h.roundEnd) || h.cur == 0 {
		if h.baseline != 0 {
			if h.rounds++; h.rounds >= hystartRounds {
				c.cc.ssthresh = c.cc.cwnd
				return
			}
		}
		h.last, h.cur, h.samples = h.cur, ^uint32(0), 0
		h.roundEnd = c.snd.nxt
	}
	h.cur = min(h.cur, rtt)
	if h.samples < 255 {
		h.samples++
	}
	if h.samples < hystartSamples || h.last == 0 {
		return
	}
	if h.baseline == 0 {
		if h.cur >= h.last+min(max(h.last/hystartDivisor, hystartMinThresh), hystartMaxThresh) {
			h.baseline, h.rounds = h.cur, 0
		}
	} else if h.cur < h.baseline {
		h.baseline = 0 // it was not a queue: slow start goes on
	}
}
