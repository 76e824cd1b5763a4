package afxdp

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is one of a socket's four rings, mapped. The producer writes entries and
// then publishes them by storing the producer index, the consumer takes them and
// then gives them back by storing the consumer index. Each stores its own index
// only, with sync/atomic, which orders the entries before it, and loads the
// other's likewise. Indices run free; the mask picks the entry.
//
// prod and cons are this side's copies: of its own index, which is the truth, and
// of the other's, which is as old as the last look and so on the safe side.
type ring[T any] struct {
	producer *atomic.Uint32 // fill, TX: written here; RX, completion: by the kernel
	consumer *atomic.Uint32 // the other way round
	flags    *atomic.Uint32 // XDP_RING_NEED_WAKEUP, written by the kernel
	entries  []T
	mask     uint32
	prod     uint32
	cons     uint32
	mem      []byte
}

// mapRing maps a ring of size entries at the page offset pgoff of a socket.
func mapRing[T any](fd int, pgoff int64, off unix.XDPRingOffset, size int) (*ring[T], error) {
	var entry T
	length := int(off.Desc) + size*int(unsafe.Sizeof(entry))
	mem, err := unix.Mmap(fd, pgoff, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map ring: %w", err)
	}
	r := &ring[T]{mem: mem, mask: uint32(size - 1)}
	base := unsafe.Pointer(unsafe.SliceData(mem))
	r.producer = (*atomic.Uint32)(unsafe.Add(base, off.Producer))
	r.consumer = (*atomic.Uint32)(unsafe.Add(base, off.Consumer))
	r.flags = (*atomic.Uint32)(unsafe.Add(base, off.Flags))
	r.entries = unsafe.Slice((*T)(unsafe.Add(base, off.Desc)), size)
	r.prod, r.cons = r.producer.Load(), r.consumer.Load()
	return r, nil
}

// unmap gives the mapping back: while a ring is mapped, the kernel keeps the
// socket, and its queue can't be bound again.
func (r *ring[T]) unmap() error {
	if r == nil || r.mem == nil {
		return nil
	}
	mem := r.mem
	r.mem, r.entries, r.producer, r.consumer, r.flags = nil, nil, nil, nil, nil
	return unix.Munmap(mem)
}

// alignedMemory returns size bytes of the heap that start on a page.
func alignedMemory(size int) []byte {
	page := unix.Getpagesize()
	b := make([]byte, size+page)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	return b[skip : skip+size : skip+size]
}

// umemReg is struct xdp_umem_reg of linux/if_xdp.h.
type umemReg struct {
	addr, len           uint64
	chunkSize, headroom uint32
	flags, _            uint32
}

func registerUMEM(fd int, mem []byte, chunkSize int) error {
	reg := umemReg{
		addr:      uint64(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))),
		len:       uint64(len(mem)),
		chunkSize: uint32(chunkSize),
	}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// kick is sendto(fd, NULL, 0, MSG_DONTWAIT), which makes the kernel look at the TX
// ring. It never sleeps, so the scheduler is not told.
func kick(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// kickRx is recvfrom(fd, NULL, 0, MSG_DONTWAIT), which makes the kernel look at the
// fill ring.
func kickRx(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}
