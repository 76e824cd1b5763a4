package tcp

import "syscall"

// ICMPKind is what an ICMP error about one of our segments says.
type ICMPKind uint8

const (
	// ICMPTooBig: fragmentation needed, or packet too big.
	ICMPTooBig ICMPKind = iota
	// ICMPRefused: port or protocol unreachable, or prohibited.
	ICMPRefused
	// ICMPUnreachable: network or host unreachable, time exceeded and the like,
	// which may pass.
	ICMPUnreachable
	// ICMPNoNeighbour: this host itself found that the next hop does not answer. It
	// is no message, and can't be forged.
	ICMPNoNeighbour
)

// ICMP takes an ICMP error that quotes a segment of ours: its tuple, from our side,
// and its sequence number. mtu is the next hop's for ICMPTooBig. Anybody can send
// such a message, so it is believed as far as RFC 5927 says: only if it quotes what
// is in flight, never to reset an established connection, and a path MTU only
// if the segment quoted is larger. It reports whether the message was believed.
func (e *Engine) ICMP(now int64, t *Tuple, seq uint32, kind ICMPKind, mtu int) bool {
	e.now = now
	ref := e.flows.find(t.hash(&e.flowKey), t)
	if ref == 0 || ref&waitRef != 0 {
		return false
	}
	c := e.conns.at(ref)
	if !within(seq, c.snd.una, c.snd.nxt) { // RFC 5927 section 4.1
		return false
	}
	switch {
	case kind == ICMPTooBig:
		return c.pathMTU(seq, mtu)
	case kind == ICMPRefused && c.state == StateSynSent:
		c.fail(syscall.ECONNREFUSED)
	case kind == ICMPNoNeighbour && c.state == StateSynSent:
		c.fail(syscall.EHOSTUNREACH)
	default:
		// RFC 5927 section 5.2: an error of a connection that is established may
		// pass; the retransmission timeout decides, and then says why.
		c.softErr = uint8(syscall.EHOSTUNREACH)
	}
	return true
}

// plateaus are RFC 1191 section 7.1's, for routers that do not say their MTU.
var plateaus = [...]int{17914, 8166, 4352, 2002, 1492, 1006}

// pathMTU lowers the MSS to what a router has said, and sends again what was too
// large for it. That is no sign of congestion (RFC 1191 section 6.4). It is never raised
// again: a path that improves is not probed.
func (c *Conn) pathMTU(seq uint32, mtu int) bool {
	e := c.e
	if c.state == StateSynSent || c.state == StateSynReceived {
		return false // a SYN is never too big
	}
	headers, least := headers4, minMTU
	if !c.tuple.Is4() {
		headers, least = headers6, minMTU6 // RFC 8201 section 4
	}
	var size int
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		if g := e.segs.at(ref); within(seq, g.seq, g.end) {
			size = headers + int(g.data()) + int(uint32(c.snd.mss)-c.maxPayload())
		}
	}
	if mtu < least {
		// Older routers say nothing: RFC 1191 section 5.
		if mtu != 0 {
			mtu = least
		} else {
			mtu = least
			for i := len(plateaus) - 1; i >= 0 && plateaus[i] < size; i-- {
				mtu = plateaus[i]
			}
		}
	}
	if size <= mtu || mtu-headers >= int(c.snd.mss) { // RFC 5927 section 7.2
		return false
	}
	c.snd.mss = uint16(mtu - headers)
	most := c.maxPayload()
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		if e.segs.at(ref).data() > most {
			c.markLost(ref)
		}
	}
	c.armLoss()
	c.schedule()
	return true
}
