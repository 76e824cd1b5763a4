package stack

import (
	"net/netip"
	"syscall"
	"time"

	"shardnet/stack/tcp"
)

// ErrWouldBlock is returned by the calls of this contract that cannot go on at
// once: no data, no room, no connection waiting. The Notify callback tells when
// to try again.
var ErrWouldBlock = tcp.ErrWouldBlock

// Errno aside, the errors a Flow, PacketFlow or Listener returns are
// ErrWouldBlock, io.EOF (the peer's FIN was read), net.ErrClosed (closed by
// ourselves) and the system's own: syscall.ECONNREFUSED, ECONNRESET, ETIMEDOUT,
// EADDRINUSE, EADDRNOTAVAIL, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, EPIPE,
// ENOBUFS, EINVAL, ECONNABORTED, ENOTCONN.
type Errno = syscall.Errno

// Events says what a flow became ready for.
type Events uint8

const (
	// Readable: Read, ReadFrom or Accept will not return ErrWouldBlock, because
	// there is data, a connection, the peer's FIN or an error.
	Readable Events = 1 << iota
	// Writable: Write or WriteTo may take bytes again, or a connection attempt
	// ended (well or badly: ask ConnectError).
	Writable
	// Closed: the flow is over in both directions.
	Closed
)

// Listener accepts TCP connections on one shard. Its methods may be called from
// any goroutine.
type Listener interface {
	// Accept returns the oldest connection that finished its handshake on this
	// shard, or ErrWouldBlock.
	Accept() (Flow, error)
	// Notify sets the function called when a connection is ready: see Flow.Notify.
	Notify(f func(Events))
	// Addr is the bound address.
	Addr() netip.AddrPort
	// Shard is the index of the shard this listener belongs to.
	Shard() int
	// Close stops listening; connections not yet accepted are reset.
	Close() error
}

// Flow is one TCP connection on one shard. Its methods may be called from any
// goroutine, though not two Reads nor two Writes at once, and never block.
// It is an endpoint of netstack's, or a connection of the shard's own TCP.
type Flow interface {
	// Read copies received bytes into p. It returns ErrWouldBlock when there are
	// none, and io.EOF after the peer's FIN.
	Read(p []byte) (n int, err error)
	// Quiet reports that Read has nothing to tell but of data: the connection is
	// established, without the peer's FIN, an error, or an end of ours. A Read that
	// did not fill its slice, on a flow that is quiet after it, has taken all there
	// was, and there will be a notice of more.
	Quiet() bool
	// Write copies bytes of p to be sent and returns how many were taken. When
	// n < len(p), err is ErrWouldBlock or says why no more can be taken.
	Write(p []byte) (n int, err error)

	// Notify sets the function that is told of changes in readiness, and calls
	// it once with what is ready already. There is one function a flow; nil
	// takes it off. It is called with the flow's locks held, on whatever
	// goroutine made the change: it must not block and must not call the flow,
	// only take note. Notices are edges: read or write until ErrWouldBlock.
	Notify(f func(Events))

	// ConnectError is the result of an attempt begun by Shard.DialTCP:
	// ErrWouldBlock while it is under way, nil once connected, or the reason.
	ConnectError() error

	// CloseRead discards what arrives from now on; Read returns io.EOF.
	CloseRead() error
	// CloseWrite sends FIN after what is still to be sent.
	CloseWrite() error
	// Close sends FIN after what is still to be sent, and gives the flow up; the
	// handshake that ends it goes on without its owner. With linger zero it
	// resets instead.
	Close() error
	// Abort sends RST and gives the flow up.
	Abort()

	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
	// Shard is the index of the shard that owns this flow.
	Shard() int

	// SetNoDelay(true), the default here as in package net, turns Nagle off.
	SetNoDelay(on bool) error
	// SetKeepAlive turns probes on or off; zero durations and counts keep what
	// is set (defaults: idle 15 s, interval 15 s, count 9, as in package net).
	SetKeepAlive(on bool, idle, interval time.Duration, count int) error
	// SetLinger sets what Close does with unsent data: sec < 0 the default
	// (sent in the background), 0 discarded and reset.
	SetLinger(sec int) error
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// PacketFlow is a UDP socket on one shard. Its methods may be called from any
// goroutine, and never block.
type PacketFlow interface {
	// ReadFrom copies one datagram into p and returns its length and source. A
	// longer datagram is cut, its rest lost. ErrWouldBlock when there is none. On
	// a connected flow, an ICMP error the peer caused (ECONNREFUSED) is returned
	// once.
	ReadFrom(p []byte) (n int, from netip.AddrPort, err error)
	// WriteTo sends p as one datagram. On a flow from DialUDP, to must be the
	// zero AddrPort.
	WriteTo(p []byte, to netip.AddrPort) (n int, err error)
	// Notify as for Flow.
	Notify(f func(Events))
	Close() error
	LocalAddr() netip.AddrPort
	// RemoteAddr is the connected peer, or the zero AddrPort.
	RemoteAddr() netip.AddrPort
	Shard() int
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// SocketOptions are what must be known before a socket is bound. The zero value
// is right for most.
type SocketOptions struct {
	// ReusePort lets several sockets of one shard bind the same address, if all
	// of them ask for it (SO_REUSEPORT).
	ReusePort bool
	// V6Only keeps a wildcard IPv6 socket from taking IPv4 too.
	V6Only bool
	// Backlog bounds a listener's connections not yet accepted; 0 is 4096.
	Backlog int
	// ReadBuffer and WriteBuffer are sizes in bytes; 0 keeps the stack's.
	ReadBuffer, WriteBuffer int
	// Transport is the TCP of a listener or a connection.
	Transport Transport
}
