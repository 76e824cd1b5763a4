//go:build linux && amd64

package asavie

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// checkLink is how often a sleeping Wait looks whether its interface still
// exists: xsk_poll reports no error, so the kernel's notice ends no poll.
const checkLink = 500 * time.Millisecond

// retryKick is how soon Wait tries again to send what a busy device did not
// take: poll does not tell when it would.
const retryKick = time.Millisecond

// Wait implements driver.Queue.
func (q *queue) Wait(d time.Duration) error {
	defer q.leave()
	if err := q.enter(); err != nil {
		return err
	}
	defer q.publish()
	// Frames the last Flush could not move are tried again. A link that is down
	// is Flush's to report.
	if q.stuck {
		if err := q.flush(); err != nil && !errors.Is(err, driver.ErrLinkDown) {
			return err
		}
		if q.stuck && (d < 0 || d > retryKick) {
			d = retryKick
		}
	} else {
		q.restock()
	}
	if q.gone != nil {
		return q.gone
	}
	if q.sock.xsk.NumReceived() > 0 {
		return nil
	}
	q.stats.Waits++
	q.publish()
	for {
		slice := checkLink
		if d >= 0 && d < slice {
			slice = d
		}
		ready, err := q.waker.wait(q.sock.fd, slice)
		if q.closing.Load() {
			return net.ErrClosed
		}
		if err != nil {
			return fmt.Errorf("wait for frames: %w", err)
		}
		if ready {
			return nil
		}
		if err := q.checkGone(); err != nil {
			return err
		}
		if d >= 0 {
			if d -= slice; d == 0 {
				return nil
			}
		}
	}
}

// checkGone returns ErrDeviceGone when the interface has been removed. The kernel
// leaves an error at the socket when it is; a kick tells for certain.
func (q *queue) checkGone() error {
	errno, err := unix.GetsockoptInt(q.sock.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return fmt.Errorf("read socket error: %w", err)
	}
	if errno != 0 {
		if _, err := q.kick(nil); errors.Is(err, driver.ErrDeviceGone) {
			q.gone = err
		}
	}
	return q.gone
}

// Wake implements driver.Queue.
func (q *queue) Wake() { q.waker.wake() }

// publish makes the owner's counters readable by others.
func (q *queue) publish() {
	q.pub.Lock()
	q.pub.Stats = q.stats
	q.pub.Unlock()
}

// Stats implements driver.Queue. The kernel's part is read as of now.
func (q *queue) Stats() driver.Stats {
	q.pub.Lock()
	defer q.pub.Unlock()
	if !q.pub.closed {
		q.pub.kernel = readKernelCounts(q.sock.fd, q.pub.kernel)
	}
	s := q.pub.Stats
	s.RxDropped += q.pub.kernel.rxDropped
	s.RxErrors += q.pub.kernel.rxErrors
	return s
}

// readKernelCounts returns the kernel's counters, or the last ones when they
// can't be read any more.
func readKernelCounts(fd int, last kernelCounts) kernelCounts {
	st, err := kernelStats(fd)
	if err != nil {
		return last
	}
	return kernelCounts{
		// A frame for which the fill ring had no room to be put in is in
		// Rx_dropped already.
		rxDropped: st.Rx_dropped + st.Rx_ring_full,
		rxErrors:  st.Rx_invalid_descs,
	}
}

// Close implements driver.Queue. When frames are lent, the memory of all the
// queue's frames stays with the process until it ends: the library's memory is
// not the garbage collector's to free.
func (q *queue) Close() error {
	q.closeIt.Do(func() { q.result = q.close() })
	return q.result
}

func (q *queue) close() error {
	q.closing.Store(true)
	q.waker.wake()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pub.Lock()
	q.pub.Stats = q.stats
	q.pub.kernel = readKernelCounts(q.sock.fd, q.pub.kernel)
	q.pub.closed = true
	q.pub.Unlock()
	err := errors.Join(q.sock.close(q.stats.Lent > 0), q.waker.close())
	if err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}

// waker ends the owner's poll from other goroutines.
type waker struct {
	state atomic.Uint32

	mu sync.Mutex // of fd: held for a write, which never blocks, and for close
	fd int        // eventfd, -1 once closed

	// Arguments of system calls, here because they would escape to the heap.
	one     [8]byte // 1, as eventfd wants it
	count   [8]byte
	fds     [2]unix.PollFd
	timeout unix.Timespec
}

// States of a waker.
const (
	awake    = iota
	sleeping // the owner is in poll, or about to be
	woken    // wake was called since the last wait
)

func newWaker() (*waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make eventfd: %w", err)
	}
	return &waker{fd: fd, one: [8]byte{1}}, nil // little-endian: see the build constraint
}

// wake makes a present or the next wait return. The system call is made only
// for a sleeper.
func (w *waker) wake() {
	if w.state.Swap(woken) != sleeping {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd >= 0 {
		// The only failure is a counter at its limit, which wakes too.
		_, _ = unix.Write(w.fd, w.one[:])
	}
}

// wait blocks until fd is readable, wake, or d >= 0, and reports whether it was
// for another reason than d.
func (w *waker) wait(fd int, d time.Duration) (ready bool, err error) {
	// The swaps also order what the waker wrote before its wake before what the
	// owner reads after its wait.
	if !w.state.CompareAndSwap(awake, sleeping) {
		w.state.Swap(awake)
		return true, nil
	}
	w.fds = [2]unix.PollFd{
		{Fd: int32(fd), Events: unix.POLLIN},
		{Fd: int32(w.fd), Events: unix.POLLIN},
	}
	w.timeout = unix.NsecToTimespec(int64(d))
	n, err := unix.Ppoll(w.fds[:], &w.timeout, nil)
	woke := w.state.Swap(awake) == woken
	if err == unix.EINTR {
		return true, nil // an early return, which Wait may make
	}
	if err != nil {
		return false, err
	}
	if w.fds[1].Revents != 0 {
		// A wake whose write comes later than this costs one early return.
		_, _ = unix.Read(w.fd, w.count[:])
	}
	return n > 0 || woke, nil
}

func (w *waker) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fd < 0 {
		return nil
	}
	err := unix.Close(w.fd)
	w.fd = -1
	return err
}
