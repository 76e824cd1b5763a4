package socketapi

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

var (
	errMissingAddress = errors.New("missing address")
	errNoStack        = errors.New("nil stack")
	errNoShards       = errors.New("stack has no such shard")
	errNoHandler      = errors.New("nil handler")
)

// overError names the reason in the bits of waiter.over. Closed wins, as in
// package net.
func overError(over uint32) error {
	if over&closed != 0 {
		return net.ErrClosed
	}
	return os.ErrDeadlineExceeded
}

// doneChan is closed when a stack begins to close. From then on every error of its
// sockets is a consequence of that, and is reported as net.ErrClosed.
type doneChan <-chan struct{}

func (d doneChan) isClosed() bool {
	select {
	case <-d:
		return true
	default:
		return false
	}
}

// cause is the error to report for what a call on a flow returned.
func (d doneChan) cause(call string, err error) error {
	if d.isClosed() && !errors.Is(err, os.ErrDeadlineExceeded) {
		return net.ErrClosed
	}
	return sysError(call, err)
}

// sysError wraps an error of a flow as package net would: a bare errno gets the
// name of the equivalent system call.
func sysError(call string, err error) error {
	if e, ok := err.(syscall.Errno); ok {
		return os.NewSyscallError(call, e)
	}
	if err != io.EOF && errors.Is(err, net.ErrClosed) {
		return net.ErrClosed
	}
	return err
}

// dialError maps the end of a dial's context as package net does: its texts are
// older than package context, and it keeps both.
func dialError(err error) error {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return timeoutError{}
	case errors.Is(err, context.Canceled):
		return canceledError{}
	}
	return err
}

type timeoutError struct{}

func (timeoutError) Error() string        { return "i/o timeout" }
func (timeoutError) Timeout() bool        { return true }
func (timeoutError) Temporary() bool      { return true }
func (timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

type canceledError struct{}

func (canceledError) Error() string        { return "operation was canceled" }
func (canceledError) Is(target error) bool { return target == context.Canceled }
