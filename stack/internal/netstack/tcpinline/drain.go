package tcpinline

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	gsync "gvisor.dev/gvisor/pkg/sync"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// Version is the version of gvisor.dev/gvisor whose layout and processor loop
// were read.
const Version = "v0.0.0-20260905035102-160fafc42237"

// maxPerDrain bounds the endpoints handled by one Drain.
const maxPerDrain = 1024

// ErrLayout is wrapped by New's error when netstack is not laid out as expected.
var ErrLayout = errors.New("netstack's TCP is laid out differently from version " + Version)

// Drainer processes one netstack's TCP on its caller's goroutine.
type Drainer struct {
	stack      *stack.Stack
	queue      queuePointer // *epQueue of the one processor left
	processors *sliceHeader // dispatcher.processors
	full       int          // its true length
	off        layout
	owing      []*tcp.Endpoint // received something and have not acknowledged it
	closed     atomic.Bool
	handled    uint64
	leftToUser bool
}

// New parks the TCP processors of s, which must have a TCP protocol and no
// traffic yet, and returns the Drainer that replaces them. When the layout is
// not the one expected it changes nothing and returns an error that wraps
// ErrLayout.
func New(s *stack.Stack) (*Drainer, error) {
	proto := s.TransportProtocolInstance(tcp.ProtocolNumber)
	if proto == nil {
		return nil, errors.New("stack has no TCP protocol")
	}
	l, err := checkLayout(reflect.TypeOf(proto))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	base := reflect.ValueOf(proto).UnsafePointer()
	procs := sliceAt(base, l.processors)
	if procs.len < 1 || procs.data == nil {
		return nil, fmt.Errorf("%w: it has no processors", ErrLayout)
	}
	s.Pause()
	d := &Drainer{
		stack:      s,
		queue:      field(procs.data, l.epQ),
		processors: procs,
		full:       procs.len,
		off:        l,
	}
	procs.len = 1
	return d, nil
}

// Drain processes every endpoint that has segments, as many as maxPerDrain, and
// returns how many it handled. It leaves acknowledgements to SendACKs. Only one
// goroutine may call the two.
//
// The order of cases is that of processor.start in transport/tcp/dispatcher.go.
func (d *Drainer) Drain() int {
	n := 0
	for ; n < maxPerDrain; n++ {
		e := epQueueDequeue(d.queue)
		if e == nil {
			break
		}
		segments := field(endpointPointer(e), d.off.segmentQueue)
		if segmentQueueEmpty(segments) {
			continue
		}
		switch e.EndpointState() {
		case tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
			handleConnecting(e)
		case tcp.StateEstablished, tcp.StateFinWait1, tcp.StateFinWait2, tcp.StateCloseWait, tcp.StateLastAck, tcp.StateClosing:
			if d.handleConnected(e) {
				continue
			}
		case tcp.StateTimeWait:
			handleTimeWait(e)
		case tcp.StateListen:
			handleListen(e)
		case tcp.StateError, tcp.StateClose:
			mu := (*gsync.CrossGoroutineMutex)(field(endpointPointer(e), d.off.mu))
			mu.Lock()
			if st := e.EndpointState(); st == tcp.StateError || st == tcp.StateClose {
				drainClosingSegmentQueue(e)
			}
			mu.Unlock()
		default: // netstack panics here; it never gave such an endpoint segments
			continue
		}
		if segmentQueueEmpty(segments) {
			continue
		}
		// A user that holds the endpoint queues it again in UnlockUser.
		if isOwnedByUser(e) {
			d.leftToUser = true
		} else {
			epQueueEnqueue(d.queue, e)
		}
	}
	d.handled += uint64(n)
	return n
}

// Pending reports whether an endpoint waits for Drain. It may be called from
// any goroutine.
func (d *Drainer) Pending() bool { return !epQueueEmpty(d.queue) }

// LeftToUser reports, once, whether Drain left segments to a user who held their
// endpoint, and who will queue it again without telling anybody. For Drain's
// caller: it is not to sleep for long.
func (d *Drainer) LeftToUser() bool {
	left := d.leftToUser
	d.leftToUser = false
	return left
}

