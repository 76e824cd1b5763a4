package loop

import "shardnet/stack/flow"

// Shard is the loop, seen from below. It is called once a turn, or for a call of an
// application, never for each packet. Any goroutine may call it, with a part's own lock
// held.
type Shard interface {
	// Index is the shard's number.
	Index() int
	// Kick wakes the loop if it sleeps. The caller has left its work where the loop looks
	// before it sleeps.
	Kick()
	// Sleeping reports whether the loop sleeps or is about to.
	Sleeping() bool
	// NoteWoken says that an application goroutine was made runnable: the loop yields to
	// it before it transmits.
	NoteWoken()
	// Post has the loop run t in its next turn.
	Post(t flow.Task)
	// Register adds s to what Stack.Close closes. It returns false when the stack is
	// closing; the caller then closes s.
	Register(s Closer) bool
	// Unregister takes s out again.
	Unregister(s Closer)
}

// Closer is a socket that Stack.Close closes.
type Closer interface{ Close() error }

// Running names the task or handler that ran last, for the log of a stall. It belongs to
// the loop.
type Running struct{ Task any }
