// Package xskqueue is what the queues of both AF_XDP drivers have in common: who is in a
// method, how the owner waits, what is counted, and how a queue is closed. A driver embeds
// [Queue] in its own, which implements [Rings].
//
// It knows of a socket only what the kernel says of any AF_XDP socket. The rings, the
// frames and what becomes of them are the driver's.
package xskqueue
