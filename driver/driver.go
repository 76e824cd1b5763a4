package driver

import (
	"errors"
	"net"
	"time"
)

// ErrLinkDown is wrapped by what Flush returns while the link is down. It is a
// passing state: frames taken by Transmit stay in the ring, and leave when the
// link is up again and Flush is called.
var ErrLinkDown = errors.New("link is down")

// ErrDeviceGone is wrapped by what a queue's methods return once the interface
// has been removed from the system. It is final: close the device.
var ErrDeviceGone = errors.New("network device is gone")

// Frame is one Ethernet frame (without FCS) in memory on loan from a queue.
type Frame struct {
	// Data is the frame. Whoever holds the frame may reslice it, within its
	// capacity, and may trim the front; Transmit sends the bytes of Data as it
	// finds them. From Alloc, Data has length zero and the capacity of a
	// frame (Info.FrameSize at least), to be appended to.
	Data []byte

	// Handle is the driver's own name for the memory. Holders carry it along
	// and never change it.
	Handle uint64
}

// Queue is one RX/TX ring pair, owned by one goroutine. Only Wake, Stats and
// Close may be called from others, at any time. After Close, or once Close has
// begun elsewhere, Receive, Transmit, Flush and Wait return net.ErrClosed,
// Alloc returns 0, and Release and BlockThread do nothing.
type Queue interface {
	// Receive lends up to len(fs) received frames to the caller and returns how
	// many. Zero is an empty ring, not an error. The caller holds fs[:n] until
	// it gives each back by Transmit or Release on this queue.
	Receive(fs []Frame) (n int, err error)

	// Alloc lends up to len(fs) empty frames to fill and transmit, and returns
	// how many: fewer when the queue is short of frames, which Stats counts in
	// AllocShort.
	Alloc(fs []Frame) (n int)

	// Transmit takes fs[:n] for sending, in order, and returns n. The caller
	// still holds fs[n:]; n is short when the TX ring is full. A frame that
	// can't be sent (empty, or longer than the device takes) is taken, counted
	// in TxErrors, and recycled. Nothing need leave before Flush.
	Transmit(fs []Frame) (n int, err error)

	// Flush makes what Transmit took leave, with as few doorbells as the device
	// allows. It does not wait for completion. Busy devices are retried by the
	// next Flush or Wait and are no error.
	Flush() error

	// Release gives frames back unsent.
	Release(fs []Frame)

	// Wait blocks until a frame can be received, Wake is called, the queue is
	// closed, or d has passed; d < 0 is without limit. A Wake that came since
	// the last Wait makes Wait return at once. It may return early for no
	// reason.
	Wait(d time.Duration) error

	// BlockThread says how Wait sleeps from now on. With true, the owner has a
	// thread to itself, as after runtime.LockOSThread, and Wait blocks that thread
	// in the kernel. With false, as at first, Wait parks the goroutine and leaves
	// its thread to others: a goroutine bound to its thread then pays two changes
	// of thread. A queue with one way to sleep ignores the call.
	BlockThread(on bool)

	// Wake makes a present or the next Wait return. It never blocks.
	Wake()

	// Stats returns the counters since the queue was opened. They are published
	// by the owner at the latest in each Flush and Wait.
	Stats() Stats

	// Close gives the rings back to the system; frames still lent stay readable
	// memory until their holder drops them, but can no longer be given back.
	// Close is idempotent, and returns when the owner is out of the queue's
	// methods.
	Close() error
}

// Device is an opened NIC. Its methods may be called from any goroutine.
type Device interface {
	// Info says what was opened. It does not change while the device is open.
	Info() Info
	// Queue returns queue i of Info().Queues. Each call returns the same Queue.
	Queue(i int) Queue
	// Close closes every queue and detaches from the interface, leaving the
	// host as it was. It is idempotent.
	Close() error
}

// Info describes an opened device.
type Info struct {
	Driver    string           // "afxdp", "asavie", "mem"
	Interface string           // the host's name for it, or the cable's
	Mode      string           // what is truly in force: "native zero-copy", "native copy", "generic copy", "memory"
	MAC       net.HardwareAddr // 6 bytes
	MTU       int              // largest network-layer packet in bytes, without the Ethernet header
	Queues    int              // opened queues
	FrameSize int              // bytes a frame from Alloc holds, at least MTU + 14
	RxRing    int              // entries of each RX ring
	TxRing    int              // entries of each TX ring
	Offloads  Offloads
	RSS       *RSS // nil when how the device spreads flows is not known
}

// Offloads is what the device does for, or demands of, the stack's checksums.
type Offloads struct {
	// RxChecksumVerified: the device drops packets with a bad IPv4, TCP or UDP
	// checksum, so the stack need not look.
	RxChecksumVerified bool
	// RxChecksumPartial: a received TCP or UDP checksum field may hold just the
	// folded pseudo-header sum, because the sender left it to an offload that a
	// virtual link never performs (CHECKSUM_PARTIAL over veth).
	RxChecksumPartial bool
	// TxChecksum: the device fills in TCP and UDP checksums.
	TxChecksum bool
}

// RSS is how a device picks the queue of a received packet: Toeplitz with Key
// over source and destination address, and ports for unfragmented TCP and UDP,
// then Table[hash & (len(Table)-1)]. Package driver/rss computes it.
type RSS struct {
	Key   []byte   // 40 bytes
	Table []uint16 // length is a power of two
}

// Stats are a queue's counters, all cumulative but the two gauges at the end.
// They add up: Frames = Lent + what the queue itself holds, and every packet
// that Transmit took is in TxPackets or TxErrors.
type Stats struct {
	RxPackets uint64 // lent by Receive
	RxBytes   uint64
	RxDropped uint64 // arrived at the queue but lost for want of a frame or a ring entry
	RxErrors  uint64 // descriptors the device should not have produced

	TxPackets  uint64 // taken by Transmit to be sent
	TxBytes    uint64
	TxFull     uint64 // frames Transmit left with the caller, TX ring full
	TxErrors   uint64 // taken but not sendable
	TxJoined   uint64 // of TxPackets, those that left as segments of one larger packet
	AllocShort uint64 // frames Alloc was asked for and had not

	Doorbells uint64 // system calls (or their like) made to send or to refill
	Waits     uint64 // times Wait blocked

	Frames int // frames the queue was opened with
	Lent   int // frames the caller holds at the moment
}

// Add adds o to s, field by field.
func (s *Stats) Add(o Stats) {
	s.RxPackets += o.RxPackets
	s.RxBytes += o.RxBytes
	s.RxDropped += o.RxDropped
	s.RxErrors += o.RxErrors
	s.TxPackets += o.TxPackets
	s.TxBytes += o.TxBytes
	s.TxFull += o.TxFull
	s.TxErrors += o.TxErrors
	s.TxJoined += o.TxJoined
	s.AllocShort += o.AllocShort
	s.Doorbells += o.Doorbells
	s.Waits += o.Waits
	s.Frames += o.Frames
	s.Lent += o.Lent
}
