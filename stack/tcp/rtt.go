package tcp

import "time"

// initialRTO is RFC 6298 section 2.1.
const initialRTO = time.Second

// micros converts nanoseconds to microseconds, at least one.
func micros(ns int64) uint32 { return uint32(min(max(ns/1000, 1), 1<<31)) }

// sampleRTT takes a measured round trip (RFC 6298 section 2). MinRTO bounds the variance rather
// than the sum, so that a peer with delayed ACKs causes no timeouts on a path with a steady round
// trip.
func (c *Conn) sampleRTT(ns int64) {
	r := micros(ns)
	c.rtt.min = min(c.rtt.min, r)
	if c.rtt.srtt == 0 {
		c.rtt.srtt, c.rtt.rttvar = r, r/2
	} else {
		d := int64(c.rtt.srtt) - int64(r)
		c.rtt.rttvar = uint32((3*int64(c.rtt.rttvar) + max(d, -d)) / 4)
		c.rtt.srtt = uint32(max(1, int64(c.rtt.srtt)-d/8))
	}
	e := c.e
	rto := int64(c.rtt.srtt) + max(4*int64(c.rtt.rttvar), e.cfg.MinRTO.Microseconds())
	c.rtt.rto = uint32(min(rto, e.cfg.MaxRTO.Microseconds()))
}

// sampleTimestamp measures by the echoed timestamp (RFC 7323 section 4), for a segment that was
// retransmitted.
func (c *Conn) sampleTimestamp(s *Segment) {
	if d := c.timestamp() - s.TSEcr; s.TSEcr != 0 && d < 1<<24 {
		c.sampleRTT(max(int64(d), 1) * int64(time.Millisecond))
	}
}

// timestamp is the value for TSval, in milliseconds. Its offset is different for each pair of hosts
// and equal for all of their connections, as RFC 6191 needs.
func (c *Conn) timestamp() uint32 { return c.timestampAt(c.e.now) }

func (c *Conn) timestampAt(at int64) uint32 {
	return uint32(at/int64(time.Millisecond)) + c.ts.offset
}

// timeoutAfter is the retransmission timeout with backoff (RFC 6298 section 5.5), in nanoseconds.
func (c *Conn) timeoutAfter() int64 {
	return min(int64(c.rtt.rto)*1000<<min(c.timers.backoff, 20), int64(c.e.cfg.MaxRTO))
}
