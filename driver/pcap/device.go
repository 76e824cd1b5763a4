package pcap

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"shardnet/driver"
)

// Options are how a capture is made. The zero value, and a nil pointer, is right
// for most.
type Options struct {
	// SnapLen is how many bytes of each frame are kept; 0 keeps all.
	SnapLen int
	// BufferSize is the size in bytes of the buffer each queue has towards the
	// writer, rounded up to a power of two; 0 is 4 MiB. It bounds how long the
	// writer may lag before frames are lost to the capture.
	BufferSize int
	// CloseWriter makes Close close the writer, which must be an io.Closer.
	CloseWriter bool
	// CloseTimeout bounds how long Close waits for a writer that has stopped
	// taking bytes; 0 is 5 seconds.
	CloseTimeout time.Duration
	// Logger is told at Close of frames that are missing from the capture; nil
	// is silence.
	Logger *slog.Logger
	// Now is the clock of the timestamps; nil is time.Now. It is called once a
	// batch by the owner of each queue, so must be safe for several goroutines.
	Now func() time.Time
}

// Counts are the frames of one queue, both directions together. While traffic
// runs, frames may be on their way and not counted yet.
type Counts struct {
	Written uint64 // given to the writer
	Lost    uint64 // not captured: the buffer was full, or the writer had failed
}

// Device is a driver.Device whose traffic is recorded.
type Device struct {
	dev    driver.Device
	opts   Options
	snap   int
	now    func() time.Time
	queues []*queue

	writer *writer
	closer io.Closer // the caller's writer, when it is ours to close

	broken   atomic.Bool // the writer failed: nothing more is captured
	sleeping atomic.Bool // the writing goroutine is, or is about to be, waiting for wake
	wake     chan struct{}
	stop     chan struct{}
	done     chan struct{}

	errMu    sync.Mutex
	writeErr error

	closeOnce sync.Once
	closeErr  error
}

// Wrap records dev's traffic to w from now on. It writes the file's header
// before it returns, so that a writer that can't be written to is known at
// once. The returned device owns dev; when Wrap fails, dev stays the caller's.
// w is written to by one goroutine at a time.
func Wrap(dev driver.Device, w io.Writer, opts *Options) (*Device, error) {
	if opts == nil {
		opts = &Options{}
	}
	d := &Device{
		dev:  dev,
		opts: *opts,
		wake: make(chan struct{}, 1),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	info := dev.Info()
	if info.Queues < 1 {
		return nil, errors.New("start capture: device has no queues")
	}
	if opts.SnapLen < 0 {
		return nil, fmt.Errorf("start capture: snap length %d is negative", opts.SnapLen)
	}
	if d.snap = opts.SnapLen; d.snap == 0 {
		d.snap = int(^uint(0) >> 1)
	}
	if d.opts.BufferSize == 0 {
		d.opts.BufferSize = 4 << 20
	}
	if least := 4 * (headerSize + min(d.snap, info.FrameSize)); d.opts.BufferSize < least {
		return nil, fmt.Errorf("start capture: buffer of %d bytes is less than four frames (%d bytes)", d.opts.BufferSize, least)
	}
	if d.opts.CloseTimeout == 0 {
		d.opts.CloseTimeout = 5 * time.Second
	}
	if d.now = opts.Now; d.now == nil {
		d.now = time.Now
	}
	if opts.CloseWriter {
		c, ok := w.(io.Closer)
		if !ok {
			return nil, fmt.Errorf("start capture: asked to close a writer that has no Close: %T", w)
		}
		d.closer = c
	}
	var err error
	if d.writer, err = newWriter(w, info, opts.SnapLen, d.now()); err != nil {
		return nil, fmt.Errorf("start capture: %w", err)
	}
	for i := range info.Queues {
		d.queues = append(d.queues, &queue{Queue: dev.Queue(i), dev: d, ring: newRing(d.opts.BufferSize)})
	}
	go d.run()
	return d, nil
}

// Info implements driver.Device: it is the wrapped device's.
func (d *Device) Info() driver.Info { return d.dev.Info() }

// Queue implements driver.Device.
func (d *Device) Queue(i int) driver.Queue { return d.queues[i] }

// Counts returns what was captured of queue i. It may be called from any
// goroutine, also after Close.
func (d *Device) Counts(i int) Counts { return d.queues[i].counts() }

// Err returns the error at which the writer failed, or nil. From then on
// traffic goes on without being captured.
func (d *Device) Err() error {
	d.errMu.Lock()
	defer d.errMu.Unlock()
	return d.writeErr
}

// Close closes the wrapped device, writes what is still in the buffers, and
// with Options.CloseWriter closes the writer. Its error joins those of the
// device and of the writer. It is idempotent, and returns the same error each
// time.
//
// A writer that blocks is given Options.CloseTimeout. After that Close returns
// an error and leaves a goroutine behind, until the writer returns: no writer
// can be interrupted but by closing it.
func (d *Device) Close() error {
	d.closeOnce.Do(func() { d.closeErr = d.close() })
	return d.closeErr
}

func (d *Device) close() error {
	err := d.dev.Close()
	for _, q := range d.queues {
		q.settle() // the last frames are in the rings
	}
	close(d.stop)
	finished := d.awaitWriter()
	err = errors.Join(err, d.Err())
	if !finished {
		err = errors.Join(err, fmt.Errorf("end capture: writer still blocked after %v, the capture is cut off", d.opts.CloseTimeout))
	}
	if d.closer != nil {
		if cerr := d.closer.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("close capture: %w", cerr))
		}
		if !finished {
			d.awaitWriter() // closing a pipe or a socket frees who writes to it
		}
	}
	if d.opts.Logger != nil {
		for i, q := range d.queues {
			if c := q.counts(); c.Lost > 0 {
				d.opts.Logger.Warn("capture is incomplete", "queue", i, "written", c.Written, "lost", c.Lost)
			}
		}
	}
	return err
}

