package socketapi

import (
	"errors"
	"fmt"
)

// Handler serves TCP connections on their shard's own goroutine, its loop. Its
// methods are called there, one at a time: what one of them does to its own or
// another connection of the shard never calls a second one within the first.
//
// One Handler serves all shards, and they call it at once. State of its own
// therefore belongs in the connection's Value, or in a slice with an element for
// each shard, or needs a lock.
//
// A method must not block: nothing else of the shard runs meanwhile. Work that
// takes long is given to EventConn.Go. A method that panics takes the program
// with it.
type Handler interface {
	// OnOpen is the first call for c, before anything is read. It may write, and
	// close.
	OnOpen(c *EventConn)

	// OnData offers what has arrived and returns how many bytes of it are done
	// with. The rest is kept and comes again, in front of what arrives later:
	// not before, so OnData takes all the requests that are there. It comes
	// also after OnWritable, a timer, returned work and a posted function.
	// Between a Write that was cut short and OnWritable nothing is offered.
	//
	// data is valid during the call only, and is c's to change.
	OnData(c *EventConn, data []byte) (consumed int)

	// OnWritable is called when there is room again after a Write was cut short.
	OnWritable(c *EventConn)

	// OnClose is the last call for c, and comes once for each OnOpen. err is nil
	// after an orderly end by either side. Otherwise it says what happened:
	// syscall.ECONNRESET by the peer, ECONNABORTED by Abort, ETIMEDOUT,
	// net.ErrClosed because the stack closes, ErrTooMuchUnread. When a stack
	// fails, OnClose is called as its loop ends.
	OnClose(c *EventConn, err error)
}

// NopHandler has the methods of a Handler, which do nothing; OnData consumes what
// it is given. To be embedded.
type NopHandler struct{}

func (NopHandler) OnOpen(*EventConn)                    {}
func (NopHandler) OnData(_ *EventConn, data []byte) int { return len(data) }
func (NopHandler) OnWritable(*EventConn)                {}
func (NopHandler) OnClose(_ *EventConn, err error)      {}

var _ Handler = NopHandler{}

// ErrBackPressure is returned by a Write that was cut short, because the peer takes
// less than it is sent. OnWritable is called when there is room again.
var ErrBackPressure = errors.New("output buffer is full")

// ErrTooMuchUnread ends a connection whose handler leaves a full input buffer
// untouched.
var ErrTooMuchUnread = errors.New("handler consumes nothing of a full input buffer")

// errConsumed is what a handler's wrong count ends its connection with.
func errConsumed(h Handler, n, of int) error {
	return fmt.Errorf("handler %T consumed %d of %d bytes", h, n, of)
}
