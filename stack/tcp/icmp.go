package tcp

import "syscall"

// ICMPKind is the meaning of an ICMP error for one of our segments.
type ICMPKind uint8

const (
	// ICMPTooBig: fragmentation needed, or packet too big.
	ICMPTooBig ICMPKind = iota
	// ICMPRefused: port or protocol unreachable, or prohibited.
	ICMPRefused
	// ICMPUnreachable: network or host unreachable, time exceeded and the like,
	// which may pass.
	ICMPUnreachable
	// ICMPNoNeighbor: this host found that the next hop does not answer. No message
	// arrived that could be forged.
	ICMPNoNeighbor
)

// ICMP takes an ICMP error that quotes one of our segments: its tuple, seen from our side, and its
// sequence number. mtu is the next hop's for ICMPTooBig. Anybody can send such a message, so the
// rules of RFC 5927 apply: it is accepted only if it quotes what is in flight, it never resets an
// established connection, and it lowers the path MTU only if the quoted segment is larger. ICMP
// reports whether the message was accepted.
func (e *Engine) ICMP(now int64, t *Tuple, seq uint32, kind ICMPKind, mtu int) bool {
	e.now = now
	ref := e.flows.find(t.hash(&e.flowKey), t)
	if ref == 0 || ref&waitRef != 0 {
		return false
	}
	c := e.conns.at(ref)
	if !seqNum(seq).within(c.snd.una, c.snd.nxt) { // RFC 5927 section 4.1
		return false
	}
	switch {
	case kind == ICMPTooBig:
		return c.pathMTU(seqNum(seq), mtu)
	case kind == ICMPRefused && c.state == StateSynSent:
		c.fail(syscall.ECONNREFUSED)
	case kind == ICMPNoNeighbor && c.state == StateSynSent:
		c.fail(syscall.EHOSTUNREACH)
	default:
		// RFC 5927 section 5.2: an error on an established connection may pass. If it
		// does not, the connection times out with this error.
		c.softErr = uint8(syscall.EHOSTUNREACH)
	}
	return true
}

// plateaus are those of RFC 1191 section 7.1, for routers that do not report their MTU.
var plateaus = [...]int{17914, 8166, 4352, 2002, 1492, 1006}

// pathMTU lowers the MSS to what a router has reported, and retransmits the segments that are too
// large. That is no sign of congestion (RFC 1191 section 6.4). The MSS is never raised again.
func (c *Conn) pathMTU(seq seqNum, mtu int) bool {
	e := c.e
	if c.state == StateSynSent || c.state == StateSynReceived {
		return false // a SYN is never too big
	}
	headers, lowest := headers4, minMTU
	if !c.tuple.Is4() {
		headers, lowest = headers6, minMTU6 // RFC 8201 section 4
	}
	var size int
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		if g := e.segs.at(ref); seq.within(g.seq, g.end) {
			size = headers + int(g.data()) + int(uint32(c.snd.mss)-c.maxPayload())
		}
	}
	if mtu == 0 { // RFC 1191 section 5: older routers do not report the MTU
		for i := len(plateaus) - 1; i >= 0 && plateaus[i] < size; i-- {
			mtu = plateaus[i]
		}
	}
	mtu = max(mtu, lowest)
	if size <= mtu || mtu-headers >= int(c.snd.mss) { // RFC 5927 section 7.2
		return false
	}
	c.snd.mss = uint16(mtu - headers)
	full := c.maxPayload()
	for ref := c.flight.head; ref != 0; ref = e.segs.at(ref).next {
		if e.segs.at(ref).data() > full {
			c.markLost(ref)
		}
	}
	c.armLoss()
	c.schedule(0)
	return true
}
