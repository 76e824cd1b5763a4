package pcap

import (
	"sync"
	"sync/atomic"

	"shardnet/driver"
)

// queue is the wrapped queue: what is not below goes straight to the inner one.
type queue struct {
	driver.Queue
	dev  *Device
	ring *ring

	// mu is held by the owner while it is in Receive or Transmit, so that Close
	// can tell when it is out. Nobody else takes it before Close does.
	mu sync.Mutex

	// Counters: the first is the owner's to write, the others the writing
	// goroutine's. All are read by anyone.
	full      atomic.Uint64 // frames that found the ring full or the capture broken
	written   atomic.Uint64
	discarded atomic.Uint64 // frames taken from the ring after the writer had failed
}

// Receive implements driver.Queue.
func (q *queue) Receive(fs []driver.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, err := q.Queue.Receive(fs)
	if n > 0 {
		staged, empty := q.stage(inbound, fs[:n])
		q.publish(n-empty, staged)
	}
	return n, err
}

// Transmit implements driver.Queue. The frames are copied before the inner
// queue gets them, because afterwards their memory is no longer ours to read;
// those it did not take are then not shown to the writer.
func (q *queue) Transmit(fs []driver.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	staged, _ := q.stage(outbound, fs)
	// The inner queue may rewrite what it took, so count the frames with bytes
	// in what it may leave, behind n, and not before.
	withData := countData(fs)
	n, err := q.Queue.Transmit(fs)
	if n < len(fs) {
		withData -= countData(fs[n:])
	}
	q.publish(withData, min(staged, withData))
	return n, err
}

// Close implements driver.Queue. The capture goes on for the other queues.
func (q *queue) Close() error {
	err := q.Queue.Close()
	q.settle()
	return err
}

// settle returns when the owner is out of the wrapper. The inner queue is
// closed by then, so whoever comes in later brings no frames.
func (q *queue) settle() {
	q.mu.Lock()
	defer q.mu.Unlock()
}

// stage copies frames into the ring until one does not fit, and returns how
// many it copied and how many it passed over because they are empty.
func (q *queue) stage(dir direction, fs []driver.Frame) (staged, empty int) {
	if q.dev.broken.Load() {
		return 0, len(fs) - countData(fs)
	}
	now := q.dev.now().UnixNano()
	full := false
	for i := range fs {
		switch {
		case len(fs[i].Data) == 0:
			empty++
		case !full && q.ring.stage(now, dir, fs[i].Data, q.dev.snap):
			staged++
		default:
			// Keep a prefix: Transmit publishes by count.
			full = true
		}
	}
	return staged, empty
}

// publish shows the writer the first staged of frames records, and counts the
// frames that are not among them.
func (q *queue) publish(frames, staged int) {
	q.ring.publish(staged)
	if staged > 0 {
		q.dev.wakeWriter()
	}
	if lost := frames - staged; lost > 0 {
		q.full.Store(q.full.Load() + uint64(lost))
	}
}

func (q *queue) counts() Counts {
	return Counts{Written: q.written.Load(), Lost: q.full.Load() + q.discarded.Load()}
}

func countData(fs []driver.Frame) int {
	n := 0
	for i := range fs {
		if len(fs[i].Data) > 0 {
			n++
		}
	}
	return n
}
