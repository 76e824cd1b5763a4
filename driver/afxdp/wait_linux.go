package afxdp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// retryKick is how soon Wait tries again to send what a busy device did not
// take: the poller does not tell when it would.
const retryKick = time.Millisecond

// checkGone is how often a sleeping Wait asks whether the interface is still
// there: the kernel leaves an error at the socket when it goes, but no event for
// a poller.
const checkGone = time.Second

// Wait implements driver.Queue. It may park the goroutine or block its thread: see
// BlockThread.
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
		q.reap()
		q.refill()
	}
	if q.gone != nil {
		return q.gone
	}
	if q.received() || d == 0 {
		q.waiter.Heard()
		return nil
	}
	if d < 0 || d > checkGone {
		d = checkGone // Wait may return early
	}
	if !q.waiter.Woken() {
		q.stats.Waits++
		q.publish()
	}
	woken, err := q.waiter.Wait(d)
	switch {
	case q.closing.Load():
		return net.ErrClosed
	case err != nil:
		return q.waitError(err)
	case !woken && !q.received():
		return q.goneError()
	}
	return nil
}

// BlockThread implements driver.Queue.
func (q *queue) BlockThread(on bool) {
	defer q.leave()
	if q.enter() == nil {
		q.waiter.BlockThread(on)
	}
}

// received reports whether the RX ring holds a frame.
func (q *queue) received() bool {
	rx := q.sock.rx
	return rx.prod != rx.cons || rx.producer.Load() != rx.cons
}

// goneError returns ErrDeviceGone when the interface has been removed: its socket
// is no longer bound, and says so to a kick.
func (q *queue) goneError() error {
	if soerr, err := unix.GetsockoptInt(q.sock.fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil || soerr == 0 {
		return q.closedError()
	}
	if err := q.kickError(kick(q.sock.fd)); errors.Is(err, driver.ErrDeviceGone) {
		return err
	}
	return q.closedError()
}

func (q *queue) closedError() error {
	if q.closing.Load() {
		return net.ErrClosed
	}
	return nil
}

func (q *queue) waitError(err error) error {
	if q.closing.Load() || errors.Is(err, os.ErrClosed) {
		return net.ErrClosed
	}
	return fmt.Errorf("wait for frames: %w", err)
}

// Wake implements driver.Queue.
func (q *queue) Wake() { q.waiter.Wake() }

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
		q.pub.kernel = q.readKernelCounts()
	}
	s := q.pub.Stats
	s.RxDropped += q.pub.kernel.rxDropped
	s.RxErrors += q.pub.kernel.rxErrors
	return s
}

// readKernelCounts returns the kernel's counters, or the last ones when they
// can't be read any more.
func (q *queue) readKernelCounts() kernelCounts {
	st, err := socketStatistics(q.sock.fd)
	if err != nil {
		return q.pub.kernel
	}
	return kernelCounts{rxDropped: st.Rx_dropped + st.Rx_ring_full, rxErrors: st.Rx_invalid_descs}
}

// Close implements driver.Queue.
func (q *queue) Close() error {
	q.closeIt.Do(func() { q.result = q.close() })
	return q.result
}

func (q *queue) close() error {
	q.closing.Store(true)
	q.waiter.Interrupt()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pub.Lock()
	defer q.pub.Unlock()
	q.pub.Stats = q.stats
	q.pub.kernel = q.readKernelCounts()
	q.pub.closed = true
	q.waiter.Close()
	if q.segments != nil {
		_ = q.segments.close() // nothing is left in it
	}
	if err := q.sock.close(); err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}
