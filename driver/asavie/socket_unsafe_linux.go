//go:build linux && amd64

package asavie

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// unmap removes the mapping of a ring, which the library made by syscall.Mmap of
// length bytes. Its memory is the kernel's, and with the library's socket closed
// nothing points into it but package syscall's table of mappings: so it is
// syscall.Munmap that gets the slice, put together again, and clears its entry.
// It refuses a slice that is not what syscall.Mmap returned. Then the mapping is
// removed behind its back: the entry that stays is a few bytes.
func (m mapping) unmap(length int) error {
	at := m.start
	b := unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), length)
	err := syscall.Munmap(b)
	if err == syscall.EINVAL {
		if _, _, errno := unix.Syscall(unix.SYS_MUNMAP, m.start, m.end-m.start, 0); errno != 0 {
			err = errno
		} else {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("unmap ring: %w", err)
	}
	return nil
}
