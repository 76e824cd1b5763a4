package xskwait

import (
	"sync"

	"golang.org/x/sys/unix"
)

// bell is an eventfd.
type bell struct {
	mu sync.Mutex // held for a write, which never blocks, and for close
	fd int        // -1 once closed

	count [8]byte // for hear: a local would escape to the heap
}

// stroke is any number but zero, in any byte order.
var stroke = [8]byte{1, 1, 1, 1, 1, 1, 1, 1}

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
		_, _ = unix.Write(b.fd, stroke[:])
	}
}

func (b *bell) hear() { _, _ = unix.Read(b.fd, b.count[:]) }

func (b *bell) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fd >= 0 {
		_ = unix.Close(b.fd)
		b.fd = -1
	}
}
