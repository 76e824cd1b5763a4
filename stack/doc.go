// Package stack is a TCP/IP stack over the queues of a [driver.Device]: one shard a queue,
// and one goroutine a shard, which runs its loop.
//
// A received packet follows these names:
//
//	Shard.run                the loop; one round of it is a turn
//	Shard.receive            a batch of frames from the driver's queue
//	Shard.parse              headers and checksums
//	Shard.classify           the TCP engine's, a UDP socket's, or netstack's?
//	Shard.steer              another shard's: Shard.handOver copies it into that one's ring
//	Shard.deliver            enginetcp.TCP.Input, udp.Sockets.Input, netstack.Netstack.Input;
//	                         handlers of segments and datagrams run here
//	enginetcp.TCP.DrainDeferred, netstack.Netstack.Drain: what calls left, netstack's TCP
//	Shard.runTasks           what sockets posted: accepting, what handlers left to do
//	enginetcp.TCP.Flush      segments and acknowledgements, written into TX frames
//	txq.Queue.Flush          frames to the driver, one doorbell a turn
//
// Shard.receiveHandedOver takes packets of other shards through the same stages.
//
// Frames are the queue's: Shard.receive gives all of a batch back before it returns, but for
// those that became replies in place. Only the loop uses the queue. Applications call sockets
// on goroutines of their own, under the sockets' locks; what they leave for the loop wakes it
// if it sleeps. The comment of Shard lists every place where goroutines meet.
//
// [Stack] and [Shard] open sockets, which are of package [flow]: the contract that package
// socketapi stands on. No type of netstack shows in it.
//
// What this package does not do: name resolution, DHCP, router discovery, multicast
// reception, forwarding.
package stack
