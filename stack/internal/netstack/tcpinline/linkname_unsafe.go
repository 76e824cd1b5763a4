package tcpinline

import (
	"unsafe"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// The functions a processor calls, of gvisor.dev/gvisor/pkg/tcpip/transport/tcp.
// Queues are passed as pointers to their first byte.

//go:linkname epQueueDequeue gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*epQueue).dequeue
func epQueueDequeue(q unsafe.Pointer) *tcp.Endpoint

//go:linkname epQueueEnqueue gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*epQueue).enqueue
func epQueueEnqueue(q unsafe.Pointer, e *tcp.Endpoint)

//go:linkname epQueueEmpty gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*epQueue).empty
func epQueueEmpty(q unsafe.Pointer) bool

//go:linkname segmentQueueEmpty gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*segmentQueue).empty
func segmentQueueEmpty(q unsafe.Pointer) bool

//go:linkname isOwnedByUser gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).isOwnedByUser
func isOwnedByUser(e *tcp.Endpoint) bool

//go:linkname handleConnecting gvisor.dev/gvisor/pkg/tcpip/transport/tcp.handleConnecting
func handleConnecting(e *tcp.Endpoint)

//go:linkname handleSegmentLocked gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).handleSegmentLocked
func handleSegmentLocked(e *tcp.Endpoint, s unsafe.Pointer) (more bool, err tcpip.Error)

//go:linkname resetConnectionLocked gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).resetConnectionLocked
func resetConnectionLocked(e *tcp.Endpoint, err tcpip.Error)

//go:linkname resetKeepaliveTimer gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).resetKeepaliveTimer
func resetKeepaliveTimer(e *tcp.Endpoint, receivedData bool)

//go:linkname startTimeWait gvisor.dev/gvisor/pkg/tcpip/transport/tcp.startTimeWait
func startTimeWait(e *tcp.Endpoint)

//go:linkname segmentQueueDequeue gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*segmentQueue).dequeue
func segmentQueueDequeue(q unsafe.Pointer) (segment unsafe.Pointer)

//go:linkname segmentDecRef gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*segment).DecRef
func segmentDecRef(segment unsafe.Pointer)

//go:linkname sendAck gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*sender).sendAck
func sendAck(snd unsafe.Pointer)

//go:linkname handleTimeWait gvisor.dev/gvisor/pkg/tcpip/transport/tcp.handleTimeWait
func handleTimeWait(e *tcp.Endpoint)

//go:linkname handleListen gvisor.dev/gvisor/pkg/tcpip/transport/tcp.handleListen
func handleListen(e *tcp.Endpoint)

//go:linkname drainClosingSegmentQueue gvisor.dev/gvisor/pkg/tcpip/transport/tcp.(*Endpoint).drainClosingSegmentQueue
func drainClosingSegmentQueue(e *tcp.Endpoint)

// queuePointer, senderPointer and receiverPointer point to an epQueue, a sender and
// a receiver of netstack's.
type (
	queuePointer    = unsafe.Pointer
	senderPointer   = unsafe.Pointer
	receiverPointer = unsafe.Pointer
)

func field(base unsafe.Pointer, offset uintptr) unsafe.Pointer {
	return unsafe.Add(base, offset)
}

// sliceHeader is the layout of the slice dispatcher.processors.
type sliceHeader struct {
	data unsafe.Pointer
	len  int
	cap  int
}

func sliceAt(base unsafe.Pointer, offset uintptr) *sliceHeader {
	return (*sliceHeader)(unsafe.Add(base, offset))
}

func endpointPointer(e *tcp.Endpoint) unsafe.Pointer { return unsafe.Pointer(e) }
