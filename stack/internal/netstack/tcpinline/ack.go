package tcpinline

import (
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/seqnum"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	gsync "gvisor.dev/gvisor/pkg/sync"
)

// maxSegmentsPerWake is transport/tcp's.
const maxSegmentsPerWake = 100

// handleConnected is transport/tcp's function of that name, with its call of
// Endpoint.handleSegmentsLocked, but for one thing: the acknowledgement of what was
// received is left to SendACKs. Netstack sends it at once, before the application
// had a chance to answer, and an answer acknowledges as well. It reports whether
// no segment is left for certain.
func (d *Drainer) handleConnected(e *tcp.Endpoint) (done bool) {
	if !e.TryLock() {
		return false
	}
	mu := (*gsync.CrossGoroutineMutex)(field(endpointPointer(e), d.off.mu))
	if !connected(e.EndpointState()) {
		mu.Unlock()
		return false
	}
	all, err := d.handleSegments(e)
	switch {
	case err != nil:
		resetConnectionLocked(e, err)
		fallthrough
	case e.EndpointState() == tcp.StateClose:
		queue := *(**waiter.Queue)(field(endpointPointer(e), d.off.waiterQueue))
		mu.Unlock()
		drainClosingSegmentQueue(e)
		queue.Notify(waiter.EventHUp | waiter.EventErr | waiter.ReadableEvents | waiter.WritableEvents)
		return false
	case e.EndpointState() == tcp.StateTimeWait:
		startTimeWait(e)
	}
	mu.Unlock()
	return all
}

// handleSegments is Endpoint.handleSegmentsLocked. It also reports whether it has
// seen the queue empty. The endpoint is locked.
func (d *Drainer) handleSegments(e *tcp.Endpoint) (all bool, _ tcpip.Error) {
	una, _, _ := d.sequence(e)
	before := *una
	segments := field(endpointPointer(e), d.off.segmentQueue)
	for range maxSegmentsPerWake {
		if st := e.EndpointState(); st == tcp.StateTimeWait || st == tcp.StateError || closed(st) {
			return false, nil
		}
		s := segmentQueueDequeue(segments)
		if all = s == nil; all {
			break
		}
		more, err := handleSegmentLocked(e, s)
		segmentDecRef(s)
		if err != nil {
			return false, err
		}
		if !more {
			return false, nil
		}
	}
	una, next, acked := d.sequence(e)
	if before.LessThan(*una) {
		(*(**stack.Route)(field(endpointPointer(e), d.off.route))).ConfirmReachable()
	}
	if *next != *acked {
		d.owing = append(d.owing, e)
	}
	resetKeepaliveTimer(e, true)
	return all, nil
}

// SendACKs acknowledges what connections have received since, if nothing sent
// since has done so. Drain's caller calls it in the same turn, once applications
// had their chance to answer, and before it transmits.
func (d *Drainer) SendACKs() {
	left := d.owing[:0]
	for _, e := range d.owing {
		if !e.TryLock() {
			// A user is at work in it and may send; if not, it is for the next turn.
			left = append(left, e)
			continue
		}
		if connected(e.EndpointState()) {
			if _, next, acked := d.sequence(e); *next != *acked {
				sendAck(*(*senderPointer)(field(endpointPointer(e), d.off.snd)))
			}
		}
		(*gsync.CrossGoroutineMutex)(field(endpointPointer(e), d.off.mu)).Unlock()
	}
	clear(d.owing[len(left):])
	d.owing = left
	d.leftToUser = d.leftToUser || len(left) > 0
}

// sequence returns where e keeps SND.UNA, RCV.NXT, and the last acknowledgement it
// sent. The endpoint is locked and has been connected.
func (d *Drainer) sequence(e *tcp.Endpoint) (una, next, acked *seqnum.Value) {
	snd := *(*senderPointer)(field(endpointPointer(e), d.off.snd))
	rcv := *(*receiverPointer)(field(endpointPointer(e), d.off.rcv))
	return (*seqnum.Value)(field(snd, d.off.sndUna)), (*seqnum.Value)(field(rcv, d.off.rcvNxt)),
		(*seqnum.Value)(field(snd, d.off.maxSentAck))
}

// connected is EndpointState.connected.
func connected(s tcp.EndpointState) bool {
	switch s {
	case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateTimeWait, tcp.StateCloseWait, tcp.StateLastAck, tcp.StateClosing:
		return true
	}
	return false
}

// closed is EndpointState.closed.
func closed(s tcp.EndpointState) bool { return s == tcp.StateClose || s == tcp.StateError }
