package tcp

import (
	"net/netip"
	"syscall"
)

type listenKey struct {
	addr   [16]byte
	port   uint16
	family uint8 // 0: both, for the IPv6 wildcard
}

// Listener accepts connections to a port.
type Listener struct {
	// User is the application's.
	User     any
	e        *Engine
	key      listenKey
	backlog  int
	halfOpen int
	queue    []uint32 // connections that wait for Accept, the oldest at queue[first]
	first    int
	closed   bool
	shares   bool
	next     *Listener // another one that shares the key
	cookieAt int64     // when the last SYN cookie was sent
}

// Listen accepts connections to addr. The unspecified IPv4 address means all IPv4 addresses. The
// unspecified IPv6 address means all addresses, or with v6only all IPv6 addresses. backlog bounds
// the connections that wait for Accept, and separately those in a handshake.
//
// A segment goes to the listener of its address, else to that of its family, else to the one for
// both. Listen returns EADDRINUSE if there is such a listener already.
func (e *Engine) Listen(addr netip.AddrPort, v6only bool, backlog int) (*Listener, error) {
	return e.listen(addr, v6only, backlog, false)
}

// ListenShared is Listen beside others that ListenShared opened. The hash of a connection's tuple
// chooses one of them, as SO_REUSEPORT does.
func (e *Engine) ListenShared(addr netip.AddrPort, v6only bool, backlog int) (*Listener, error) {
	return e.listen(addr, v6only, backlog, true)
}

func (e *Engine) listen(addr netip.AddrPort, v6only bool, backlog int, share bool) (*Listener, error) {
	if !addr.IsValid() || addr.Port() == 0 || backlog < 1 {
		return nil, syscall.EINVAL
	}
	key := listenKey{addr: addr.Addr().As16(), port: addr.Port(), family: 6}
	if addr.Addr().Unmap().Is4() {
		key.family = 4
	} else if addr.Addr().IsUnspecified() && !v6only {
		key.family = 0
	}
	first := e.listeners[key]
	if first != nil && !(share && first.shares) {
		return nil, syscall.EADDRINUSE
	}
	l := &Listener{e: e, key: key, backlog: backlog, shares: share, next: first}
	e.listeners[key] = l
	return l, nil
}

// listener returns the listener for a connection with this tuple and hash.
func (e *Engine) listener(t *Tuple, hash uint32) *Listener {
	l := e.listenerGroup(t)
	if l == nil || l.next == nil {
		return l
	}
	n := uint64(0)
	for o := l; o != nil; o = o.next {
		n++
	}
	for range uint64(hash) * n >> 32 {
		l = l.next
	}
	return l
}

// listenerGroup returns the first of the listeners for t.
func (e *Engine) listenerGroup(t *Tuple) *Listener {
	key := listenKey{addr: t.Local, port: t.LocalPort, family: 6}
	any4 := [16]byte{10: 0xff, 11: 0xff}
	wildcard := [16]byte{}
	if t.Is4() {
		key.family, wildcard = 4, any4
	}
	if l := e.listeners[key]; l != nil {
		return l
	}
	key.addr = wildcard
	if l := e.listeners[key]; l != nil {
		return l
	}
	key.addr, key.family = [16]byte{}, 0
	return e.listeners[key]
}

// Addr is the address given to Listen.
func (l *Listener) Addr() netip.AddrPort { return addrPort(&l.key.addr, l.key.port) }

// Accept returns the connection that has waited longest, or ErrWouldBlock. The caller then holds
// the connection.
func (l *Listener) Accept() (*Conn, error) {
	if l.closed {
		return nil, syscall.EINVAL
	}
	for l.first < len(l.queue) {
		c := l.e.conns.at(l.queue[l.first])
		l.first++
		c.listener = nil
		if c.state.ended() && c.err != 0 && c.rcv.queue.n == 0 {
			c.release() // reset while it waited
			continue
		}
		c.flags |= flagOwned
		if c.state.ended() {
			c.notify(Readable | Closed)
		} else if c.rcv.queue.n > 0 || c.flags&flagRecvFin != 0 {
			c.notify(Readable)
		}
		return c, nil
	}
	l.queue, l.first = l.queue[:0], 0
	return nil, ErrWouldBlock
}

// Waiting returns how many connections wait for Accept.
func (l *Listener) Waiting() int { return len(l.queue) - l.first }

