package tcp

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// directHost is an engine whose segments lie in memory until the other end takes
// them: a wire without cost.
type directHost struct {
	e      *Engine
	index  int
	frames []byte
	lens   []int
	used   int
	seg    Segment
}

const directFrame = 1600

func (h *directHost) Frame(_ *Conn, _ *Tuple, n int) []byte {
	if h.used == len(h.lens) {
		return nil
	}
	return h.frames[h.used*directFrame:][:n:n]
}

func (h *directHost) Send(_ *Conn, seg []byte) {
	h.lens[h.used] = len(seg)
	h.used++
}

// direct is two engines on such a wire.
type direct struct {
	now   int64
	hosts [2]*directHost
	addrs [2][4]byte
}

func newDirect(t testing.TB, frames int, onData [2]func(*Conn, []byte) int, cfg Config) *direct {
	t.Helper()
	d := &direct{now: int64(time.Hour)}
	for i := range d.hosts {
		h := &directHost{index: i, frames: make([]byte, frames*directFrame), lens: make([]int, frames)}
		c := cfg
		c.Output, c.OnData = h, onData[i]
		c.Secret[0] = byte(i + 1)
		e, err := New(d.now, c)
		if err != nil {
			t.Fatal(err)
		}
		h.e = e
		d.hosts[i] = h
		d.addrs[i] = simAddr[i].As4()
	}
	return d
}

// carry delivers what host from has sent, as one batch. It returns how much that was.
func (d *direct) carry(from int) int {
	a, b := d.hosts[from], d.hosts[1-from]
	n := a.used
	a.used = 0
	for i := range n {
		seg := a.frames[i*directFrame:][:a.lens[i]]
		if ParseSegment(&b.seg, seg, d.addrs[from][:], d.addrs[1-from][:]) != nil || b.e.Input(d.now, &b.seg) != Taken {
			return -1
		}
	}
	return n
}

// turn is one batch each way.
func (d *direct) turn(tick int64) {
	d.now += tick
	for i := range d.hosts {
		d.hosts[i].e.Advance(d.now)
		d.hosts[i].e.Flush(d.now)
		d.carry(i)
	}
}

// connect opens n connections from host 0 to host 1.
func (d *direct) connect(t testing.TB, n int) (clients, servers []*Conn) {
	t.Helper()
	l, err := d.hosts[1].e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		local := netip.AddrPortFrom(simAddr[0], uint16(1024+i))
		if i >= 60000 { // further clients have other addresses
			local = netip.AddrPortFrom(simAddr[0], uint16(1024+i%60000))
		}
		c, err := d.hosts[0].e.Dial(d.now, MakeTuple(local, netip.AddrPortFrom(simAddr[1], 80)))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
		if i%256 == 255 || i == n-1 {
			for range 3 {
				d.turn(1e5)
			}
			for {
				c, err := l.Accept()
				if err != nil {
					break
				}
				servers = append(servers, c)
			}
		}
	}
	d.drain()
	if len(servers) != n {
		t.Fatalf("%d of %d connections accepted", len(servers), n)
	}
	return clients, servers
}

func (d *direct) drain() {
	for i := range d.hosts {
		for c, _ := d.hosts[i].e.NextReady(); c != nil; c, _ = d.hosts[i].e.NextReady() {
		}
	}
}

