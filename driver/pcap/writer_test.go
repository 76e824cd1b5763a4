package pcap

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/test/testutil"
)

// TestMain fails when a test leaves a goroutine behind.
func TestMain(m *testing.M) { testutil.Main(m) }

// gate is a writer that blocks while it is shut.
type gate struct {
	mu   sync.Mutex
	shut sync.Mutex
	buf  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	g.shut.Lock()
	defer g.shut.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.buf.Write(p)
}

// exchange sends count frames through q, and expects the peer to get all.
func exchange(t testing.TB, q, peer driver.Queue, frame []byte, count int) {
	t.Helper()
	for range count {
		send(t, q, frame)
		if got := receive(t, peer); len(got) != 1 || !bytes.Equal(got[0], frame) {
			t.Fatalf("peer got %d frames, want the one sent", len(got))
		}
	}
}

// TestSlowWriter holds that a writer that blocks costs the capture frames, and
// the traffic nothing.
func TestSlowWriter(t *testing.T) {
	var g gate
	var log bytes.Buffer
	d, peer := pair(t, nil, &g, &Options{BufferSize: 16 << 10, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	frame := packet(t, 1)
	g.shut.Lock()
	const count = 5000 // far more than the buffers take
	exchange(t, d.Queue(0), peer.Queue(0), frame, count)
	if c := d.Counts(0); c.Lost == 0 {
		t.Errorf("counts are %+v: nothing lost with the writer blocked", c)
	}
	g.shut.Unlock()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c := d.Counts(0)
	if c.Written+c.Lost != count || c.Written == 0 {
		t.Errorf("counts are %+v, want %d in all", c, count)
	}
	ng, got, _ := readBack(t, &g.buf)
	if uint64(len(got[0])) != c.Written {
		t.Errorf("%d frames in the capture, counted %d", len(got[0]), c.Written)
	}
	if intf, _ := ng.Interface(0); intf.Statistics.PacketsDropped != c.Lost {
		t.Errorf("capture says %d dropped, counted %d", intf.Statistics.PacketsDropped, c.Lost)
	}
	if s := log.String(); !strings.Contains(s, "capture is incomplete") || strings.Count(s, "\n") != 1 {
		t.Errorf("logged %q, want one line about what is missing", s)
	}
}

// failing is a writer that takes so many bytes.
type failing struct{ left int }

var errDisk = errors.New("disk is full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errDisk
	}
	return len(p), nil
}

func TestFailingWriter(t *testing.T) {
	d, peer := pair(t, nil, &failing{left: 10_000}, nil)
	const count = 2000
	exchange(t, d.Queue(0), peer.Queue(0), packet(t, 1), count)
	deadline := time.Now().Add(5 * time.Second)
	for d.Err() == nil && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	if err := d.Err(); !errors.Is(err, errDisk) {
		t.Fatalf("Err is %v, want %v", err, errDisk)
	}
	exchange(t, d.Queue(0), peer.Queue(0), packet(t, 1), 100)
	if err := d.Close(); !errors.Is(err, errDisk) {
		t.Errorf("Close gives %v, want %v", err, errDisk)
	}
	if err := d.Close(); !errors.Is(err, errDisk) {
		t.Errorf("second Close gives %v, want %v", err, errDisk)
	}
	if c := d.Counts(0); c.Written+c.Lost != count+100 || c.Lost < 100 {
		t.Errorf("counts are %+v, want %d in all, at least 100 lost", c, count+100)
	}
}

func TestCloseOnBlockedWriter(t *testing.T) {
	r, w := io.Pipe()
	header := make(chan error, 1)
	go func() { // take the header, then nothing
		_, err := r.Read(make([]byte, 64<<10))
		header <- err
	}()
	d, peer := pair(t, nil, w, &Options{CloseWriter: true, CloseTimeout: 50 * time.Millisecond})
	if err := <-header; err != nil {
		t.Fatal(err)
	}
	exchange(t, d.Queue(0), peer.Queue(0), packet(t, 1), 10)
	done := make(chan error, 1)
	go func() { done <- d.Close() }()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "still blocked") {
			t.Errorf("Close gives %v, want that the writer is blocked", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close hangs on a blocked writer")
	}
	// TestMain sees whether closing the pipe ended the goroutine.
}

func TestWrapErrors(t *testing.T) {
	for _, tt := range []struct {
		name string
		w    io.Writer
		opts *Options
		want string
	}{
		{"header", &failing{}, nil, "start capture: disk is full"},
		{"not a closer", new(bytes.Buffer), &Options{CloseWriter: true}, "asked to close a writer that has no Close"},
		{"snap length", new(bytes.Buffer), &Options{SnapLen: -1}, "snap length -1 is negative"},
		{"buffer", new(bytes.Buffer), &Options{BufferSize: 1000}, "buffer of 1000 bytes is less than four frames"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b, err := memnic.NewPair(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			defer b.Close()
			if _, err := Wrap(a, tt.w, tt.opts); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Wrap gives %v, want %q", err, tt.want)
			}
			// The device is still ours.
			exchange(t, a.Queue(0), b.Queue(0), packet(t, 1), 1)
		})
	}
}

