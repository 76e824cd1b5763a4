// Package enginetcp stands between a shard and its TCP engine (package stack/tcp): frames of
// the loop on one side, sockets of applications on the other.
//
//	TCP.Input            a segment, in its frame -> Engine.Input; its payload -> SegmentHandler
//	TCP.SlowSegment      by way of netstack: fragments, IP options, what this host sends itself
//	TCP.SlowError        ICMP errors, likewise
//	TCP.dispatchEvents   Engine.NextReady -> Notify functions and tasks
//	TCP.Flush            Engine.Flush -> output.Frame, output.Send -> TX frames -> txq
package enginetcp
