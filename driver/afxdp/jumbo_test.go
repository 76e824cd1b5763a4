package afxdp

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/internal/preflight"
	"shardnet/driver/wire"
)

// jumboRig is a queue of MTU 9000 on a fake socket: 8 frames of one chunk, 4 of
// three, rings of 8.
type jumboRig struct {
	*testing.T
	s  *socket
	q  *queue
	l  layout
	fs []driver.Frame
}

func newJumboRig(t *testing.T) *jumboRig {
	l := layout{chunkSize: jumboChunk, chunks: 8, jumbos: 4, span: 3}
	s := fakeSocket(l.total(), l.chunkSize, 8, 8)
	return &jumboRig{T: t, s: s, q: newQueue(s, l, 9000, false), l: l, fs: make([]driver.Frame, 4)}
}

// arrive receives, in the kernel's place, a packet in descriptors of these lengths, and
// returns its bytes. The last descriptors, as many as are missing, do not come.
func (r *jumboRig) arrive(lengths []int, missing int) (packet []byte) {
	r.Helper()
	for i, n := range lengths {
		part := bytes.Repeat([]byte{byte(i + 1)}, n)
		packet = append(packet, part...)
		if i >= len(lengths)-missing {
			continue
		}
		kernelReceives(r.T, r.s, part)
		if i < len(lengths)-1 {
			p := r.s.rx.producer.Load() - 1
			r.s.rx.entries[p&r.s.rx.mask].Options = unix.XDP_PKT_CONTD
		}
	}
	return packet
}

// receive returns what Receive lends, at most one frame.
func (r *jumboRig) receive() []driver.Frame {
	r.Helper()
	n, err := r.q.Receive(r.fs[:1])
	if err != nil {
		r.Fatal(err)
	}
	return r.fs[:n]
}

// sent has the kernel send one packet and returns it with its count of
// descriptors, the last of which it completes only with all.
func (r *jumboRig) sent(all bool) (packet []byte, descs int) {
	r.Helper()
	for more := true; more; descs++ {
		d := r.s.tx.entries[r.s.tx.consumer.Load()&r.s.tx.mask]
		if d.Len == 0 || d.Addr%jumboChunk+uint64(d.Len) > jumboChunk {
			r.Fatalf("the kernel would stop at %+v", d)
		}
		more = d.Options&unix.XDP_PKT_CONTD != 0
		packet = append(packet, kernelSends(r.T, r.s)...)
	}
	if !all {
		r.s.completion.producer.Add(^uint32(0))
	}
	return packet, descs
}

// account fails the test unless every frame is free or posted.
func (r *jumboRig) account() {
	r.Helper()
	r.q.reap()
	if n := len(r.q.freeList) + r.q.posted; n != r.l.chunks || len(r.q.jumbo.free) != r.l.jumbos || r.q.Counts.Lent != 0 {
		r.Errorf("%d of %d chunks and %d of %d jumbo frames are free or posted, %d lent",
			n, r.l.chunks, len(r.q.jumbo.free), r.l.jumbos, r.q.Counts.Lent)
	}
}

func TestLayout(t *testing.T) {
	for _, c := range []struct {
		mtu, rx, tx, frames int
		want                layout
		err                 string
	}{
		{1500, 64, 64, 256, layout{2048, 256, 0, 1}, ""},
		{preflight.MaxFrameMTU, 64, 64, 256, layout{4096, 256, 0, 1}, ""},
		{preflight.MaxFrameMTU + 1, 64, 64, 256, layout{4096, 128, 128, 2}, ""},
		{9000, 64, 64, 512, layout{4096, 128, 384, 3}, ""},
		{9000, 64, 64, 96, layout{4096, 80, 16, 3}, ""},
		{9000, 64, 64, 65, layout{4096, 64, 1, 3}, ""},
		{11502, 64, 64, 256, layout{4096, 128, 128, 3}, ""},
		{11503, 64, 64, 256, layout{}, "at most 11502"},
		{9000, 2, 64, 256, layout{}, "takes 3"},
		{9000, 64, 2, 256, layout{}, "takes 3"},
	} {
		l, err := newLayout(Config{RxRing: c.rx, TxRing: c.tx, Frames: c.frames}, c.mtu)
		if l != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("MTU %d, rings of %d and %d, %d frames: %+v, %v", c.mtu, c.rx, c.tx, c.frames, l, err)
		}
		if err == nil && l.frameSize() < c.mtu+wire.EthernetLen {
			t.Errorf("MTU %d in frames of %d bytes", c.mtu, l.frameSize())
		}
	}
}

