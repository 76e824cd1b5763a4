package drivertest

import (
	"fmt"
	"runtime"
	"strings"
)

// Kind is a breach of the driver contract.
type Kind uint8

const (
	// DoubleRelease: a frame was released that had been given back already.
	DoubleRelease Kind = iota + 1
	// UseAfterGive: a frame was transmitted that had been given back already.
	UseAfterGive
	// ForeignFrame: a frame was given to a queue that never lent it.
	ForeignFrame
	// OutsideFrame: Data is not within the memory that was lent.
	OutsideFrame
	// ConcurrentUse: two goroutines were in methods of the owner at once.
	ConcurrentUse

	// LentTwice: the device lent a frame whose holder had not given it back.
	LentTwice
	// SharedMemory: the device lent two frames that overlap.
	SharedMemory
	// BadLoan: the device lent a frame without memory or too small a one, or
	// returned a count that is not between zero and what was asked for.
	BadLoan
)

var kindNames = [...]string{
	DoubleRelease: "frame released twice",
	UseAfterGive:  "frame transmitted after it was given back",
	ForeignFrame:  "frame is not this queue's",
	OutsideFrame:  "data lies outside the memory lent",
	ConcurrentUse: "owner's methods called by two goroutines at once",
	LentTwice:     "device lent a frame twice",
	SharedMemory:  "device lent two frames that overlap",
	BadLoan:       "device lent a bad frame",
}

// String returns the breach in words.
func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Violation is one breach of the contract that a guard saw.
type Violation struct {
	Kind   Kind
	Op     string // the method during which it was seen
	Handle uint64 // of the frame, if it is about one
	Detail string // "" or what more there is to say

	// Stack is that of the call.
	Stack []uintptr
	// First is the stack of the call that came first: the first give-back of the
	// frame, or its loan for LentTwice and OutsideFrame; empty when there was
	// none. FirstOp is its method.
	First   []uintptr
	FirstOp string
}

// Error describes v, with both stacks.
func (v *Violation) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %v", v.Op, v.Kind)
	switch v.Kind {
	case ConcurrentUse:
	default:
		fmt.Fprintf(&b, " (handle %#x)", v.Handle)
	}
	if v.Detail != "" {
		fmt.Fprintf(&b, ": %s", v.Detail)
	}
	writeStack(&b, v.Stack)
	if v.FirstOp != "" {
		fmt.Fprintf(&b, "first, %s:", v.FirstOp)
		writeStack(&b, v.First)
	}
	return b.String()
}

func writeStack(b *strings.Builder, pcs []uintptr) {
	b.WriteByte('\n')
	if len(pcs) == 0 {
		return
	}
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		fmt.Fprintf(b, "\t%s\n\t\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return
		}
	}
}
