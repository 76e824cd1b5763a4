// Package socketapi is what an application imports: sockets of a stack behind the
// interfaces of package net.
//
// Everything is one per shard. [Listen] opens a listener on every shard of a
// stack and returns them as a [Group], [ListenPacket] a UDP socket on every shard
// as a [PacketGroup], as SO_REUSEPORT sockets of the kernel would be. A program
// that wants to keep a connection's work on the connection's core takes the
// members and runs a loop for each; one that does not care uses the group, which
// is itself a net.Listener, or a net.PacketConn, over all of them:
//
//	g, err := socketapi.Listen(st, "tcp", ":80")
//	if err != nil {
//		return err
//	}
//	go http.Serve(g, handler) // or http.Serve(g.Listener(i), handler) for each i < g.Len()
//
// [Dial] and [Dialer] connect out; Dialer.DialContext fits http.Transport.
//
// What comes back behaves as its counterpart in package net does: [Conn] as
// *net.TCPConn, [PacketConn] as *net.UDPConn, errors as *net.OpError with the same
// causes under the same circumstances, down to os.SyscallError and the name of the
// system call that there was none of. A test compares them with the kernel's
// sockets. The differences are these:
//
//   - Host names are not resolved: addresses are literal. See net.Resolver.
//   - There is no loopback: to dial the stack one needs one of its addresses.
//   - There is no file descriptor: no SyscallConn, no File, and no out-of-band data.
//   - Addresses are never IPv4-mapped, on sockets of both families either.
//   - A Conn that is dropped without Close is not found by the garbage collector:
//     the stack still holds it.
//
// When the stack closes, or fails, every call returns an error that is
// net.ErrClosed.
//
// # Event handlers
//
// A server that needs no goroutine for a connection gives a [Handler] to [Handle],
// or a [PacketHandler] to [HandlePacket]: callbacks that run on the shard's own
// goroutine, its loop. It costs no switch between goroutines, and no memory but 80
// bytes beside the stack's for an idle connection.
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
//   - A callback must not block, as nothing else of its shard runs meanwhile: the
//     stack counts and logs those that keep it too long. What blocks or takes long
//     is for [EventConn.Go].
//   - Callbacks of one shard never overlap or nest; those of different shards run at
//     once. Nothing of a connection may be touched from elsewhere, but by
//     [EventConn.Post].
//   - What OnData does not consume is kept and comes again with more. What Write
//     does not take is the caller's to keep until OnWritable; until then nothing is
//     read, and the peer's window closes.
//   - What callbacks write leaves when they have returned, together.
//   - The peer's FIN ends a connection in order: when all it sent was offered,
//     everything written is sent, and Go's work is back.
//   - OnClose comes once for each OnOpen, whatever ends the connection. When the
//     stack closes or fails, it comes on the loop, at the latest as the loop's last
//     act; what was not yet taken by the stack is lost then.
//
// A connection reads at most 64 KiB, or 16 times, in one turn of the loop, and lets
// others have theirs. In the steady state neither callbacks nor requests allocate.
//
// # How it waits
//
// The package stands on the small contract in package stack (stack.Listener,
// stack.Flow, stack.PacketFlow), whose calls never block, and adds the blocking:
// deadlines, the taking of turns, and the sleep until the shard tells of news.
// There is no goroutine and no poller in between: the shard's loop wakes the very
// goroutine that waits. Reads and writes do not allocate, nor do they when they
// have to wait, but for one channel at a socket's first wait in each direction.
// No goroutine is started, neither for a connection nor for a listener.
//
// No type and no error of the network stack underneath shows through. How packets
// find their shard, and what a shard does with them, is in package stack.
package socketapi