// awaitWriter reports whether the writing goroutine ended within the timeout.
func (d *Device) awaitWriter() bool {
	timeout := time.NewTimer(d.opts.CloseTimeout)
	defer timeout.Stop()
	select {
	case <-d.done:
		return true
	case <-timeout.C:
		return false
	}
}

// wakeWriter makes run look at the rings again. It never blocks, and costs a
// load while the writer is busy.
func (d *Device) wakeWriter() {
	if d.sleeping.Load() {
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

// run is the goroutine that writes.
func (d *Device) run() {
	defer close(d.done)
	for {
		d.drain()
		// All that came is on its way out before the goroutine sleeps, so a
		// reader at the other end of a pipe, and a crash, find it there.
		d.fail(d.writer.flush())
		d.sleeping.Store(true)
		// A record published before the store above may have seen a busy
		// writer and sent no wake-up: look again.
		if d.idle() {
			select {
			case <-d.wake:
			case <-d.stop:
				d.drain()
				d.finish()
				return
			}
		}
		d.sleeping.Store(false)
	}
}

func (d *Device) idle() bool {
	for _, q := range d.queues {
		if !q.ring.empty() {
			return false
		}
	}
	return true
}

// drain writes records, the earliest first, until all rings are empty.
func (d *Device) drain() {
	for {
		q, rec, next := d.earliest()
		if q < 0 {
			return
		}
		if !d.broken.Load() {
			d.fail(d.writer.packet(q, rec))
		}
		if d.broken.Load() {
			d.queues[q].discarded.Add(1)
		} else {
			d.queues[q].written.Add(1)
		}
		d.queues[q].ring.pop(next)
	}
}

// earliest returns the ring with the earliest record, that record, and the
// position behind it, or a negative ring when all are empty.
//
// A ring found empty may have got a record since, which is earlier than one then
// found in another ring. So it is looked at again, until the choice stands: a frame
// captured before another is in the file before it, whatever their queues.
func (d *Device) earliest() (first int, rec record, next uint64) {
	first = -1
	for {
		before, empty := first, false
		for i, q := range d.queues {
			r, n, ok := q.ring.peek()
			if !ok {
				empty = true
			} else if first < 0 || r.time < rec.time {
				first, rec, next = i, r, n
			}
		}
		if first == before || !empty {
			return first, rec, next
		}
	}
}

// finish ends the file.
func (d *Device) finish() {
	for i, q := range d.queues {
		if !d.broken.Load() {
			d.fail(d.writer.statistics(i, q.counts(), d.now()))
		}
	}
	d.fail(d.writer.flush())
}

// fail notes the first error of the writer.
func (d *Device) fail(err error) {
	if err == nil || d.broken.Load() {
		return
	}
	d.errMu.Lock()
	d.writeErr = fmt.Errorf("write capture: %w", err)
	d.errMu.Unlock()
	d.broken.Store(true)
}
