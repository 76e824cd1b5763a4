// Package stack is a TCP/IP stack over the queues of a [driver.Device]: one shard
// a queue, each with a netstack of its own and one goroutine that runs it.
//
// A packet's life, in the order of this package's names:
//
//	Shard.run        the loop
//	Shard.receive    a batch of frames from the driver's queue
//	Shard.input      parse, verify checksums, steering.owner: which shard?
//	Shard.handTo     another's: copied into its hand-over ring
//	Shard.deliver    ours: copied into netstack
//	tcpinline.Drain  TCP processed to completion, here
//	tcpFlow          what an application reads, through the Flow contract
//	transmitter      netstack's packets, written into TX frames, sent once a turn
//
// Frames are the queue's: receive gives all of a batch back before it returns.
// The loop's goroutine alone uses the queue. Applications call netstack's
// endpoints on goroutines of their own, under netstack's locks; what they leave
// for the loop (packets to send, segments to process, timers) wakes it if it
// sleeps.
//
// [Stack] and [Shard] open sockets; [Listener], [Flow] and [PacketFlow] are the
// contract that package socketapi stands on. No type of netstack shows in it.
//
// What this package does not do: name resolution, DHCP, router discovery,
// multicast reception, forwarding. Close is in Stack.Close.
package stack
