// Package udp is a shard's UDP: the sockets, and the datagrams that bypass netstack.
//
//	Sockets.Input          a received datagram, in its frame: to a handler, or to a queue
//	received.Reply         the frame becomes the reply
//	Socket.ReadFrom        what the queue holds, or netstack
//	Socket.WriteTo         Sockets.send writes TX frames, if the neighbor is known
//
// Each socket has an endpoint of netstack's too, which holds the port and takes what is
// left. The loop calls Input; sockets may be used by any goroutine.
package udp
