package afxdp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// prepare points the message at its parts: virtio_net_hdr, headers, payloads.
func (s *segmenter) prepare() {
	s.iov[0].Base = &s.vnet[0]
	s.iov[0].SetLen(vnetLen)
	s.iov[1].Base = &s.head[0]
	s.msg.Iov = &s.iov[0]
}

// setPayload makes b, which is not empty, the payload of segment i. b is in the
// UMEM, which stays where it is.
func (s *segmenter) setPayload(i int, b []byte) {
	v := &s.iov[2+i]
	v.Base = unsafe.SliceData(b)
	v.SetLen(len(b))
}

// sendmsg sends the message, of n payloads. It never sleeps, so the scheduler is not
// told.
func (s *segmenter) sendmsg(head, n int) unix.Errno {
	s.iov[1].SetLen(head)
	s.msg.SetIovlen(2 + n)
	_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.msg)), unix.MSG_DONTWAIT)
	return errno
}
