package tcp

import "time"

// SYN cookies (RFC 4987 section 3.6). When a listener's handshakes have reached its backlog,
// a SYN is answered without keeping state. The sequence number of the SYN-ACK encodes what
// the SYN negotiated, with a keyed hash, and the ACK returns it. It has a count of periods of
// 64 s in its top 5 bits, an index of the MSS in the next 3, and 24 bits of hash. Window
// scale and SACK are in the low bits of the timestamp, which is then up to 63 ms early. A
// peer without timestamps loses them.

// cookieMSS are the values of MSS that a cookie can hold: the common ones of IPv4, IPv6 and
// tunnels. A peer's MSS is rounded down to one of them.
var cookieMSS = [8]uint16{minMSS, 536, 1220, 1300, 1360, 1400, 1440, 1460}

const (
	cookiePeriod = 64 * time.Second
	// cookieLife is how many periods a cookie is valid, after the one it was made in.
	cookieLife = 1
	// The low bits of a timestamp: 4 of window scale (15 is none), and SACK.
	cookieBits  = 6
	cookieSack  = 1 << 4
	cookieScale = 1<<4 - 1
)

func (e *Engine) cookieCount() uint32 { return uint32(e.now / int64(cookiePeriod)) }

// cookie returns the initial sequence number that answers a SYN with sequence number iss.
func (e *Engine) cookie(t *Tuple, iss seqNum, count, index uint32) seqNum {
	mac := t.mac(&e.cookieKey, uint64(iss)<<32|uint64(count)<<3|uint64(index))
	return seqNum(count<<27 | index<<24 | uint32(mac)&0xffffff)
}

// sendCookie answers a SYN without keeping state.
func (e *Engine) sendCookie(l *Listener, s *Segment) {
	index := uint32(len(cookieMSS) - 1)
	for index > 0 && cookieMSS[index] > s.peerMSS() {
		index--
	}
	o := synOptions{mss: e.ownMSS(&s.Tuple), scale: -1}
	if s.HasTS {
		o.ts, o.ecr = true, s.TSVal
		low := uint32(cookieScale)
		if s.HasScale {
			low = uint32(s.Scale)
			o.scale = int8(e.rcvScale)
		}
		if s.SackOK {
			low |= cookieSack
			o.sackOK = true
		}
		o.val = cookieStamp(e.millis(), low) + uint32(s.Tuple.hostMAC(&e.tsKey))
	}
	n := headerLen + o.len()
	b := e.frame(nil, &s.Tuple, n)
	if b == nil {
		e.stats.NoFrame++
		return
	}
	seq := e.cookie(&s.Tuple, s.Seq, e.cookieCount(), index)
	putHeader(b, &s.Tuple, seq, s.Seq+1, FlagSYN|FlagACK, cookieWindow, n)
	o.put(b[headerLen:])
	e.send(nil, b, s.Tuple.pseudoSum())
	e.stats.Cookies++
	l.cookieAt = e.now
}

// cookieWindow is the window of a SYN-ACK with a cookie. Every connection has so much buffer.
const cookieWindow = 2048

// cookieStamp returns the last time, not after ms, that has these low bits.
func cookieStamp(ms, low uint32) uint32 {
	v := ms&^(1<<cookieBits-1) | low
	if v > ms {
		v -= 1 << cookieBits
	}
	return v
}

// acceptCookie checks whether an ACK returns a cookie. If it does, ok is true and c is its
// connection in SYN-RECEIVED, which the ACK then completes. c is nil if there is no room for it
// now.
func (e *Engine) acceptCookie(l *Listener, s *Segment, hash uint32) (c *Conn, ok bool) {
	// Without a recent cookie none can return, and guesses are in vain.
	if l.cookieAt == 0 || e.now-l.cookieAt > int64((cookieLife+1)*cookiePeriod) {
		return nil, false
	}
	iss, got := s.Seq-1, s.Ack-1
	count, index := e.cookieCount(), uint32(got)>>24&7
	age := (count - uint32(got)>>27) & 31
	if age > cookieLife || e.cookie(&s.Tuple, iss, count-age, index) != got {
		return nil, false
	}
	if l.Waiting() < l.backlog {
		c = e.newConn(&s.Tuple, hash)
	}
	if c == nil {
		// The ACK is dropped. The peer's data brings the cookie again.
		e.stats.Overflows++
		return nil, true
	}
	syn := Segment{Tuple: s.Tuple, Seq: iss, Flags: FlagSYN, Window: s.Window}
	syn.HasMSS, syn.MSS = true, cookieMSS[index]
	if s.HasTS {
		low := s.TSEcr - uint32(s.Tuple.hostMAC(&e.tsKey))
		syn.HasTS, syn.TSVal = true, s.TSVal
		syn.SackOK = low&cookieSack != 0
		if scale := low & cookieScale; scale <= maxScale {
			syn.HasScale, syn.Scale = true, uint8(scale)
		}
	}
	c.setISS(got)
	e.addHalfOpen(l, c)
	c.processSYN(&syn)
	c.flags |= flagSYNRetr // the time of the SYN-ACK is not known
	c.rcv.adv = c.rcv.nxt + cookieWindow
	c.startRTO()
	e.stats.CookiesTaken++
	return c, true
}
