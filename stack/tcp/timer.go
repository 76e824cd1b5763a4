package tcp

import (
	"syscall"
	"time"
)

// lossTimer says what lossAt is for.
type lossTimer uint8

const (
	lossNone    lossTimer = iota
	lossRTO               // RFC 6298; SYN and SYN-ACK too
	lossPersist           // RFC 9293 section 3.8.6.1
)

// soonTimer says what soonAt is for.
type soonTimer uint8

const (
	soonNone  soonTimer = iota
	soonProbe           // RFC 8985 section 7
	soonReo             // RFC 8985 section 6.2
)

// arm puts the connection's earliest deadline on the wheel. The wheel leaves a
// node that is there for an earlier time, so this costs little when deadlines are
// pushed back.
func (c *Conn) arm() {
	at := int64(0)
	for _, t := range [...]int64{c.lossAt, c.soonAt, c.ackAt, c.keepAt} {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	if at != 0 {
		c.e.wheel.arm(c.id, at)
	}
}

// timeout runs what is due. What there is to send is left to Flush.
func (c *Conn) timeout() {
	now := c.e.now
	c.flags |= flagBusy
	if c.ackAt != 0 && c.ackAt <= now {
		c.ackAt = 0
		if c.flags&flagAckLater != 0 {
			c.flags |= flagAckNow
			c.quick = 0
			c.pend()
		}
	}
	if c.soonAt != 0 && c.soonAt <= now {
		c.soonTimeout()
	}
	if c.lossAt != 0 && c.lossAt <= now {
		c.lossTimeout()
	}
	if c.keepAt != 0 && c.keepAt <= now && !c.state.over() {
		c.keepTimeout()
	}
	c.flags &^= flagBusy
	if c.state.over() {
		c.release()
		return
	}
	c.arm()
}

func (c *Conn) soonTimeout() {
	kind := c.soonKind
	c.soonKind, c.soonAt = soonNone, 0
	switch kind {
	case soonProbe:
		if c.segHead != 0 && c.caState == caOpen {
			c.flags |= flagProbe
			c.startRTO()
			c.pend()
		}
	case soonReo:
		c.reoAt(c.detectLoss())
		if c.lostBytes > 0 {
			if c.caState == caOpen {
				c.startRecovery()
				c.e.cc.onAck(c, ackSample{lost: true})
			}
			c.pend()
		}
	}
}

func (c *Conn) lossTimeout() {
	c.lossAt = 0
	kind := c.lossKind
	if kind == lossNone {
		return
	}
	tries := c.backoff
	if kind == lossPersist && !c.orphan() {
		// RFC 1122 section 4.2.2.17: a peer that answers probes is not given up, for
		// as long as its window stays closed; but nobody waits for an orphan's data.
		tries = c.probes
	}
	if int(tries) >= c.retries() {
		// RFC 9293 section 3.8.3, R2.
		if c.state == StateSynReceived {
			c.fail(syscall.ETIMEDOUT) // an answer may still be under way; not worth a RST
		} else {
			c.reset(c.timedOut())
		}
		return
	}
	switch {
	case c.state == StateSynSent || c.state == StateSynReceived:
		c.backoff++
		c.e.stats.Timeouts++
		c.flags |= flagOweSyn | flagSYNRetr
		c.startRTO()
		c.pend()
	case kind == lossPersist:
		c.backoff += 1 - c.backoff/255
		c.probes += 1 - c.probes/255
		c.flags |= flagPersist
		c.lossAt = c.e.now + c.timeoutAfter()
		c.pend()
	case c.segHead != 0:
		c.retransmissionTimeout()
	default:
		c.lossKind = lossNone
	}
}

// timedOut is the error of a peer that does not answer: the reason, if a router has
// said one (RFC 1122 section 4.2.3.9).
func (c *Conn) timedOut() syscall.Errno {
	if c.soft != 0 {
		return syscall.Errno(c.soft)
	}
	return syscall.ETIMEDOUT
}

// retries is how many expirations in a row the connection takes.
func (c *Conn) retries() int {
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

// startRTO starts the retransmission timer over.
func (c *Conn) startRTO() {
	c.lossKind = lossRTO
	c.lossAt = c.e.now + c.timeoutAfter()
}

// reoAt arms the reordering timer, or with 0 disarms it.
func (c *Conn) reoAt(at int64) {
	if at != 0 {
		c.soonKind, c.soonAt = soonReo, at
	} else if c.soonKind == soonReo {
		c.soonKind, c.soonAt = soonNone, 0
	}
}

// armLoss keeps the retransmission timer running while something is in flight (RFC
// 6298 sections 5.1 to 5.3), and before it the tail loss probe's.
func (c *Conn) armLoss() {
	if c.segHead == 0 {
		if c.lossKind == lossRTO {
			c.lossKind, c.lossAt = lossNone, 0
		}
		c.soonKind, c.soonAt = soonNone, 0
		return
	}
	if c.lossKind != lossRTO {
		c.startRTO()
	}
	if c.soonKind != soonReo {
		c.soonKind, c.soonAt = soonNone, 0
		if pto := c.probeTimeout(); pto > 0 {
			// RFC 8985 section 7.2: not later than the timeout, which it precedes.
			c.soonKind, c.soonAt = soonProbe, min(c.e.now+pto, c.lossAt)
		}
	}
}

// SetKeepAlive has probes sent on an idle connection (RFC 1122 section 4.2.3.6): the
// first after idle, then each interval, and after count unanswered ones the
// connection fails with ETIMEDOUT. Times are whole seconds, at least one; zero values
// mean 15 s, 15 s and 9.
func (c *Conn) SetKeepAlive(on bool, idle, interval time.Duration, count int) {
	if c.state.over() {
		return
	}
	if !on {
		c.flags &^= flagKeepAlive
		c.keepAt = 0
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
	c.keepIdle, c.keepEach, c.keepCount = secs(idle), secs(interval), uint8(min(count, 255))
	c.flags |= flagKeepAlive
	c.keepAlive()
	c.arm()
}

// keepAlive starts the idle time over.
func (c *Conn) keepAlive() {
	if c.flags&flagKeepAlive != 0 {
		c.probes = 0
		c.keepAt = c.e.now + int64(c.keepIdle)*int64(time.Second)
	}
}

func (c *Conn) keepTimeout() {
	c.keepAt = 0
	switch {
	case c.state == StateFinWait2 && c.flags&flagOwned == 0:
		// Nobody waits for the peer's FIN. It is answered by a RST if it comes.
		c.finish(StateClosed)
	case c.flags&flagKeepAlive == 0:
	case c.state == StateSynSent || c.state == StateSynReceived || c.segHead != 0 || c.lossKind == lossPersist:
		c.keepAt = c.e.now + int64(c.keepIdle)*int64(time.Second) // other timers watch
	case c.probes >= c.keepCount:
		c.reset(c.timedOut())
	default:
		c.probes++
		c.flags |= flagKeepProbe
		c.keepAt = c.e.now + int64(c.keepEach)*int64(time.Second)
		c.pend()
	}
}

// armFinWait2 bounds the wait for the FIN of a peer whose connection was closed here.
func (c *Conn) armFinWait2() {
	c.keepAt = c.e.now + int64(c.e.cfg.FinWait2)
	c.arm()
}