// BenchmarkRequestResponse is a request of 64 bytes and its answer, both ends counted,
// over a wire without cost.
func BenchmarkRequestResponse(b *testing.B) {
	for _, conns := range []int{1, 64, 512, 16384} {
		b.Run(fmt.Sprintf("conns=%d", conns), func(b *testing.B) {
			d, round := newEcho(b, conns)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += conns {
				round()
			}
			b.StopTimer()
			if err := d.hosts[1].e.check(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// newEcho connects clients, and returns a function that has each make a request, of
// at most 64 in a batch.
func newEcho(t testing.TB, conns int) (*direct, func()) {
	t.Helper()
	answered := 0
	echo := func(c *Conn, p []byte) int {
		n, _ := c.Write(p)
		return n
	}
	count := func(_ *Conn, p []byte) int {
		answered += len(p) / 64
		return len(p)
	}
	d := newDirect(t, 1024, [2]func(*Conn, []byte) int{count, echo}, Config{Memory: 4 << 30})
	clients, _ := d.connect(t, conns)
	request := make([]byte, 64)
	return d, func() {
		for lo := 0; lo < conns; lo += 64 {
			want := answered
			for _, c := range clients[lo:min(lo+64, conns)] {
				if _, err := c.Write(request); err != nil {
					t.Fatal(err)
				}
				want++
			}
			d.turn(20000)
			d.drain()
			if answered != want {
				t.Fatalf("%d answered, want %d", answered, want)
			}
		}
	}
}

// TestNoAllocations holds that a request and its answer allocate nothing.
func TestNoAllocations(t *testing.T) {
	_, round := newEcho(t, 256)
	for range 100 {
		round()
	}
	if n := testing.AllocsPerRun(50, round); n != 0 {
		t.Errorf("%v allocations in a round of 256 requests", n)
	}
}

// BenchmarkBulk is a megabyte one way.
func BenchmarkBulk(b *testing.B) {
	sink := func(_ *Conn, p []byte) int { return len(p) }
	d := newDirect(b, 1024, [2]func(*Conn, []byte) int{sink, sink}, Config{})
	clients, _ := d.connect(b, 1)
	c := clients[0]
	data := make([]byte, 64<<10)
	const size = 1 << 20
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		for left := size; left > 0; {
			n, _ := c.Write(data[:min(len(data), left)])
			left -= n
			d.turn(20000)
			d.drain()
		}
	}
}

// BenchmarkConnect is a connection's whole life: handshake, request, answer, close.
func BenchmarkConnect(b *testing.B) {
	echo := func(c *Conn, p []byte) int {
		n, _ := c.Write(p)
		return n
	}
	sink := func(_ *Conn, p []byte) int { return len(p) }
	d := newDirect(b, 1024, [2]func(*Conn, []byte) int{sink, echo}, Config{TimeWait: time.Millisecond})
	l, err := d.hosts[1].e.Listen(netip.AddrPortFrom(simAddr[1], 80), false, 128)
	if err != nil {
		b.Fatal(err)
	}
	request := make([]byte, 64)
	port := 0
	b.ReportAllocs()
	for b.Loop() {
		port = (port + 1) % 60000
		c, err := d.hosts[0].e.Dial(d.now, MakeTuple(netip.AddrPortFrom(simAddr[0], uint16(1024+port)), netip.AddrPortFrom(simAddr[1], 80)))
		if err != nil {
			b.Fatal(err)
		}
		d.turn(20000)
		d.turn(20000)
		s, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		c.Write(request)
		d.turn(20000)
		d.drain()
		c.Close()
		d.turn(20000)
		s.Close()
		d.turn(20000)
		d.drain()
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{1000, 100000, 1000000} {
		b.Run(fmt.Sprintf("find/n=%d", n), func(b *testing.B) {
			key := sipKey{1, 2}
			tuples := make([]Tuple, n+1)
			t := newFlowTable(func(ref uint32) *Tuple { return &tuples[ref] })
			for i := 1; i <= n; i++ {
				a := netip.AddrFrom4([4]byte{198, 18, byte(i >> 16), byte(i >> 8)})
				tuples[i] = MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(a, uint16(i)))
				t.insert(tuples[i].hash(&key), uint32(i))
			}
			i := uint32(0)
			for b.Loop() {
				i = (i*1664525 + 1013904223) // a full period: every entry, in no order
				k := &tuples[i%uint32(n)+1]
				if t.find(k.hash(&key), k) != i%uint32(n)+1 {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkIdleConnection tells what an established, idle connection takes of the heap,
// all in, on the side that accepted it.
func BenchmarkIdleConnection(b *testing.B) {
	const n = 50000
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		d := newDirect(b, 1024, [2]func(*Conn, []byte) int{}, Config{Memory: 8 << 30})
		d.connect(b, n)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/2/n, "B/conn")
		runtime.KeepAlive(d)
	}
}
