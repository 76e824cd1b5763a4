package flow

import (
	"errors"
	"net/netip"
	"syscall"
	"time"
)

// ErrWouldBlock is returned by the calls of this contract that can't go on at once: no
// data, no room, no connection waiting. The Notify function and the task of Serve learn
// when to try again.
var ErrWouldBlock = errors.New("operation would block")

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
	// Serve has the shard's loop accept: see Flow.Serve.
	Serve(t Task)
	// Addr is the bound address.
	Addr() netip.AddrPort
	// Shard is the index of the shard this listener belongs to.
	Shard() int
	// Close stops listening; connections not yet accepted are reset.
	Close() error
}

// Flow is one TCP connection on one shard. Its methods may be called from any
// goroutine, though not two Reads nor two Writes at once, and never block.
type Flow interface {
	// Read copies received bytes into p. It returns ErrWouldBlock when there are
	// none, and io.EOF after the peer's FIN.
	Read(p []byte) (n int, err error)
	// Established is true while the connection is established and neither side has
	// closed or failed. After a short Read on such a flow the buffer is empty; Notify
	// reports new data.
	Established() bool
	// Write copies bytes of p to be sent and returns how many were taken. When
	// n < len(p), err is ErrWouldBlock or says why no more can be taken.
	Write(p []byte) (n int, err error)

	// Notify sets the function that is told of changes in readiness, and calls
	// it once with what is ready already. There is one function a flow; nil
	// takes it off. It is called with the flow's locks held, on whatever
	// goroutine made the change: it must not block and must not call the flow,
	// only take note. Notices are edges: read or write until ErrWouldBlock.
	Notify(f func(Events))

	// Serve has the shard's loop run t whenever the flow becomes ready, and once for
	// what it is ready for already. Several notices before t runs are one. It takes the
	// place of the function set by Notify: a socket has a function or a task. The task
	// reads and writes until ErrWouldBlock.
	Serve(t Task)

	// ConnectError is the result of an attempt begun by stack.Shard's DialTCP:
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
	// HandleDatagrams has the shard's loop call h for every datagram that the socket
	// receives, those not yet read first. It takes the place of ReadFrom and Notify, for
	// good. On a closed socket it returns net.ErrClosed.
	//
	// A whole datagram without IP options, addressed to this host alone, is handled in
	// the received frame. Others come through netstack, in a copy.
	HandleDatagrams(h DatagramHandler) error
	Close() error
	LocalAddr() netip.AddrPort
	// RemoteAddr is the connected peer, or the zero AddrPort.
	RemoteAddr() netip.AddrPort
	Shard() int
	SetReadBuffer(bytes int) error
	SetWriteBuffer(bytes int) error
}

// DefaultBacklog bounds a listener's connections not yet accepted.
const DefaultBacklog = 4096

// SocketOptions are what must be known before a socket is bound. The zero value
// is right for most.
type SocketOptions struct {
	// ReusePort lets several sockets of one shard bind the same address, if all
	// of them ask for it (SO_REUSEPORT).
	ReusePort bool
	// V6Only keeps a wildcard IPv6 socket from taking IPv4 too.
	V6Only bool
	// Backlog bounds a listener's connections not yet accepted; 0 is DefaultBacklog.
	Backlog int
	// ReadBuffer and WriteBuffer are sizes in bytes; 0 keeps the stack's.
	ReadBuffer, WriteBuffer int
	// Transport is the TCP of a listener or a connection.
	Transport Transport
}

// Task is work that runs on a shard's loop.
type Task interface {
	// RunOnShard is called on the loop, with no lock held. It may call every method of
	// the shard's sockets, and must not block: nothing else of the shard runs meanwhile.
	RunOnShard()
}

// SegmentHandler is a Task of Flow.Serve that takes received bytes where they are, from
// flows of TransportFast.
type SegmentHandler interface {
	Task
	// HandleSegment is offered bytes that arrived in order, in the received frame or a
	// copy of it, and returns how many of them it is done with: the first ones. The others
	// are kept for Read, and while there are such, nothing is offered. It is called on
	// the loop, as RunOnShard is, with no lock held. p may be changed, and not kept.
	HandleSegment(p []byte) (consumed int)
}

// DatagramHandler serves a UDP socket on its shard's loop.
type DatagramHandler interface {
	// HandleDatagram is called on the loop, with no lock held. It may call every method
	// of the shard's sockets and must not block: nothing else of the shard runs
	// meanwhile.
	HandleDatagram(d *Datagram)
}

// Datagram is one received UDP datagram, and the means to reply. It and its Data are
// valid during DatagramHandler.HandleDatagram, on the loop, and not longer: copy what
// must live on.
type Datagram struct {
	// Data is the payload, in the received frame or a copy of it. It may be changed.
	Data []byte
	Origin
}

// Origin is where a Datagram came from.
type Origin interface {
	// Source is the sender.
	Source() netip.AddrPort
	// Destination is the address and port the datagram was sent to, also on a socket
	// bound to every address: one of the stack's own, or a broadcast address.
	Destination() netip.AddrPort
	// Shard is the index of the shard that received the datagram.
	Shard() int
	// Reply sends b to the source, from the address the datagram was sent to (the
	// route's, if that was a broadcast). The first reply to a datagram in a frame of
	// its own is written over it: after it the bytes of Data are no longer the request.
	// b may be Data, or begin where Data does; nothing is copied then. Further replies
	// are copied into frames of their own, and leave after it.
	//
	// A reply longer than the MTU allows is sent in IP fragments. The error is EMSGSIZE
	// for one longer than UDP can be (65507 bytes over IPv4), ENOBUFS when the queue is
	// short of frames and net.ErrClosed when the socket is closed: in each case nothing
	// was sent. A reply in place may still be dropped, and counted, if the TX ring stands
	// still.
	Reply(b []byte) error
}
