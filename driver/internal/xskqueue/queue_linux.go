package xskqueue

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/xskwait"
)

// retrySend is how soon Wait tries again to send what a busy device did not take: the
// poller does not tell when it would.
const retrySend = time.Millisecond

// CheckGone is how often a sleeping Wait asks whether the interface is still there: the
// kernel leaves an error at the socket when it goes, but no event for a poller.
const CheckGone = time.Second

// Rings is a driver's own part of a queue. Queue calls it for the owner, between Enter and
// Leave.
type Rings interface {
	// Received reports whether the RX ring holds a frame.
	Received() bool
	// Send gives the kernel the frames to send, as far as it takes them, and sets Stuck.
	Send() error
	// Recycle takes back the frames that were sent, and posts free ones to receive into.
	Recycle()
	// Kick makes the kernel look at the TX ring.
	Kick() error
	// CloseRings gives the rings back, when the owner is out of the queue's methods.
	CloseRings() error
}

// Queue is a driver.Queue without its data path.
type Queue struct {
	rings  Rings
	fd     int
	waiter *xskwait.Waiter

	// mu is held by the owner while it is in a method, so that Close can tell
	// when it is out. Nobody else takes it.
	mu      sync.Mutex
	closing atomic.Bool
	closeIt sync.Once
	result  error // of Close

	// The owner's, between Enter and Leave.
	Counts driver.Stats // what Stats returns once it is published
	Gone   error        // ErrDeviceGone, once seen
	Stuck  bool         // the last Send left frames that a later one may move

	pub struct {
		sync.Mutex
		driver.Stats
		kernel kernelCounts // final, once closed
		closed bool
	}
}

// kernelCounts are what the kernel counts for a socket.
type kernelCounts struct{ rxDropped, rxErrors uint64 }

// Init completes a queue on the AF_XDP socket fd. file is that socket or a duplicate of it,
// nonblocking, to wait on; both stay the driver's to close.
func (q *Queue) Init(rings Rings, fd int, file *os.File) (err error) {
	q.rings, q.fd = rings, fd
	q.waiter, err = xskwait.New(file, rings.Received)
	return err
}

// Enter begins a method of the owner's; Leave must follow, whatever it returns.
func (q *Queue) Enter() error {
	q.mu.Lock()
	if q.closing.Load() {
		return net.ErrClosed
	}
	return nil
}

// Leave ends a method of the owner's.
func (q *Queue) Leave() { q.mu.Unlock() }

// Wait implements driver.Queue. It may park the goroutine or block its thread: see
// BlockThread.
func (q *Queue) Wait(d time.Duration) error {
	defer q.Leave()
	if err := q.Enter(); err != nil {
		return err
	}
	defer q.Publish()
	// Frames the last Flush could not move are tried again. A link that is down
	// is Flush's to report.
	if q.Stuck {
		if err := q.rings.Send(); err != nil && !errors.Is(err, driver.ErrLinkDown) {
			return err
		}
		if q.Stuck && (d < 0 || d > retrySend) {
			d = retrySend
		}
	} else {
		q.rings.Recycle()
	}
	if q.Gone != nil {
		return q.Gone
	}
	if q.rings.Received() || d == 0 {
		q.waiter.Heard()
		return nil
	}
	if d < 0 || d > CheckGone {
		d = CheckGone // Wait may return early
	}
	if !q.waiter.Woken() {
		q.Counts.Waits++
		q.Publish()
	}
	woken, err := q.waiter.Wait(d)
	switch {
	case q.closing.Load(), errors.Is(err, os.ErrClosed):
		return net.ErrClosed
	case err != nil:
		return fmt.Errorf("wait for frames: %w", err)
	case !woken && !q.rings.Received():
		return q.checkGone()
	}
	return nil
}

// checkGone returns ErrDeviceGone when the interface has been removed. The kernel leaves
// an error at the socket when it is; a kick tells for certain.
func (q *Queue) checkGone() error {
	if errno, err := unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && errno != 0 {
		if err := q.rings.Kick(); errors.Is(err, driver.ErrDeviceGone) {
			q.Gone = err
		}
	}
	return q.Gone
}

// SendError says what a failed kick of the TX ring means (xsk_sendmsg in net/xdp/xsk.c).
// Nil is a device that is busy, to be kicked again later.
func SendError(errno unix.Errno) error {
	switch errno {
	case 0, unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.EINTR, unix.ENOMEM:
		return nil
	case unix.ENETDOWN: // bound, interface not up
		return fmt.Errorf("send: %w", driver.ErrLinkDown)
	case unix.ENXIO, unix.ENODEV: // no longer bound: the interface was unregistered
		return fmt.Errorf("send: %w", driver.ErrDeviceGone)
	}
	return fmt.Errorf("send: %w", errno)
}

// BlockThread implements driver.Queue.
func (q *Queue) BlockThread(on bool) {
	defer q.Leave()
	if q.Enter() == nil {
		q.waiter.BlockThread(on)
	}
}

// Wake implements driver.Queue.
func (q *Queue) Wake() { q.waiter.Wake() }

// Publish makes the owner's counters readable by others.
func (q *Queue) Publish() {
	q.pub.Lock()
	q.pub.Stats = q.Counts
	q.pub.Unlock()
}

// Stats implements driver.Queue. The kernel's part is read as of now.
func (q *Queue) Stats() driver.Stats {
	q.pub.Lock()
	defer q.pub.Unlock()
	if !q.pub.closed {
		q.readKernelCounts()
	}
	s := q.pub.Stats
	s.RxDropped += q.pub.kernel.rxDropped
	s.RxErrors += q.pub.kernel.rxErrors
	return s
}

// readKernelCounts reads the kernel's counters; where they can't be read any more, the last
// ones stay. A frame for which the fill ring had no room is in Rx_dropped already.
func (q *Queue) readKernelCounts() {
	if st, err := statistics(q.fd); err == nil {
		q.pub.kernel = kernelCounts{rxDropped: st.Rx_dropped + st.Rx_ring_full, rxErrors: st.Rx_invalid_descs}
	}
}

// Close implements driver.Queue.
func (q *Queue) Close() error {
	q.closeIt.Do(func() { q.result = q.close() })
	return q.result
}

func (q *Queue) close() error {
	q.closing.Store(true)
	q.waiter.Interrupt()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pub.Lock()
	q.pub.Stats = q.Counts
	q.readKernelCounts()
	q.pub.closed = true
	q.pub.Unlock()
	q.waiter.Close()
	if err := q.rings.CloseRings(); err != nil {
		return fmt.Errorf("close queue: %w", err)
	}
	return nil
}
