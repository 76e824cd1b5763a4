//go:build linux && amd64

package asavie

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// checkLink is how often a sleeping Wait looks whether its interface still
// exists: xsk_poll reports no error, so the kernel's notice ends no poll.
const checkLink = time.Second

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
	if q.received() || d == 0 {
		q.waiter.Heard()
		return nil
	}
	if d < 0 || d > checkLink {
		d = checkLink // Wait may return early
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
		return fmt.Errorf("wait for frames: %w", err)
	case !woken && !q.received():
		return q.checkGone()
	}
	return nil
}

// received reports whether the RX ring holds a frame.
func (q *queue) received() bool { return q.sock.xsk.NumReceived() > 0 }

// BlockThread implements driver.Queue.
func (q *queue) BlockThread(on bool) {
	defer q.leave()
	if q.enter() == nil {
		q.waiter.BlockThread(on)
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
	q.waiter.Interrupt()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pub.Lock()
	q.pub.Stats = q.stats
	q.pub.kernel = readKernelCounts(q.sock.fd, q.pub.kernel)
	q.pub.closed = true
	q.pub.Unlock()
	q.waiter.Close()
	if err := q.sock.close(q.stats.Lent > 0); err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}
