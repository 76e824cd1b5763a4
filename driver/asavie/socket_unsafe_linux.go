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

// mmapOffsets reads where in their mappings the kernel puts the rings'
// descriptors. It works on a socket that is not bound.
func mmapOffsets(fd int) (off unix.XDPMmapOffsets, err error) {
	err = getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&off), unsafe.Sizeof(off))
	return off, err
}

// offsetIn returns where in umem the bytes of data lie, or false when they lie
// elsewhere. data must not be empty.
func offsetIn(umem, data []byte) (int, bool) {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(umem)))
	at := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	if at < base || at >= base+uintptr(len(umem)) {
		return 0, false
	}
	return int(at - base), true
}

// kernelStats reads XDP_STATISTICS. The library's own Stats also reads the
// rings, which only the owner of the queue may.
func kernelStats(fd int) (st unix.XDPStatistics, err error) {
	err = getsockopt(fd, unix.XDP_STATISTICS, unsafe.Pointer(&st), unsafe.Sizeof(st))
	return st, err
}

// zeroCopy says whether the kernel bound the socket in zero-copy mode.
func zeroCopy(fd int) (bool, error) {
	var opts uint32 // struct xdp_options
	err := getsockopt(fd, unix.XDP_OPTIONS, unsafe.Pointer(&opts), unsafe.Sizeof(opts))
	return opts&unix.XDP_OPTIONS_ZEROCOPY != 0, err
}

func getsockopt(fd, opt int, value unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(opt),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return fmt.Errorf("read socket option %d: %w", opt, errno)
	}
	return nil
}
