// Package netstack is gVisor's network stack under a shard: IP, ARP, NDP, ICMP, fragments
// and routes, the ports of both TCPs, the TCP of TransportNetstack, and the UDP endpoints
// that take what does not bypass them. No type of gVisor leaves it.
//
//	Input          a packet, through netstack's network and transport layers
//	InputSegment   a TCP segment, past netstack's network layer
//	Drain          TCP processed to completion, on the loop (package tcpinline)
//	qdisc          packets to send, written into frames of the shard's transmit queue
//	dispatcher     between IP and transport: reassembled packets of other shards, ICMP errors
//
// The loop calls Input, InputSegment, EndRun, Drain and SendACKs. Applications call the
// endpoints on goroutines of their own, under netstack's locks; what they leave for the
// loop wakes it if it sleeps.
package netstack
