package xskqueue

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MmapOffsets asks the kernel where in their mappings it puts a socket's rings. The socket
// need not be bound.
func MmapOffsets(fd int) (unix.XDPMmapOffsets, error) {
	return getsockopt[unix.XDPMmapOffsets](fd, unix.XDP_MMAP_OFFSETS)
}

// IsZeroCopy asks the kernel which mode a bound socket got.
func IsZeroCopy(fd int) (bool, error) {
	flags, err := getsockopt[uint32](fd, unix.XDP_OPTIONS) // struct xdp_options
	return flags&unix.XDP_OPTIONS_ZEROCOPY != 0, err
}

func statistics(fd int) (unix.XDPStatistics, error) {
	return getsockopt[unix.XDPStatistics](fd, unix.XDP_STATISTICS)
}

// getsockopt reads an option of AF_XDP's. Kernels before 5.4 know less of some.
func getsockopt[T any](fd, opt int) (val T, err error) {
	size := uint32(unsafe.Sizeof(val))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(opt),
		uintptr(unsafe.Pointer(&val)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return val, fmt.Errorf("read socket option %d: %w", opt, errno)
	}
	if opt == unix.XDP_MMAP_OFFSETS && size != uint32(unsafe.Sizeof(val)) {
		return val, fmt.Errorf("kernel's ring offsets are %d bytes, not %d: it is older than 5.4", size, unsafe.Sizeof(val))
	}
	return val, nil
}

// OffsetIn returns where b starts in umem, or -1 when it does not lie in it.
func OffsetIn(umem, b []byte) int {
	if cap(b) == 0 {
		return -1
	}
	d := uintptr(unsafe.Pointer(unsafe.SliceData(b))) - uintptr(unsafe.Pointer(unsafe.SliceData(umem)))
	if d >= uintptr(len(umem)) {
		return -1
	}
	return int(d)
}
