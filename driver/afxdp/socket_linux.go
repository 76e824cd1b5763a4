package afxdp

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver/internal/xskqueue"
)

// bindPatience is how long a busy queue is tried: as long as the kernel may take
// to release one that was closed, or whose process ended, just before.
const bindPatience = time.Second

// socket is one AF_XDP socket with its UMEM and rings.
type socket struct {
	fd   int
	file *os.File // owns fd, and has it in the runtime's poller
	umem []byte

	fill       *ring[uint64]
	completion *ring[uint64]
	rx         *ring[unix.XDPDesc]
	tx         *ring[unix.XDPDesc]
}

// socketConfig is what a socket is made of.
type socketConfig struct {
	ifindex, queue           int
	flags                    uint16 // of bind
	chunks, chunkSize        int    // of the UMEM
	rxRing, txRing, fillRing int
	busyPoll                 bool
}

// Busy polling: how long the kernel looks for packets when asked, in microseconds,
// and how many it takes at most, which is a Receive's batch.
const (
	busyPollTime   = 20
	busyPollBudget = 64
)

// preferBusyPoll has receive work wait for Receive to ask for it.
func (s *socket) preferBusyPoll() error {
	for _, o := range []struct{ name, value int }{
		{unix.SO_PREFER_BUSY_POLL, 1}, {unix.SO_BUSY_POLL, busyPollTime}, {unix.SO_BUSY_POLL_BUDGET, busyPollBudget},
	} {
		switch err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, o.name, o.value); {
		case errors.Is(err, unix.ENOPROTOOPT):
			return ErrNoBusyPoll
		case err != nil:
			return fmt.Errorf("ask for busy polling: %w", err)
		}
	}
	return nil
}

func openSocket(c socketConfig) (_ *socket, err error) {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	s := &socket{fd: fd, file: os.NewFile(uintptr(fd), fmt.Sprintf("xsk-%d-%d", c.ifindex, c.queue))}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	s.umem = alignedMemory(c.chunks * c.chunkSize)
	pin(s)
	if err := registerUMEM(fd, s.umem, c.chunkSize); err != nil {
		return nil, fmt.Errorf("register %d KiB of frames: %w", len(s.umem)>>10, err)
	}
	// Room for every chunk: completions may be taken in bulk and never overflow.
	completionRing := 1 << bits.Len(uint(c.chunks-1))
	for _, r := range []struct{ opt, size int }{
		{unix.XDP_UMEM_FILL_RING, c.fillRing},
		{unix.XDP_UMEM_COMPLETION_RING, completionRing},
		{unix.XDP_RX_RING, c.rxRing},
		{unix.XDP_TX_RING, c.txRing},
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_XDP, r.opt, r.size); err != nil {
			return nil, fmt.Errorf("make ring of %d entries: %w", r.size, err)
		}
	}
	off, err := xskqueue.MmapOffsets(fd)
	if err != nil {
		return nil, fmt.Errorf("ask for ring offsets: %w", err)
	}
	if s.fill, err = mapRing[uint64](fd, unix.XDP_UMEM_PGOFF_FILL_RING, off.Fr, c.fillRing); err != nil {
		return nil, err
	}
	if s.completion, err = mapRing[uint64](fd, unix.XDP_UMEM_PGOFF_COMPLETION_RING, off.Cr, completionRing); err != nil {
		return nil, err
	}
	if s.rx, err = mapRing[unix.XDPDesc](fd, unix.XDP_PGOFF_RX_RING, off.Rx, c.rxRing); err != nil {
		return nil, err
	}
	if s.tx, err = mapRing[unix.XDPDesc](fd, unix.XDP_PGOFF_TX_RING, off.Tx, c.txRing); err != nil {
		return nil, err
	}
	if c.busyPoll {
		if err := s.preferBusyPoll(); err != nil {
			return nil, err
		}
	}
	if err := s.bind(c); err != nil {
		return nil, err
	}
	return s, nil
}

// bind binds the socket to its queue. A queue that is busy is tried again for
// bindPatience.
func (s *socket) bind(c socketConfig) error {
	addr := &unix.SockaddrXDP{Flags: c.flags, Ifindex: uint32(c.ifindex), QueueID: uint32(c.queue)}
	deadline := time.Now().Add(bindPatience)
	for {
		err := unix.Bind(s.fd, addr)
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// pinned keeps every open socket, and so its UMEM, reachable. The collector knows
// nothing of the kernel, which writes received frames there for as long as a ring
// is mapped: it must not reuse the memory of a device that was dropped without
// Close.
var pinned struct {
	sync.Mutex
	sockets map[*socket]struct{}
}

func pin(s *socket) {
	pinned.Lock()
	defer pinned.Unlock()
	if pinned.sockets == nil {
		pinned.sockets = make(map[*socket]struct{})
	}
	pinned.sockets[s] = struct{}{}
}

func unpin(s *socket) {
	pinned.Lock()
	defer pinned.Unlock()
	delete(pinned.sockets, s)
}

// close unmaps the rings and closes the descriptor. The UMEM is left to the
// collector, which frees it when nobody holds a frame of it.
func (s *socket) close() error {
	err := errors.Join(s.fill.unmap(), s.completion.unmap(), s.rx.unmap(), s.tx.unmap(), s.file.Close())
	if err == nil {
		unpin(s)
	}
	return err
}