// A packet is lent once, when all of it is there, in one piece; it goes back out
// in place; each of its frames comes home.
func TestJumboInPlace(t *testing.T) {
	r := newJumboRig(t)
	for turn := range 20 {
		lengths := []int{3840, 3840, 1 + 61*turn}
		want := r.arrive(lengths, 1)
		if got := r.receive(); len(got) != 0 {
			t.Fatalf("turn %d: lent %d bytes of a packet that is not whole", turn, len(got[0].Data))
		}
		last := want[2*3840:]
		kernelReceives(t, r.s, last)
		got := r.receive()
		if len(got) != 1 || !bytes.Equal(got[0].Data, want) {
			t.Fatalf("turn %d: lent %d frames", turn, len(got))
		}
		got[0].Data[3900] = 0xaa
		want[3900] = 0xaa
		if n, err := r.q.Transmit(got); n != 1 || err != nil {
			t.Fatalf("turn %d: transmitted %d, %v", turn, n, err)
		}
		if out, _ := r.sent(true); !bytes.Equal(out, want) {
			t.Fatalf("turn %d: sent %d bytes, want the %d received", turn, len(out), len(want))
		}
		r.account()
	}
	if st := r.q.Counts; st.RxPackets != 20 || st.TxPackets != 20 || st.RxBytes != st.TxBytes || st.RxDropped+st.RxErrors+st.TxErrors != 0 {
		t.Errorf("counted %+v", st)
	}
}

// What can't be gathered is passed over, to its end, and counted once; the packet
// after it is lent.
func TestGatherLoses(t *testing.T) {
	tooLong := []int{3840, 3840, 3840, 3840}
	for _, c := range []struct {
		name            string
		lose            func(r *jumboRig)
		dropped, errors uint64
	}{
		{"more fragments than fit", func(r *jumboRig) { r.arrive(tooLong, 0) }, 0, 1},
		{"no frame free", func(r *jumboRig) {
			held := make([]driver.Frame, r.l.jumbos)
			if n := r.q.Alloc(held); n != len(held) {
				r.Fatalf("%d frames", n)
			}
			r.arrive([]int{3840, 3840, 100}, 0)
			if got := r.receive(); len(got) != 0 {
				r.Error("lent a packet without a frame to gather it in")
			}
			r.q.Release(held)
		}, 1, 0},
		{"a bad descriptor amid", func(r *jumboRig) {
			r.arrive([]int{3840, 3840, 100}, 0)
			r.s.rx.entries[(r.s.rx.producer.Load()-2)&r.s.rx.mask].Len = 5000
		}, 0, 1},
		{"a bad descriptor first", func(r *jumboRig) {
			r.arrive([]int{3840, 3840, 100}, 0)
			r.s.rx.entries[(r.s.rx.producer.Load()-3)&r.s.rx.mask].Len = 5000
		}, 0, 1},
		{"a bad descriptor last", func(r *jumboRig) {
			r.arrive([]int{3840, 100}, 0)
			r.s.rx.entries[(r.s.rx.producer.Load()-1)&r.s.rx.mask].Len = 5000
		}, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newJumboRig(t)
			c.lose(r)
			if got := r.receive(); len(got) != 0 {
				t.Errorf("lent %d bytes", len(got[0].Data))
			}
			if st := r.q.Counts; st.RxDropped != c.dropped || st.RxErrors != c.errors || st.RxPackets != 0 {
				t.Errorf("counted %+v", st)
			}
			for _, lengths := range [][]int{{60}, {3840, 2000}} {
				want := r.arrive(lengths, 0)
				got := r.receive()
				if len(got) != 1 || !bytes.Equal(got[0].Data, want) {
					t.Fatalf("the packet after it: lent %d frames", len(got))
				}
				r.q.Release(got)
			}
			r.account()
		})
	}
}

// A socket that did not ask for packets in several descriptors takes none.
func TestGatherWithoutJumbos(t *testing.T) {
	s := fakeSocket(8, 2048, 4, 4)
	q := newQueue(s, layout{chunkSize: 2048, chunks: 8, span: 1}, 1500, false)
	r := &jumboRig{T: t, s: s, q: q, fs: make([]driver.Frame, 1)}
	r.arrive([]int{100, 100}, 0)
	if got := r.receive(); len(got) != 0 || q.Counts.RxErrors != 1 {
		t.Errorf("lent %d frames, counted %+v", len(got), q.Counts)
	}
	if n := len(q.freeList) + q.posted; n != 8 {
		t.Errorf("%d of 8 frames are free or posted", n)
	}
}

