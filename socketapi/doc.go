// Package socketapi is what an application imports: sockets of a stack behind the
// interfaces of package net.
//
// Sockets are opened once per shard, like SO_REUSEPORT sockets of the kernel.
// [Listen] opens a listener on every shard of a stack and returns them as a [Group].
// [ListenPacket] opens a UDP socket on every shard and returns a [PacketGroup]. A
// group is itself a net.Listener, or a net.PacketConn, over all its members. To
// keep a connection's work on the connection's core, take the members and run a
// loop for each:
//
//	g, err := socketapi.Listen(st, "tcp", ":80")
//	if err != nil {
//		return err
//	}
//	go http.Serve(g, handler) // or http.Serve(g.Listener(i), handler) for each i < g.Len()
//
// [Dial] and [Dialer] connect out; Dialer.DialContext fits http.Transport.
//
// [Conn] behaves as *net.TCPConn does, and [PacketConn] as *net.UDPConn. Errors match
// package net's, including os.SyscallError with the name of the equivalent system
// call. A test compares them with the kernel's sockets. The differences are these:
//
//   - Host names are not resolved: addresses are literal. See net.Resolver.
//   - There is no loopback address: dial one of the stack's own addresses.
//   - There is no file descriptor: no SyscallConn, no File, and no out-of-band data.
//   - Addresses are never IPv4-mapped, not even on sockets for both families.
//   - The garbage collector does not close a Conn that was dropped without Close:
//     the stack still holds it.
//
// When the stack closes or fails, every call returns an error that is net.ErrClosed.
//
// # Event handlers
//
// A server without a goroutine per connection gives a [Handler] to [Handle], or a
// [PacketHandler] to [HandlePacket]. Their callbacks run on the shard's own
// goroutine, its loop, so no request switches goroutines. An idle connection takes
// 80 bytes beside the stack's own.
//
//	type echo struct{ socketapi.NopHandler }
//
//	func (echo) OnData(c *socketapi.EventConn, data []byte) int {
//		n, _ := c.Write(data)
//		return n
//	}
//	...
//	srv, err := socketapi.Handle(st, "tcp", ":7", echo{})
//
// The rules:
//
//   - A callback must not block: nothing else of its shard runs meanwhile. The stack
//     counts and logs callbacks that take too long. [EventConn.Go] runs blocking
//     work off the shard.
//   - Callbacks of one shard never overlap or nest. Those of different shards run in
//     parallel. Only [EventConn.Post] may be called from other goroutines.
//   - Bytes that OnData does not consume are kept and offered again, with more.
//     The caller keeps what Write does not take, until OnWritable. Until then nothing
//     is read, and the peer's window closes.
//   - What callbacks write is sent together when they have returned.
//   - The peer's FIN ends a connection in order: after everything received was
//     offered, everything written was sent, and all work of Go has returned.
//   - OnClose is called once for each OnOpen, whatever ends the connection. When the
//     stack closes or fails, the loop calls it before it ends. Output that the stack
//     has not taken by then is lost.
//
// A connection reads at most 64 KiB, or 16 times, in one turn of the loop; then the
// others have their turn. In the steady state neither callbacks nor requests
// allocate.
//
// # How it waits
//
// The package stands on the small contract of package flow (flow.Listener,
// flow.Flow, flow.PacketFlow), whose calls never block, and adds the blocking:
// deadlines, turns among callers, and the sleep until the shard reports an event.
// The shard's loop wakes the waiting goroutine itself: there is no goroutine and no
// poller in between, and none is started for a connection or a listener. Reads and
// writes do not allocate, except for one channel when a socket first waits in a
// direction.
//
// No type and no error of the network stack underneath is visible here. Package
// stack documents how packets find their shard, and what a shard does with them.
package socketapi