// Close stops listening. Connections that wait for Accept are reset, and those in a handshake when
// it ends.
func (l *Listener) Close() {
	if l.closed {
		return
	}
	l.closed = true
	l.e.unlisten(l)
	for _, id := range l.queue[l.first:] {
		c := l.e.conns.at(id)
		c.listener = nil
		c.events = 0
		if c.state.ended() {
			c.release()
		} else {
			c.reset(0)
		}
	}
	l.queue, l.first = nil, 0
}

// unlisten takes l out of its group.
func (e *Engine) unlisten(l *Listener) {
	first := e.listeners[l.key]
	if first == l {
		if l.next == nil {
			delete(e.listeners, l.key)
		} else {
			e.listeners[l.key] = l.next
		}
		return
	}
	for first.next != l {
		first = first.next
	}
	first.next = l.next
}

// listenInput processes segments without a connection: LISTEN and CLOSED of RFC 9293 sections
// 3.10.7.1 and 3.10.7.2.
func (e *Engine) listenInput(s *Segment, hash uint32) Verdict {
	l := e.listener(&s.Tuple, hash)
	if l == nil {
		return NoConnection
	}
	switch {
	case s.Flags&FlagRST != 0:
		return Taken
	case s.Flags&FlagACK != 0:
		if s.Flags&FlagSYN != 0 {
			return NoConnection
		}
		c, ok := e.acceptCookie(l, s, hash)
		if !ok {
			return NoConnection
		}
		if c != nil {
			c.process(s)
		}
		return Taken
	case s.Flags&FlagSYN == 0 || s.Flags&FlagFIN != 0:
		return Taken
	}
	if l.Waiting() >= l.backlog {
		e.stats.Overflows++
		return Taken
	}
	if l.halfOpen >= l.backlog || e.cfg.Memory-e.used < e.cfg.Memory/8 {
		e.sendCookie(l, s) // this bounds the memory of a SYN flood
		return Taken
	}
	c := e.newConn(&s.Tuple, hash)
	if c == nil {
		e.stats.Overflows++
		return Taken
	}
	e.addHalfOpen(l, c)
	c.processSYN(s)
	c.schedule(flagSendSYN)
	return Taken
}

// addHalfOpen adds a connection in SYN-RECEIVED.
func (e *Engine) addHalfOpen(l *Listener, c *Conn) {
	c.state = StateSynReceived
	c.flags |= flagPassive | flagInTable
	c.listener = l
	l.halfOpen++
	e.halfOpen++
	e.flows.insert(c.hash, c.id)
}

// processSYN takes the sequence number and the options of the peer's SYN.
func (c *Conn) processSYN(s *Segment) {
	c.rcv.nxt = s.Seq + 1
	c.rcv.adv, c.rcv.lastAck, c.rcv.drsSeq = c.rcv.nxt, c.rcv.nxt, c.rcv.nxt
	c.snd.mss = min(c.snd.mss, max(s.peerMSS(), minMSS))
	if s.SackOK {
		c.flags |= flagSack
	}
	if s.HasTS {
		c.flags |= flagTS
		c.ts.recent, c.ts.recentAt = s.TSVal, c.e.millis()
	}
	if s.HasScale {
		c.flags |= flagScale
		c.snd.scale, c.rcv.scale = s.Scale, c.e.rcvScale
	}
	c.snd.wnd = uint32(s.Window) // RFC 7323 section 2.2: a SYN's window is not scaled
	c.snd.maxWnd = c.snd.wnd
	c.snd.wl1, c.snd.wl2 = s.Seq, c.snd.iss
	c.initCongestion()
}

// established moves a passive connection from SYN-RECEIVED to the queue of its listener. It returns
// false if the queue is full or the listener is closed.
func (c *Conn) established() bool {
	l := c.listener
	if l == nil { // a simultaneous open, dialed by the application
		c.state = StateEstablished
		c.notify(Writable)
		return true
	}
	if l.closed {
		c.reset(0)
		return false
	}
	if l.Waiting() >= l.backlog {
		// The ACK is dropped. The peer is connected, and answers our next SYN-ACK
		// when there may be room.
		c.e.stats.Overflows++
		return false
	}
	l.halfOpen--
	c.e.halfOpen--
	c.state = StateEstablished
	if l.first > 0 && len(l.queue) == cap(l.queue) {
		l.queue = l.queue[:copy(l.queue, l.queue[l.first:])]
		l.first = 0
	}
	l.queue = append(l.queue, c.id)
	c.notify(Accepted)
	return true
}