// TestFlushWhenIdle holds that frames reach the writer without a Close.
func TestFlushWhenIdle(t *testing.T) {
	var g gate
	d, peer := pair(t, nil, &g, nil)
	frame := packet(t, 3)
	exchange(t, d.Queue(0), peer.Queue(0), frame, 1)
	for deadline := time.Now().Add(5 * time.Second); ; runtime.Gosched() {
		g.mu.Lock()
		there := bytes.Contains(g.buf.Bytes(), frame)
		g.mu.Unlock()
		if there {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a frame has not reached the writer after 5 s of idling")
		}
	}
}

// TestCloseUnderTraffic runs owners on every queue while the device is closed:
// what they sent is captured, and nothing races.
func TestCloseUnderTraffic(t *testing.T) {
	const queues = 2
	var out bytes.Buffer
	d, _ := pair(t, &memnic.Config{A: memnic.End{Queues: queues}, B: memnic.End{Queues: queues}}, &out, nil)
	frame := packet(t, 1)
	var owners sync.WaitGroup
	var sent [queues]uint64
	running := make(chan struct{}, queues)
	for i := range queues {
		owners.Go(func() {
			q := d.Queue(i)
			fs := make([]driver.Frame, 8)
			for round := 0; ; round++ {
				n := q.Alloc(fs)
				for k := range fs[:n] {
					fs[k].Data = append(fs[k].Data[:0], frame...)
				}
				n, err := q.Transmit(fs[:n])
				sent[i] += uint64(n)
				if err != nil || q.Flush() != nil {
					return
				}
				if round == 100 {
					running <- struct{}{}
				}
			}
		})
	}
	for range queues {
		<-running
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	owners.Wait()
	for i := range queues {
		if c := d.Counts(i); c.Written+c.Lost != sent[i] {
			t.Errorf("queue %d: counts are %+v, sent %d", i, c, sent[i])
		}
	}
	_, got, _ := readBack(t, &out)
	for i := range queues {
		if c := d.Counts(i); uint64(len(got[i])) != c.Written {
			t.Errorf("queue %d: %d frames in the capture, counted %d", i, len(got[i]), c.Written)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	d, peer := pair(t, nil, io.Discard, nil)
	q, pq := d.Queue(0), peer.Queue(0)
	frame := packet(t, 1)
	fs := make([]driver.Frame, 32)
	turn := func() {
		n := q.Alloc(fs)
		for i := range fs[:n] {
			fs[i].Data = append(fs[i].Data[:0], frame...)
		}
		n, _ = q.Transmit(fs[:n])
		if err := q.Flush(); err != nil || n == 0 {
			t.Fatalf("sent %d: %v", n, err)
		}
		n, _ = pq.Receive(fs)
		if n, _ = pq.Transmit(fs[:n]); n == 0 {
			t.Fatal("nothing to send back")
		}
		pq.Flush()
		n, _ = q.Receive(fs)
		q.Release(fs[:n])
	}
	for range 100 {
		turn()
	}
	if n := testing.AllocsPerRun(500, turn); n >= 1 {
		t.Errorf("%v allocations for 64 captured frames, want none", n)
	}
}

// blockNoter is a device of one queue that notes what BlockThread was told.
type blockNoter struct {
	driver.Device
	queue *notingQueue
}

type notingQueue struct {
	driver.Queue
	told []bool
}

func (d *blockNoter) Queue(int) driver.Queue { return d.queue }
func (q *notingQueue) BlockThread(on bool)   { q.told = append(q.told, on) }

// TestBlockThread holds that the inner queue is told how to sleep.
func TestBlockThread(t *testing.T) {
	a, b, err := memnic.NewPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	inner := &blockNoter{a, &notingQueue{Queue: a.Queue(0)}}
	dev, err := Wrap(inner, io.Discard, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	dev.Queue(0).BlockThread(true)
	dev.Queue(0).BlockThread(false)
	if got := inner.queue.told; !slices.Equal(got, []bool{true, false}) {
		t.Errorf("the inner queue was told %v, want true, false", got)
	}
}
