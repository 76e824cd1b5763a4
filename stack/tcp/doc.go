// Package tcp is a TCP engine of one shard: a state machine that is given segments
// and the time, and gives back segments and readiness. It has no goroutine, lock,
// clock or I/O of its own, and imports nothing but the standard library.
//
// Not implemented yet: SYN cookies, path MTU discovery from ICMP.
package tcp
