// Package tcpinline runs netstack's TCP to completion on the goroutine that
// calls Drain, in place of netstack's own processor goroutines.
//
// Netstack's TCP hands every incoming segment to one of GOMAXPROCS processor
// goroutines (transport/tcp/dispatcher.go) and has no option to do without
// them. This package parks them by Stack.Pause, after which segments are still
// queued on their endpoints and the endpoints on the processors' queues, and
// does the processors' work itself: it takes the endpoints from the queue and
// calls the handlers of transport/tcp by linkname.
//
// It is the only place that knows netstack's unexported layout. New checks that
// layout by reflection and returns an error when it is not the one this package
// was written for; the caller then leaves netstack as it is. A test compares
// the version in go.mod with the one that was read.
//
// Facts relied on, all in transport/tcp:
//
//   - protocol.dispatcher.processors is the slice that selectProcessor indexes
//     with hash % len. Parked processors do not touch it, so New shortens it to
//     one: one queue to drain, whatever GOMAXPROCS is. Close restores it.
//   - A processor that is paused asserts no waker but leaves them asserted, so
//     that Resume makes it look at its queue again.
//   - UnlockUser queues an endpoint that got segments while an application
//     goroutine held it. So after a call on an endpoint the queue may be
//     non-empty though no segment arrived: see Pending.
//   - handleSegmentsLocked acknowledges, as its last act, what was received, if
//     RCV.NXT is not the last acknowledgement sent. Everything that must be
//     acknowledged at once (duplicates, what is out of order, FIN) is so where it
//     is received. So that last act can wait until applications have answered:
//     see SendACKs.
package tcpinline
