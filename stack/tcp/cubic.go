package tcp

import "math"

// cubic is RFC 9438.
type cubic struct{ lossBased }

// cubicState is the state of cubic, in segments and seconds.
type cubicState struct {
	lossState
	epoch int64 // start of congestion avoidance in nanoseconds, 0 for none
	wMax  float32
	k     float32
	start float32 // the window where the curve is flat
	est   float32 // the window that Reno would have
}

const (
	cubicC     = 0.4
	cubicBeta  = 0.7
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

func (cc cubic) onAck(c *Conn, a ackSample) {
	if cc.beforeAvoidance(c, a) {
		c.cc.alg.cubic().avoid(c, a.delivered)
	}
}

func (cubic) onLoss(c *Conn, _ caState) {
	b := c.cc.alg.cubic()
	w := float32(c.cc.cwnd) / float32(c.snd.mss)
	if w < b.wMax {
		b.wMax = w * (1 + cubicBeta) / 2 // section 4.7, fast convergence
	} else {
		b.wMax = w
	}
	b.epoch = 0
	flight := float32(c.snd.nxt.sub(c.snd.una))
	c.cc.ssthresh = max(uint32(flight*cubicBeta), 2*uint32(c.snd.mss)) // section 4.6
}

func (cc cubic) onIdle(c *Conn) {
	cc.lossBased.onIdle(c)
	c.cc.alg.cubic().epoch = 0
}

// avoid is congestion avoidance.
func (b *cubicState) avoid(c *Conn, delivered uint32) {
	mss := float32(c.snd.mss)
	w := float32(c.cc.cwnd) / mss
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
	t := float32(c.e.now-b.epoch)/1e9 + float32(c.rtt.srtt)/1e6
	d := t - b.k
	target := min(max(b.start+cubicC*d*d*d, w), 1.5*w) // section 4.2
	if b.est > target {
		target = b.est
		b.grow(c, min((target-w)*mss, float32(delivered)))
		return
	}
	b.grow(c, (target-w)/w*segs*mss) // sections 4.4 and 4.5
}
