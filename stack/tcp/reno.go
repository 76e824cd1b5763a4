package tcp

// reno is RFC 5681's congestion avoidance. Its state is a lossState.
type reno struct{ lossBased }

func (cc reno) onAck(c *Conn, a ackSample) {
	if cc.beforeAvoidance(c, a) {
		// Section 3.1, equation 3, with the bytes counted.
		c.ccState.loss().grow(c, float32(a.delivered)*float32(c.mss)/float32(c.cwnd))
	}
}

func (reno) onLoss(c *Conn, _ caState) {
	c.ssthresh = max((c.sndNxt-c.sndUna)/2, 2*uint32(c.mss)) // section 3.1, equation 4
}
