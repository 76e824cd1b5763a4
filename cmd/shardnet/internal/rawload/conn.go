package rawload

// conn is a TCP connection, small enough to have a quarter of a million. What it
// has sent is not kept: the application makes it again.
//
//	una <= nxt <= max <= limit
//
// are sequence numbers: what is acknowledged, what is to be sent next (less than
// max after a timeout, to send again), what was ever sent, and what there is to
// send, which is end and, when closing, a FIN after it.
type conn struct {
	una, nxt, max, end uint32
	rcv                uint32 // next sequence number to receive
	wnd                uint32 // the peer's, in bytes
	due                uint32 // millisecond of the next timeout
	mark               uint32 // the application's: how far it has read
	head, tail         uint32 // requests answered, and issued
	src, port, mss     uint16
	state              connState
	flags              connFlags
	shift              uint8 // the peer's window scale
	retries            uint8 // timeouts in a row
	dupacks            uint8
	unacked            uint8 // segments received and not acknowledged
}

type connState uint8

const (
	closed  connState = iota
	opening           // SYN sent
	open
	dying // to be reset as soon as there is a frame for it
)

type connFlags uint8

const (
	dirty     connFlags = 1 << iota // listed for output
	ackNow                          // an acknowledgement is to be sent
	closing                         // a FIN follows end
	peerFIN                         // the peer's FIN was received
	noScale                         // the peer does not scale windows
	resendOne                       // the segment at una is to be sent again
)

// limit is the end of the sequence numbers there are to send.
func (c *conn) limit() uint32 {
	if c.flags&closing != 0 {
		return c.end + 1
	}
	return c.end
}

// over says whether both directions have ended.
func (c *conn) over() bool {
	return c.flags&(closing|peerFIN) == closing|peerFIN && c.una == c.end+1
}

// Retransmission: a fixed timeout, as the path is known and short, doubled each
// time. It is longer than the delay of anybody's acknowledgements and shorter
// than a person's patience.
const (
	rtoMillis  = 200
	maxRetries = 7     // then the connection is given up, after some 50 s
	maxBackoff = 5     // at most 6.4 s
	finMillis  = 5e3   // how long the peer has for its own FIN
	sweepTime  = 100e6 // nanoseconds in which all connections' timeouts are looked at
)

// windowShift is the window scale that is announced (RFC 7323).
const windowShift = 7

func millis(now int64) uint32 { return uint32(now / 1e6) }

// arm starts the timeout of c.
func (c *conn) arm(now int64) {
	c.due = millis(now) + rtoMillis<<min(c.retries, maxBackoff)
}
