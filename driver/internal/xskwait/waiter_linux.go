package xskwait

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// Waiter sleeps in one of two ways. By default the goroutine parks in the
// runtime's network poller, as one that reads a socket of package net does: no
// thread is blocked, and other goroutines run on its processor meanwhile. After
// BlockThread(true) it blocks its thread in poll.
//
// No wake-up is lost. A frame: the poller is edge-triggered and latches, and the
// RX ring is looked at after it has been armed; poll looks by itself. A Wake: it
// sets woken, and then moves the deadline into the past and rings the bell; Wait
// moves the deadline into the future and then looks at woken. Whichever comes last
// is seen. The bell stays rung until it is heard.
type Waiter struct {
	file     *os.File
	fd       int
	conn     syscall.RawConn
	received func() bool

	woken atomic.Bool
	alarm atomic.Pointer[bell] // bell, for those who wake

	// The owner's.
	bell    *bell // Wait blocks its thread on it; nil: it parks
	ready   func(uintptr) bool
	polled  bool // of ready: the poller has been asked once
	fds     [2]unix.PollFd
	timeout unix.Timespec
}

// New returns a waiter on the AF_XDP socket of a file, which must be nonblocking,
// and which stays the caller's to close. received reports whether the RX ring
// holds a frame; it is called by Wait, on the owner's goroutine.
func New(file *os.File, received func() bool) (*Waiter, error) {
	w := &Waiter{file: file, received: received}
	w.ready = w.isReady
	var err error
	if w.conn, err = file.SyscallConn(); err != nil {
		return nil, fmt.Errorf("reach the descriptor to wait on: %w", err)
	}
	if err := w.conn.Control(func(fd uintptr) { w.fd = int(fd) }); err != nil {
		return nil, fmt.Errorf("reach the descriptor to wait on: %w", err)
	}
	return w, nil
}

// Wait sleeps until a frame has been received, Wake was called since the last
// Wait, the file is closed, or d >= 0 has passed, and reports whether it was Wake.
// It may return early. It does not look at the RX ring first. It is the owner's.
func (w *Waiter) Wait(d time.Duration) (woken bool, err error) {
	if w.bell != nil {
		err = w.block(d)
	} else {
		err = w.park(d)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = nil
	}
	return w.woken.Swap(false), err
}

// Woken reports whether the next Wait will return at once.
func (w *Waiter) Woken() bool { return w.woken.Load() }

// Heard forgets a Wake, for a Wait of the driver's that has no need to sleep. It is
// the owner's.
func (w *Waiter) Heard() { w.woken.Swap(false) }

// park waits in the runtime's poller.
func (w *Waiter) park(d time.Duration) error {
	if err := w.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if w.woken.Load() {
		return nil
	}
	w.polled = false
	return w.conn.Read(w.ready)
}

// isReady is called by the poller when it has been armed, and again when it woke.
func (w *Waiter) isReady(uintptr) bool {
	if w.polled || w.received() {
		return true
	}
	w.polled = true
	return false
}

// block waits in poll, on the socket and the bell.
func (w *Waiter) block(d time.Duration) error {
	if w.woken.Load() {
		return nil
	}
	w.fds = [2]unix.PollFd{
		{Fd: int32(w.fd), Events: unix.POLLIN},
		{Fd: int32(w.bell.fd), Events: unix.POLLIN},
	}
	w.timeout = unix.NsecToTimespec(int64(d))
	if _, err := unix.Ppoll(w.fds[:], &w.timeout, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	if w.fds[1].Revents != 0 {
		w.bell.hear()
	}
	return nil
}

// Wake makes a present or the next Wait return. It never blocks, and may be called
// from any goroutine, also after the file was closed.
func (w *Waiter) Wake() {
	if w.woken.Swap(true) {
		return // the first Wake since the last Wait does it
	}
	w.Interrupt()
}

// Interrupt is Wake for one who can't rely on an earlier Wake, because the owner
// may have taken that for its own: Close.
func (w *Waiter) Interrupt() {
	w.woken.Store(true)
	_ = w.file.SetReadDeadline(aLongTimeAgo) // fails when closed, and then nobody waits
	if b := w.alarm.Load(); b != nil {
		b.ring()
	}
}

// BlockThread chooses how Wait sleeps. If the descriptor that blocking needs can't
// be had, Wait goes on parking. It is the owner's.
func (w *Waiter) BlockThread(on bool) {
	if on == (w.bell != nil) {
		return
	}
	if !on {
		w.Close()
		return
	}
	if b, err := newBell(); err == nil {
		w.bell = b
		w.alarm.Store(b)
	}
}

// Close gives back what the waiter has opened. It is for one who knows that the
// owner is out of Wait.
func (w *Waiter) Close() {
	if w.bell == nil {
		return
	}
	w.alarm.Store(nil)
	w.bell.close()
	w.bell = nil
}
