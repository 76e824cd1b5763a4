package afxdp

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// BlockThread implements driver.ThreadWaiter. If the descriptor it needs can't be
// had, Wait goes on parking.
func (q *queue) BlockThread(on bool) {
	defer q.leave()
	if q.enter() != nil || on == (q.bell != nil) {
		return
	}
	if !on {
		q.alarm.Store(nil)
		q.bell.close()
		q.bell = nil
		return
	}
	if b, err := newBell(); err == nil {
		q.bell = b
		q.alarm.Store(b)
	}
}

// blockThread waits in poll, on the socket and the bell. No wake-up is lost: Wake
// sets woken before it rings, and the bell stays rung until it is heard here.
func (q *queue) blockThread(d time.Duration) error {
	if q.woken.Load() {
		return nil
	}
	if q.woken.Load() {
		return nil // maybe by a Wake that came before the bell, and did not ring it
	}
	q.stats.Waits++
	q.publish()
	q.fds = [2]unix.PollFd{
		{Fd: int32(q.sock.fd), Events: unix.POLLIN},
		{Fd: int32(q.bell.fd), Events: unix.POLLIN},
	}
	q.timeout = unix.NsecToTimespec(int64(d))
	if _, err := unix.Ppoll(q.fds[:], &q.timeout, nil); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	if q.fds[1].Revents != 0 {
		q.bell.hear()
	}
	return nil
}

// bell is an eventfd.
type bell struct {
	mu sync.Mutex // held for a write, which never blocks, and for close
	fd int        // -1 once closed
}

func newBell() (*bell, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return &bell{fd: fd}, nil
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		// The only failure is a counter at its limit, which wakes too.
		one := [8]byte{1, 1, 1, 1, 1, 1, 1, 1} // any number but zero, in any byte order
		_, _ = unix.Write(b.fd, one[:])
	}
}

func (b *bell) hear() {
	var count [8]byte
	_, _ = unix.Read(b.fd, count[:])
}

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}
