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

// aLongTimeAgo is a deadline that has passed.
var aLongTimeAgo = time.Unix(1, 0)

// Wait implements driver.Queue. Unless BlockThread was asked for, the goroutine
// parks in the runtime's network poller, as one that reads a socket of package
// net does: no thread is blocked, and other goroutines run on its processor
// meanwhile.
//
// No wake-up is lost. A frame: the poller is edge-triggered and latches, and ready
// looks at the ring after it has been armed. A Wake: it sets woken and then moves
// the deadline into the past; Wait moves the deadline into the future and then
// looks at woken. Whichever comes last is seen.
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
		q.woken.Swap(false) // not Store: what the waker wrote before is seen after
		return nil
	}
	if d < 0 || d > checkGone {
		d = checkGone // Wait may return early
	}
	var err error
	if q.bell != nil {
		err = q.blockThread(d)
	} else {
		err = q.park(d)
	}
	woken := q.woken.Swap(false)
	switch {
	case q.closing.Load():
		return net.ErrClosed
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return q.waitError(err)
	case !woken && !q.received():
		return q.goneError()
	}
	return nil
}

// park waits in the runtime's poller.
func (q *queue) park(d time.Duration) error {
	if err := q.sock.file.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	if q.woken.Load() {
		return nil
	}
	q.stats.Waits++
	q.publish()
	q.polled = false
	return q.sock.conn.Read(q.ready)
}

// isReady is called by the poller when it has been armed, and again when it woke.
func (q *queue) isReady(uintptr) bool {
	if q.polled || q.received() {
		return true
	}
	q.polled = true
	return false
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
func (q *queue) Wake() {
	if q.woken.Swap(true) {
		return // the first Wake since the last Wait does it
	}
	q.interrupt()
}

// interrupt ends a present or the next wait of either kind. It does nothing to a
// closed queue, where nobody waits.
func (q *queue) interrupt() {
	_ = q.sock.file.SetReadDeadline(aLongTimeAgo)
	if b := q.alarm.Load(); b != nil {
		b.ring()
	}
}

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
	q.woken.Store(true)
	q.interrupt()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pub.Lock()
	defer q.pub.Unlock()
	q.pub.Stats = q.stats
	q.pub.kernel = q.readKernelCounts()
	q.pub.closed = true
	if q.bell != nil {
		q.bell.close()
	}
	if err := q.sock.close(); err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}
