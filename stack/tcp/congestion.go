package tcp

import "math"

// Congestion control: slow start and congestion avoidance (RFC 5681), by CUBIC (RFC
// 9438) or Reno. The window is in bytes.

// initialThresh is RFC 5681 section 3.1's arbitrarily high one: no loss was seen yet.
const initialThresh = math.MaxInt32

// initCongestion is the initial window of RFC 6928 section 2.
func (c *Conn) initCongestion() {
	mss := uint32(c.mss)
	c.cwnd = min(10*mss, max(2*mss, 14600))
	c.ssthresh = initialThresh
}

// grow opens the window as data has arrived, if it was the window that held data
// back: one that was not used says nothing of the path (RFC 7661 section 4.3), and
// becomes a burst when the peer's window opens.
func (c *Conn) grow(r *ackResult) {
	if c.cwnd < c.ssthresh {
		if c.flags&flagLimited != 0 {
			c.slowStart(r.delivered)
		}
	} else if c.flags&flagLimited != 0 {
		if c.e.cfg.Reno {
			c.growReno(r.delivered)
		} else {
			c.growCubic(r.delivered)
		}
	}
	c.cwnd = min(c.cwnd, 1<<30)
}

// reduce sets the slow start threshold as a loss was found.
func (c *Conn) reduce() {
	flight := c.sndNxt - c.sndUna
	least := 2 * uint32(c.mss)
	if c.e.cfg.Reno {
		c.ssthresh = max(flight/2, least) // RFC 5681 section 3.1, equation 4
		return
	}
	b := &c.cubic
	w := float32(c.cwnd) / float32(c.mss)
	if w < b.wMax {
		b.wMax = w * (1 + cubicBeta) / 2 // RFC 9438 section 4.7, fast convergence
	} else {
		b.wMax = w
	}
	b.epoch = 0
	c.ssthresh = max(uint32(float32(flight)*cubicBeta), least) // section 4.6
}

func (c *Conn) growReno(delivered uint32) {
	// RFC 5681 section 3.1, equation 3, with the bytes counted.
	c.addFraction(float32(delivered) * float32(c.mss) / float32(c.cwnd))
}

func (c *Conn) addFraction(bytes float32) {
	c.cubic.frac += bytes
	whole := uint32(c.cubic.frac)
	c.cubic.frac -= float32(whole)
	c.cwnd += whole
}

// cubic is RFC 9438's state, in segments and seconds.
type cubic struct {
	epoch int64 // start of congestion avoidance, 0 for none
	wMax  float32
	k     float32
	start float32 // the window where the curve is flat
	est   float32 // what Reno would have
	frac  float32 // of a byte
}

const (
	cubicC     = 0.4
	cubicBeta  = 0.7
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

func (c *Conn) growCubic(delivered uint32) {
	b := &c.cubic
	mss := float32(c.mss)
	w := float32(c.cwnd) / mss
	if b.epoch == 0 {
		b.epoch = c.e.now
		b.est = w
		if w < b.wMax {
			b.k = float32(math.Cbrt(float64(b.wMax-w) / cubicC)) // figure 2
			b.start = b.wMax
		} else {
			b.k, b.start = 0, w
		}
	}
	segs := float32(delivered) / mss
	alpha := float32(cubicAlpha)
	if b.est >= b.wMax {
		alpha = 1 // section 4.3
	}
	b.est += alpha * segs / w
	t := float32(c.e.now-b.epoch)/1e9 + float32(c.srtt)/1e6
	d := t - b.k
	target := min(max(b.start+cubicC*d*d*d, w), 1.5*w) // section 4.2
	if b.est > target {
		target = b.est
		c.addFraction(min((target-w)*mss, float32(delivered)))
		return
	}
	c.addFraction((target - w) / w * segs * mss) // sections 4.4 and 4.5
}

// restart is RFC 5681 section 4.1: after an idle time of more than the
// retransmission timeout the window is at most the initial one.
func (c *Conn) restart() {
	if c.caState != caOpen || c.e.now-c.idleSince < int64(c.rto)*1000 {
		return
	}
	mss := uint32(c.mss)
	if c.ssthresh != initialThresh {
		c.ssthresh = max(c.ssthresh, c.cwnd/4*3)
	}
	c.cwnd = min(c.cwnd, 10*mss, max(2*mss, 14600))
	c.cubic.epoch = 0
}
