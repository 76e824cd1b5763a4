// Package serve is what the apps have in common as servers: accept loops and
// packet loops with an orderly end, datagram I/O without allocations, and
// counters that connections on different cores do not share.
//
// A [Group] owns the listeners, packet connections and connections it was
// given. It knows nothing of what is said on them.
package serve
