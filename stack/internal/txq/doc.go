// Package txq is the transmit side of a shard: empty frames for writers, the frames that
// they filled, and the neighbors that those go to.
//
// Only the loop may use the driver's queue, while netstack and UDP sockets send on
// application goroutines too. So the loop keeps a list of free frames here; a writer
// fills some under the lock, and the loop carries them to the driver in Flush, once a
// turn. When there is no free frame netstack's packets wait in its backlog, which the
// loop drains here.
//
// A frame is in one place at a time: free, queued, inFlight, replies or segments. In each
// it is on loan from the driver's queue to this one.
package txq