// Handled is how many endpoints Drain has taken in all; for Drain's caller.
func (d *Drainer) Handled() uint64 { return d.handled }

// Close gives the work back to netstack's own processors. It must come before
// Stack.Close and Stack.Wait, which wait for them, and after the last Drain.
// Later calls do nothing.
func (d *Drainer) Close() {
	if d.closed.Swap(true) {
		return
	}
	d.processors.len = d.full
	d.stack.Resume()
}

// layout holds the offsets this package uses.
type layout struct {
	processors   uintptr // of dispatcher.processors in protocol
	epQ          uintptr // of epQ in processor
	segmentQueue uintptr // in Endpoint
	mu           uintptr // in Endpoint
	waiterQueue  uintptr // in Endpoint
	route        uintptr // in Endpoint
	snd          uintptr // in Endpoint
	rcv          uintptr // in Endpoint
	sndUna       uintptr // SND.UNA, in sender
	maxSentAck   uintptr // the last acknowledgement sent, in sender
	rcvNxt       uintptr // RCV.NXT, in receiver
}

// checkLayout finds the offsets below proto, the type *tcp.protocol, and fails
// unless every name and type on the way is the one expected.
func checkLayout(proto reflect.Type) (l layout, err error) {
	if proto.Kind() != reflect.Pointer || proto.Elem().Name() != "protocol" {
		return l, fmt.Errorf("the TCP protocol is a %v, not a *tcp.protocol", proto)
	}
	need := func(t reflect.Type, name, typ string) reflect.StructField {
		f, ok := t.FieldByName(name)
		if err != nil {
			return f
		}
		if !ok {
			err = fmt.Errorf("%v has no field %s", t, name)
		} else if f.Type.String() != typ {
			err = fmt.Errorf("%v.%s is a %v, not a %s", t, name, f.Type, typ)
		}
		return f
	}
	dispatcher := need(proto.Elem(), "dispatcher", "tcp.dispatcher")
	if err != nil {
		return l, err
	}
	processors := need(dispatcher.Type, "processors", "[]tcp.processor")
	if err != nil {
		return l, err
	}
	epQ := need(processors.Type.Elem(), "epQ", "tcp.epQueue")
	if err != nil {
		return l, err
	}
	need(epQ.Type, "list", "tcp.endpointList")
	endpoint := reflect.TypeFor[tcp.Endpoint]()
	segmentQueue := need(endpoint, "segmentQueue", "tcp.segmentQueue")
	mu := need(endpoint, "mu", "sync.CrossGoroutineMutex")
	need(endpoint, "pendingProcessing", "bool")
	waiterQueue := need(endpoint, "waiterQueue", "*waiter.Queue")
	route := need(endpoint, "route", "*stack.Route")
	snd := need(endpoint, "snd", "*tcp.sender")
	rcv := need(endpoint, "rcv", "*tcp.receiver")
	if err != nil {
		return l, err
	}
	inSnd := need(snd.Type.Elem(), "TCPSenderState", "tcp.TCPSenderState")
	inRcv := need(rcv.Type.Elem(), "TCPReceiverState", "tcp.TCPReceiverState")
	if err != nil {
		return l, err
	}
	sndUna := need(inSnd.Type, "SndUna", "seqnum.Value")
	maxSentAck := need(inSnd.Type, "MaxSentAck", "seqnum.Value")
	rcvNxt := need(inRcv.Type, "RcvNxt", "seqnum.Value")
	return layout{
		processors:   dispatcher.Offset + processors.Offset,
		epQ:          epQ.Offset,
		segmentQueue: segmentQueue.Offset,
		mu:           mu.Offset,
		waiterQueue:  waiterQueue.Offset,
		route:        route.Offset,
		snd:          snd.Offset,
		rcv:          rcv.Offset,
		sndUna:       inSnd.Offset + sndUna.Offset,
		maxSentAck:   inSnd.Offset + maxSentAck.Offset,
		rcvNxt:       inRcv.Offset + rcvNxt.Offset,
	}, err
}