// A ring that has no room for all of a packet takes none of it, and the packet
// stays as it is.
func TestTransmitJumboPartial(t *testing.T) {
	r := newJumboRig(t)
	fs := make([]driver.Frame, 4)
	if n := r.q.Alloc(fs); n != 4 {
		t.Fatalf("%d frames", n)
	}
	for i := range fs {
		// The last lies where it is to be moved before it is sent.
		at := i / 3 * (jumboChunk - 20)
		fs[i].Data = fs[i].Data[at : at+8000]
		for k := range fs[i].Data {
			fs[i].Data[k] = byte(k*7 + i)
		}
	}
	want := func(i int) []byte {
		b := make([]byte, 8000)
		for k := range b {
			b[k] = byte(k*7 + i)
		}
		return b
	}
	// Eight entries hold four packets of two descriptors; with one taken, three.
	small := make([]driver.Frame, 1)
	r.arrive([]int{60}, 0)
	copy(small, r.receive())
	if n, err := r.q.Transmit(small); n != 1 || err != nil {
		t.Fatalf("transmitted %d, %v", n, err)
	}
	n, err := r.q.Transmit(fs)
	if n != 3 || err != nil || r.q.Counts.TxFull != 1 || r.q.Counts.Lent != 1 {
		t.Fatalf("took %d of 4, %v; counted %+v", n, err, r.q.Counts)
	}
	if !bytes.Equal(fs[3].Data, want(3)) {
		t.Error("a frame that was not taken has changed")
	}
	if out, _ := r.sent(true); len(out) != 60 {
		t.Errorf("sent %d bytes", len(out))
	}
	for i := range 3 {
		out, descs := r.sent(i != 2)
		if !bytes.Equal(out, want(i)) || descs != 2 {
			t.Errorf("packet %d went out as %d bytes in %d descriptors", i, len(out), descs)
		}
	}
	// The last descriptor is still the kernel's, and so is its frame.
	r.q.reap()
	if n := len(r.q.jumbo.free); n != 2 {
		t.Errorf("%d frames are free, of which one is half sent", n)
	}
	r.s.completion.producer.Add(1)
	if n, err := r.q.Transmit(fs[3:]); n != 1 || err != nil {
		t.Fatalf("with room again, took %d, %v", n, err)
	}
	if out, descs := r.sent(true); !bytes.Equal(out, want(3)) || descs != 2 {
		t.Errorf("the rest went out as %d bytes in %d descriptors", len(out), descs)
	}
	r.account()
}

func TestTransmitJumboRefuses(t *testing.T) {
	r := newJumboRig(t)
	for name, change := range map[string]func(f *driver.Frame){
		"empty":            func(f *driver.Frame) { f.Data = f.Data[:0] },
		"a byte too long":  func(f *driver.Frame) { f.Data = f.Data[:9015] },
		"memory elsewhere": func(f *driver.Frame) { f.Data = make([]byte, 5000) },
		"another frame": func(f *driver.Frame) {
			other := r.l.chunks + (int(f.Handle)-r.l.chunks+1)%r.l.jumbos
			f.Data = r.q.jumbo.frame(r.s.umem, uint32(other-r.l.chunks), 5000).Data
		},
	} {
		if r.q.Alloc(r.fs[:1]) != 1 {
			t.Fatal("no frame")
		}
		change(&r.fs[0])
		before := r.q.Counts.TxErrors
		if n, err := r.q.Transmit(r.fs[:1]); n != 1 || err != nil {
			t.Errorf("%s: Transmit takes %d, %v", name, n, err)
		}
		if r.q.Counts.TxErrors != before+1 || r.s.tx.producer.Load() != r.s.tx.consumer.Load() {
			t.Errorf("%s: handed to the kernel, or not counted: %+v", name, r.q.Counts)
		}
		r.account()
	}
	// Given back twice, sent after it was given back: nothing happens.
	r.q.Alloc(r.fs[:1])
	r.fs[0].Data = r.fs[0].Data[:5000]
	r.q.Release(r.fs[:1])
	r.q.Release(r.fs[:1])
	if n, err := r.q.Transmit(r.fs[:1]); n != 1 || err != nil {
		t.Errorf("transmit of a released frame: %d, %v", n, err)
	}
	r.account()
}

// Completions the kernel should never give free nothing.
func TestReapIgnoresForeignJumbos(t *testing.T) {
	r := newJumboRig(t)
	for _, addr := range []uint64{r.q.jumbo.start, r.q.jumbo.start + 4*r.q.jumbo.size, ^uint64(0)} {
		p := r.s.completion.producer.Load()
		r.s.completion.entries[p&r.s.completion.mask] = addr
		r.s.completion.producer.Store(p + 1)
		r.account()
	}
}

func TestRefusedMTU(t *testing.T) {
	link := &preflight.Link{Name: "eth1", MTU: 9000}
	jumbo := layout{chunkSize: jumboChunk, chunks: 8, jumbos: 4, span: 3}
	for _, c := range []struct {
		name   string
		err    error
		l      layout
		isMTU  bool
		remedy bool
	}{
		{"old kernel", preflight.BindError(unix.EINVAL, link, 0, false), jumbo, true, true},
		{"no XDP for that MTU", ErrNoXDP, jumbo, true, true},
		{"no zero-copy", preflight.BindError(unix.EOPNOTSUPP, link, 0, true), jumbo, false, true},
		{"busy", ErrQueueTaken, jumbo, false, false},
		{"one chunk", unix.EINVAL, layout{chunkSize: 2048, chunks: 8, span: 1}, false, false},
	} {
		err := sgError(c.err, c.l, link)
		if !errors.Is(err, c.err) || errors.Is(err, ErrMTU) != c.isMTU || strings.Contains(err.Error(), "ip link set eth1 mtu 3822") != c.remedy {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
