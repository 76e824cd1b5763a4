// Package driver is the contract between a NIC and the stack above it.
//
// A [Device] is a NIC, real or in memory, opened with one or more queues. A
// [Queue] is one RX/TX ring pair and the frames that belong to it. One
// goroutine owns a queue and makes every call on it; [Queue.Wake],
// [Queue.Stats] and [Queue.Close] alone may come from another.
//
// # Ownership of a frame
//
// A [Frame] is memory on loan from its queue. At any time exactly one side
// holds it:
//
//	          Receive, Alloc
//	queue  ───────────────────▶  caller
//	       ◀───────────────────
//	          Transmit, Release
//
// Receive lends filled frames and Alloc lends empty ones. Either kind may be
// given back by Transmit, which sends it, or by Release, which does not. So a
// received frame can be answered in place: rewrite it, transmit it, no copy.
// A frame goes back to the queue that lent it and to no other. Once given back
// its bytes must not be touched: the NIC may be writing there.
//
// # Data path
//
// Calls move batches and return a count. Nothing blocks but Wait, nothing
// allocates per packet, and a ring that is full is counted in [Stats] and
// reported by a short count. Transmit only fills the TX ring; Flush rings the
// doorbell, once a batch.
//
// The package imports the standard library alone. Implementations are in the
// folders below it; all of them pass drivertest.Run.
package driver
