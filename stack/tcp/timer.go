package tcp

import (
	"syscall"
	"time"
)

// lossTimer says what timers.lossAt is for.
type lossTimer uint8

const (
	lossNone    lossTimer = iota
	lossRTO               // RFC 6298; SYN and SYN-ACK too
	lossPersist           // RFC 9293 section 3.8.6.1
)

// probeTimer says what timers.probeAt is for.
type probeTimer uint8

const (
	probeNone    probeTimer = iota
	probeTLP                // RFC 8985 section 7
	probeReorder            // RFC 8985 section 6.2
)

// arm puts the connection's earliest deadline on the wheel. A node that fires earlier stays there,
// so a deadline that moves to a later time costs little.
func (c *Conn) arm() {
	at := int64(0)
	for _, t := range [...]int64{c.timers.lossAt, c.timers.probeAt, c.timers.ackAt, c.timers.keepAt} {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	if at != 0 {
		c.e.wheel.arm(c.id, at)
	}
}

// onTimer runs the deadlines that are due. Flush sends what they cause.
func (c *Conn) onTimer() {
	now := c.e.now
	c.flags |= flagBusy
	if c.timers.ackAt != 0 && c.timers.ackAt <= now {
		c.timers.ackAt = 0
		if c.flags&flagAckDelayed != 0 {
			c.flags |= flagAckNow
			c.rcv.quickAcks = 0
			c.schedule(0)
		}
	}
	if c.timers.probeAt != 0 && c.timers.probeAt <= now {
		c.onProbeTimer()
	}
	if c.timers.lossAt != 0 && c.timers.lossAt <= now {
		c.onLossTimer()
	}
	if c.timers.keepAt != 0 && c.timers.keepAt <= now && !c.state.ended() {
		c.onKeepTimer()
	}
	c.flags &^= flagBusy
	if c.state.ended() {
		c.release()
		return
	}
	c.arm()
}

func (c *Conn) onProbeTimer() {
	kind := c.timers.probeKind
	c.timers.probeKind, c.timers.probeAt = probeNone, 0
	switch kind {
	case probeTLP:
		if c.flight.head != 0 && c.rec.state == caOpen {
			c.startRTO()
			c.schedule(flagSendTLP)
		}
	case probeReorder:
		c.armReorder(c.detectLoss())
		if c.flight.lost > 0 {
			if c.rec.state == caOpen {
				c.enterRecovery()
				c.e.congestion.onAck(c, ackSample{lost: true})
			}
			c.schedule(0)
		}
	}
}

func (c *Conn) onLossTimer() {
	c.timers.lossAt = 0
	kind := c.timers.lossKind
	if kind == lossNone {
		return
	}
	tries := c.timers.backoff
	if kind == lossPersist && !c.orphan() {
		// RFC 1122 section 4.2.2.17: the window may stay closed as long as the peer
		// answers probes. An orphan, whose data nobody waits for, gives up.
		tries = c.keep.unanswered
	}
	if int(tries) >= c.maxRetries() {
		// RFC 9293 section 3.8.3, R2.
		if c.state == StateSynReceived {
			c.fail(syscall.ETIMEDOUT) // the ACK may still arrive; no RST
		} else {
			c.reset(c.timeoutError())
		}
		return
	}
	switch {
	case c.state == StateSynSent || c.state == StateSynReceived:
		c.timers.backoff++
		c.e.stats.Timeouts++
		c.startRTO()
		c.schedule(flagSendSYN | flagSYNRetr)
	case kind == lossPersist:
		c.timers.backoff += 1 - c.timers.backoff/255
		c.keep.unanswered += 1 - c.keep.unanswered/255
		c.timers.lossAt = c.e.now + c.timeoutAfter()
		c.schedule(flagSendPersist)
	case c.flight.head != 0:
		c.onRTO()
	default:
		c.timers.lossKind = lossNone
	}
}

// timeoutError is the error of a connection that timed out. It is the reason that a router has
// reported, if any (RFC 1122 section 4.2.3.9).
func (c *Conn) timeoutError() syscall.Errno {
	if c.softErr != 0 {
		return syscall.Errno(c.softErr)
	}
	return syscall.ETIMEDOUT
}

// maxRetries is how many expirations without progress end the connection.
func (c *Conn) maxRetries() int {
	switch {
	case c.state == StateSynSent || c.state == StateSynReceived:
		return c.e.cfg.SynRetries
	case c.orphan():
		return min(orphanRetries, c.e.cfg.Retries)
	}
	return c.e.cfg.Retries
}

// orphan reports whether the application has closed the connection.
func (c *Conn) orphan() bool { return c.flags&flagOwned == 0 && c.listener == nil }

// startRTO restarts the retransmission timer.
func (c *Conn) startRTO() {
	c.timers.lossKind = lossRTO
	c.timers.lossAt = c.e.now + c.timeoutAfter()
}

// armReorder arms the reordering timer. 0 disarms it.
func (c *Conn) armReorder(at int64) {
	if at != 0 {
		c.timers.probeKind, c.timers.probeAt = probeReorder, at
	} else if c.timers.probeKind == probeReorder {
		c.timers.probeKind, c.timers.probeAt = probeNone, 0
	}
}

// armLoss keeps the retransmission timer running while data is in flight (RFC 6298 sections 5.1 to
// 5.3), and arms the tail loss probe before it.
func (c *Conn) armLoss() {
	if c.flight.head == 0 {
		if c.timers.lossKind == lossRTO {
			c.timers.lossKind, c.timers.lossAt = lossNone, 0
		}
		c.timers.probeKind, c.timers.probeAt = probeNone, 0
		return
	}
	if c.timers.lossKind != lossRTO {
		c.startRTO()
	}
	if c.timers.probeKind != probeReorder {
		c.timers.probeKind, c.timers.probeAt = probeNone, 0
		if pto := c.pto(); pto > 0 {
			// RFC 8985 section 7.2: the probe is not later than the RTO.
			c.timers.probeKind, c.timers.probeAt = probeTLP, min(c.e.now+pto, c.timers.lossAt)
		}
	}
}

// SetKeepAlive turns probes of an idle connection on or off (RFC 1122 section 4.2.3.6). The first
// is sent after idle, the others at each interval. After count probes without an answer the
// connection fails with ETIMEDOUT. Times are whole seconds, at least one. Zero values mean 15 s, 15
// s and 9.
func (c *Conn) SetKeepAlive(on bool, idle, interval time.Duration, count int) {
	if c.state.ended() {
		return
	}
	if !on {
		c.flags &^= flagKeepAlive
		c.timers.keepAt = 0
		return
	}
	secs := func(d time.Duration) uint16 {
		if d == 0 {
			d = 15 * time.Second
		}
		return uint16(min(max(d/time.Second, 1), 65535))
	}
	if count <= 0 {
		count = 9
	}
	c.keep.idle, c.keep.interval, c.keep.count = secs(idle), secs(interval), uint8(min(count, 255))
	c.flags |= flagKeepAlive
	c.keepAlive()
	c.arm()
}

// keepAlive restarts the idle time.
func (c *Conn) keepAlive() {
	if c.flags&flagKeepAlive != 0 {
		c.keep.unanswered = 0
		c.timers.keepAt = c.e.now + int64(c.keep.idle)*int64(time.Second)
	}
}

func (c *Conn) onKeepTimer() {
	c.timers.keepAt = 0
	switch {
	case c.state == StateFinWait2 && c.flags&flagOwned == 0:
		// If the peer's FIN still arrives, a RST answers it.
		c.finish(StateClosed)
	case c.flags&flagKeepAlive == 0:
	case c.state == StateSynSent || c.state == StateSynReceived || c.flight.head != 0 || c.timers.lossKind == lossPersist:
		// Another timer supervises the connection.
		c.timers.keepAt = c.e.now + int64(c.keep.idle)*int64(time.Second)
	case c.keep.unanswered >= c.keep.count:
		c.reset(c.timeoutError())
	default:
		c.keep.unanswered++
		c.timers.keepAt = c.e.now + int64(c.keep.interval)*int64(time.Second)
		c.schedule(flagSendKeepAlive)
	}
}

// armFinWait2 limits how long a closed connection waits for the peer's FIN.
func (c *Conn) armFinWait2() {
	c.timers.keepAt = c.e.now + int64(c.e.cfg.FinWait2)
	c.arm()
}
