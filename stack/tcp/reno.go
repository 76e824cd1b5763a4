package tcp

// reno is RFC 5681's congestion avoidance. Its state is a lossState.
type reno struct{ lossBased }

func (cc reno) onAck(c *Conn, a ackSample) {
	if cc.beforeAvoidance(c, a) {
		// Section 3.1, equation 3, with the bytes counted.
		c.cc.alg.loss().grow(c, float32(a.delivered)*float32(c.snd.mss)/float32(c.cc.cwnd))
	}
}

func (reno) onLoss(c *Conn, _ caState) {
	c.cc.ssthresh = max(c.snd.nxt.sub(c.snd.una)/2, 2*uint32(c.snd.mss)) // section 3.1, equation 4
}
