package afxdp

import (
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/preflight"
	"shardnet/driver/wire"
)

// fakeSocket is a socket whose rings are plain memory and whose indices start
// just before they wrap: the test is the kernel.
func fakeSocket(frames, frameSize, rx, tx int) *socket {
	const start = ^uint32(0) - 2
	return &socket{
		fd:         -1,
		umem:       alignedMemory(frames * frameSize),
		fill:       fakeRing[uint64](rx, start),
		completion: fakeRing[uint64](frames, start),
		rx:         fakeRing[unix.XDPDesc](rx, start),
		tx:         fakeRing[unix.XDPDesc](tx, start),
	}
}

func fakeRing[T any](size int, start uint32) *ring[T] {
	r := newFakeRing[T](size)
	r.producer.Store(start)
	r.consumer.Store(start)
	r.prod, r.cons = start, start
	return r
}

// newFakeRing is a ring in plain memory.
func newFakeRing[T any](size int) *ring[T] {
	return &ring[T]{
		producer: new(atomic.Uint32), consumer: new(atomic.Uint32), flags: new(atomic.Uint32),
		entries: make([]T, size), mask: uint32(size - 1),
	}
}

// kernelReceives moves one posted frame from the fill ring to the RX ring.
func kernelReceives(t *testing.T, s *socket, data []byte) {
	t.Helper()
	c := s.fill.consumer.Load()
	if c == s.fill.producer.Load() {
		t.Fatal("no frame is posted")
	}
	addr := s.fill.entries[c&s.fill.mask] + preflight.Headroom
	s.fill.consumer.Store(c + 1)
	copy(s.umem[addr:], data)
	p := s.rx.producer.Load()
	s.rx.entries[p&s.rx.mask] = unix.XDPDesc{Addr: addr, Len: uint32(len(data))}
	s.rx.producer.Store(p + 1)
}

// kernelSends moves one frame from the TX ring to the completion ring.
func kernelSends(t *testing.T, s *socket) []byte {
	t.Helper()
	c := s.tx.consumer.Load()
	if c == s.tx.producer.Load() {
		t.Fatal("nothing is to be sent")
	}
	d := s.tx.entries[c&s.tx.mask]
	s.tx.consumer.Store(c + 1)
	p := s.completion.producer.Load()
	s.completion.entries[p&s.completion.mask] = d.Addr
	s.completion.producer.Store(p + 1)
	return s.umem[d.Addr : d.Addr+uint64(d.Len)]
}

// Indices wrap around 2^32 and entries around the ring; every frame comes back.
func TestRingsWrap(t *testing.T) {
	const frames, size = 16, 2048
	s := fakeSocket(frames, size, 4, 4)
	q := newQueue(s, layout{chunkSize: size, chunks: len(s.umem) / size, span: 1}, 1500, false)
	fs := make([]driver.Frame, 8)
	for i := range 40 {
		in := make([]byte, 60)
		in[20] = byte(i)
		kernelReceives(t, s, in)
		n, err := q.Receive(fs)
		if n != 1 || err != nil || fs[0].Data[20] != byte(i) || len(fs[0].Data) != 60 {
			t.Fatalf("turn %d: received %d, %v", i, n, err)
		}
		fs[0].Data[21] = 0xaa // answered in place
		if n, err := q.Transmit(fs[:1]); n != 1 || err != nil {
			t.Fatalf("turn %d: transmitted %d, %v", i, n, err)
		}
		if out := kernelSends(t, s); out[20] != byte(i) || out[21] != 0xaa {
			t.Fatalf("turn %d: sent something else", i)
		}
		q.reap()
	}
	q.refill()
	if got := len(q.freeList) + q.posted; got != frames || q.Counts.Lent != 0 {
		t.Errorf("%d of %d frames are free or posted, %d lent", got, frames, q.Counts.Lent)
	}
}

// What the kernel should never say costs a counter and no frame twice.
func TestReceiveRefusesBadDescriptors(t *testing.T) {
	const frames, size = 8, 2048
	s := fakeSocket(frames, size, 4, 4)
	q := newQueue(s, layout{chunkSize: size, chunks: len(s.umem) / size, span: 1}, 1500, false)
	posted := s.fill.entries[s.fill.prod-1&s.fill.mask]
	for i, d := range []unix.XDPDesc{
		{Addr: frames * size, Len: 60},               // beyond the UMEM
		{Addr: ^uint64(0), Len: 60},                  // far beyond
		{Addr: 7 * size, Len: 60},                    // a frame that is not posted: one of 0-3 is
		{Addr: posted + 2000, Len: 100},              // over the end of its frame
		{Addr: posted + preflight.Headroom, Len: 60}, // that frame again
	} {
		if q.state[7] != free && i == 2 {
			d.Addr = 0
			for q.state[d.Addr/size] == filling {
				d.Addr += size
			}
		}
		p := s.rx.producer.Load()
		s.rx.entries[p&s.rx.mask] = d
		s.rx.producer.Store(p + 1)
		if n, err := q.Receive(make([]driver.Frame, 4)); n != 0 || err != nil {
			// The frame freed by the fourth may have been posted again: then the
			// fifth is good.
			if i != 4 || n != 1 {
				t.Errorf("descriptor %d: received %d, %v", i, n, err)
			}
		}
	}
	if q.Counts.RxErrors < 4 {
		t.Errorf("%d errors counted", q.Counts.RxErrors)
	}
}

func TestTransmitRefusesWhatTheKernelWouldNotSend(t *testing.T) {
	const size = 2048
	s := fakeSocket(8, size, 4, 4)
	q := newQueue(s, layout{chunkSize: size, chunks: len(s.umem) / size, span: 1}, 1500, false)
	other := make([]byte, 100)
	for name, change := range map[string]func(f *driver.Frame){
		"empty":            func(f *driver.Frame) { f.Data = f.Data[:0] },
		"a byte too short": func(f *driver.Frame) { f.Data = f.Data[:wire.EthernetLen-1] },
		"a byte too long":  func(f *driver.Frame) { f.Data = f.Data[:1515] },
		"memory elsewhere": func(f *driver.Frame) { f.Data = other },
		"another frame": func(f *driver.Frame) {
			at := (int(f.Handle) + 1) % 8 * size
			f.Data = s.umem[at : at+60]
		},
	} {
		fs := make([]driver.Frame, 1)
		if q.Alloc(fs) != 1 {
			t.Fatal("no frame")
		}
		change(&fs[0])
		before := q.Counts.TxErrors
		if n, err := q.Transmit(fs); n != 1 || err != nil {
			t.Errorf("%s: Transmit takes %d, %v", name, n, err)
		}
		if q.Counts.TxErrors != before+1 || q.Counts.Lent != 0 {
			t.Errorf("%s: %d errors counted, %d frames lent", name, q.Counts.TxErrors-before, q.Counts.Lent)
		}
		if s.tx.producer.Load() != s.tx.consumer.Load() {
			t.Fatalf("%s: handed to the kernel", name)
		}
	}
	// Given back twice, sent after it was given back: nothing happens.
	fs := make([]driver.Frame, 1)
	q.Alloc(fs)
	fs[0].Data = fs[0].Data[:60]
	q.Release(fs)
	freeBefore := len(q.freeList) + q.posted
	q.Release(fs)
	if n, err := q.Transmit(fs); n != 1 || err != nil {
		t.Errorf("transmit of a released frame: %d, %v", n, err)
	}
	if got := len(q.freeList) + q.posted; got != freeBefore || s.tx.producer.Load() != s.tx.consumer.Load() {
		t.Error("a frame given back twice is there twice")
	}
}
