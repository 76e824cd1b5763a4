//go:build linux && amd64

package asavie

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/asavie/xdp"
	"golang.org/x/sys/unix"

	"shardnet/driver/internal/xskqueue"
)

// kickBatch is how many frames one sendto moves in copy mode (TX_BATCH_SIZE in
// net/xdp/xsk.c). The library makes one sendto for each Transmit, so this is
// also the most it gets at once.
const kickBatch = 32

// socket is the library's Socket with its traps handled. Frames are named by
// their index in the UMEM. It belongs to the owner of the queue.
type socket struct {
	xsk    *xdp.Socket
	fd     int
	file   *os.File // a duplicate of fd in the runtime's poller, to wait on
	inode  uint64   // of fd, to find what the library mapped
	rings  ringMaps
	umem   []byte
	size   int // bytes a frame
	frames int
	txRing int
}

// newSocketMu is held around xdp.NewSocket: its bind flags are a package
// variable, and the maps left by a failed call are found by comparison.
var newSocketMu sync.Mutex

// openSocket opens and binds a socket. The queue of a socket just closed is
// released by the kernel in the background (xp_release_deferred), so a busy one
// is tried again until the deadline.
func openSocket(ifindex, queue int, flags uint16, opts xdp.SocketOptions, rings ringMaps, deadline time.Time) (*socket, error) {
	pause := 2 * time.Millisecond
	for {
		s, err := tryOpenSocket(ifindex, queue, flags, opts, rings)
		if err == nil || !errors.Is(err, unix.EBUSY) || time.Now().Add(pause).After(deadline) {
			return s, err
		}
		time.Sleep(pause)
		pause = min(2*pause, 50*time.Millisecond)
	}
}

func tryOpenSocket(ifindex, queue int, flags uint16, opts xdp.SocketOptions, rings ringMaps) (*socket, error) {
	newSocketMu.Lock()
	defer newSocketMu.Unlock()
	before, err := rings.find()
	if err != nil {
		return nil, err
	}
	was := xdp.DefaultSocketFlags
	xdp.DefaultSocketFlags = flags
	syscall.ForkLock.RLock() // the library's socket is not close-on-exec
	xsk, err := xdp.NewSocket(ifindex, queue, &opts)
	if err == nil {
		unix.CloseOnExec(xsk.FD())
	}
	syscall.ForkLock.RUnlock()
	xdp.DefaultSocketFlags = was
	if err != nil {
		// The library closed its descriptor but left the rings mapped, and with
		// them the kernel's socket.
		return nil, errors.Join(withErrno(err), rings.unmapOrphans(before))
	}
	var st unix.Stat_t
	if err := unix.Fstat(xsk.FD(), &st); err != nil {
		return nil, errors.Join(fmt.Errorf("stat socket: %w", err), xsk.Close(), rings.unmapOrphans(before))
	}
	file, err := pollable(xsk.FD())
	if err != nil {
		return nil, errors.Join(err, xsk.Close(), rings.unmapOrphans(before))
	}
	return &socket{
		xsk:    xsk,
		fd:     xsk.FD(),
		file:   file,
		inode:  st.Ino,
		rings:  rings,
		umem:   xsk.GetFrame(xdp.Desc{Addr: 0, Len: uint32(opts.NumFrames * opts.FrameSize)}),
		size:   opts.FrameSize,
		frames: opts.NumFrames,
		txRing: opts.TxRingNumDescs,
	}, nil
}

// pollable returns a second descriptor of the library's socket, which the
// runtime's poller may have for its own. The library sends with MSG_DONTWAIT, and
// does not mind that the socket becomes nonblocking.
func pollable(fd int) (*os.File, error) {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("duplicate socket: %w", err)
	}
	if err := unix.SetNonblock(dup, true); err != nil {
		return nil, errors.Join(fmt.Errorf("make socket nonblocking: %w", err), unix.Close(dup))
	}
	return os.NewFile(uintptr(dup), "xsk"), nil
}

// withErrno makes errors.Is work on an error the library made from an errno with
// %v: its text ends in the errno's.
func withErrno(err error) error {
	for _, errno := range []unix.Errno{
		unix.EBUSY, unix.EPERM, unix.EACCES, unix.ENOMEM, unix.ENOBUFS, unix.EINVAL, unix.EOPNOTSUPP,
		unix.ENODEV, unix.ENXIO, unix.ENETDOWN, unix.EAFNOSUPPORT, unix.EPROTONOSUPPORT, unix.EMFILE, unix.ENFILE,
		unix.ERANGE,
	} {
		if text, ok := strings.CutSuffix(err.Error(), errno.Error()); ok {
			return fmt.Errorf("%s%w", text, errno)
		}
	}
	return err
}

// push gives the library frames to send and kicks the kernel once. It returns
// how many the ring took. With no frames it only kicks.
//
// The library panics when sendto fails with anything but EINTR, EAGAIN and
// EBUSY. By then the frames are in the ring, and stay there: taken, whatever the
// error is.
func (s *socket) push(descs []xdp.Desc) (n int, err error) {
	n = min(len(descs), s.xsk.NumFreeTxSlots())
	defer func() {
		if p := recover(); p != nil {
			err = sendError(p)
		}
	}()
	s.xsk.Transmit(descs[:n])
	return n, nil
}

// sendError turns what the library panicked with into an error. Anything that is
// not its report of a failed sendto is a bug, and goes on up.
func sendError(p any) error {
	err, ok := p.(error)
	if _, bug := p.(runtime.Error); !ok || bug {
		panic(p)
	}
	_, text, ok := strings.Cut(err.Error(), "sendto failed with rc=")
	if !ok {
		panic(p)
	}
	_, text, _ = strings.Cut(text, "errno=")
	number, convErr := strconv.Atoi(text)
	if convErr != nil {
		panic(p)
	}
	return xskqueue.SendError(unix.Errno(number))
}

// unsent is how many frames lie in the TX ring, not yet taken by the kernel.
func (s *socket) unsent() int { return s.txRing - s.xsk.NumFreeTxSlots() }

// close gives everything back to the system but, with keepMemory, the UMEM: that
// stays readable then, until the process ends.
func (s *socket) close(keepMemory bool) error {
	var err error
	if keepMemory {
		err = unix.Close(s.fd)
	} else {
		err = s.xsk.Close() // closes fd, unmaps the UMEM
	}
	// Only with the rings unmapped is the kernel's socket gone and the queue
	// free for the next one to bind.
	return errors.Join(err, s.file.Close(), s.rings.unmapSocket(s.inode))
}
