// Package steer decides which shard a packet belongs to. This is the one place where the
// rule is written:
//
//	TCP, UDP to a listening port             the shard it came in on
//	TCP, UDP to a port pinned to a shard     that shard
//	TCP, UDP to another ephemeral port       the shard whose part of the range it is in
//	TCP, UDP to any other port               the shard it came in on (which refuses it)
//	ARP request, NDP solicitation, echo      the shard it came in on
//	ARP reply, ARP announcement, NDP advertisement, router
//	  advertisement, redirect, ICMP error,
//	  IGMP, MLD                              every shard
//	IP fragment                              by hash of source, destination and id
//
// A NIC may still move a connection to another queue in mid-life (veth does, for what the
// kernel sends without a socket), and a listener may close before its connections do.
// stack.Shard.flowShard has the last word on TCP for these cases.
package steer
