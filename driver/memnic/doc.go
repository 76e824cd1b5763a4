// Package memnic is a NIC in memory: two multi-queue network devices joined by a
// cable, behind the driver contract. It needs no privilege and no hardware. Tests
// of everything above the driver run on it.
//
// It behaves as hardware does where that shows. The receiving end spreads packets
// over its queues by Toeplitz hash and indirection table (package rss), reported
// in Info().RSS. A frame is read when it is flushed, not when it is transmitted,
// and copied into memory that the receiver posted beforehand; when the receiver
// posted none, the frame is lost and counted in its RxDropped. The cable itself
// loses, reorders within a flow, corrupts and delays nothing: see driver/fault.
//
// What it has not: offloads (the stack fills in checksums and verifies them), a
// bandwidth, a filter by destination MAC (every frame arrives, as on veth).
//
//	a, b, err := memnic.NewPair(&memnic.Config{MTU: 9000, B: memnic.End{Queues: 4}})
//	if err != nil {
//		return err
//	}
//	defer a.Close()
//	defer b.Close()
//
// # Concurrency
//
// Each queue has one owner, as the contract says. Any TX queue of one end may
// send to any RX queue of the other, at once: senders to one RX ring take turns
// by a mutex, once a batch, while its consumer takes none. A parked Wait is a
// parked goroutine, not a parked thread.
package memnic
