package memnic_test

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/driver/rss"
)

func newPair(t testing.TB, cfg *memnic.Config) (a, b *memnic.Device) {
	t.Helper()
	a, b, err := memnic.NewPair(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []*memnic.Device{a, b} {
			if err := d.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return a, b
}

// udp writes a UDP packet of size bytes, without checksums, whose source port
// tells flows apart and whose payload holds seq.
func udp(b []byte, flow uint16, seq uint64, size int) []byte {
	b = b[:size]
	clear(b)
	copy(b, "\x02\x00\x00\x00\x00\x0b\x02\x00\x00\x00\x00\x0a\x08\x00\x45\x00")
	binary.BigEndian.PutUint16(b[16:], uint16(size-14))
	copy(b[22:], "\x40\x11\x00\x00\xc6\x12\x00\x01\xc6\x12\x00\x02")
	binary.BigEndian.PutUint16(b[34:], flow)
	binary.BigEndian.PutUint16(b[36:], 7)
	binary.BigEndian.PutUint16(b[38:], uint16(size-34))
	binary.BigEndian.PutUint64(b[42:], seq)
	return b
}

// send transmits one frame of what fill makes.
func send(t testing.TB, q driver.Queue, fill func(b []byte) []byte) {
	t.Helper()
	fs := make([]driver.Frame, 1)
	if q.Alloc(fs) != 1 {
		t.Fatal("no frame")
	}
	fs[0].Data = fill(fs[0].Data)
	if n, err := q.Transmit(fs); n != 1 || err != nil {
		t.Fatalf("transmit: %d, %v", n, err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestNewPairRejects(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  memnic.Config
		want string
	}{
		{"tiny MTU", memnic.Config{MTU: 67}, "MTU 67"},
		{"huge MTU", memnic.Config{MTU: 65536}, "MTU 65536"},
		{"queues", memnic.Config{A: memnic.End{Queues: -1}}, "end A: -1 queues"},
		{"RX ring", memnic.Config{A: memnic.End{RxRing: 100}}, "RX ring of 100"},
		{"TX ring", memnic.Config{B: memnic.End{TxRing: -8}}, "end B: TX ring of -8"},
		{"frames", memnic.Config{B: memnic.End{RxRing: 64, Frames: 64}}, "64 frames"},
		{"MAC", memnic.Config{A: memnic.End{MAC: net.HardwareAddr{1, 2}}}, "MAC"},
		{"key", memnic.Config{A: memnic.End{Key: make([]byte, 16)}}, "key has 16 bytes"},
		{"table size", memnic.Config{A: memnic.End{Table: make([]uint16, 3)}}, "3 entries"},
		{"table entry", memnic.Config{A: memnic.End{Queues: 2, Table: []uint16{0, 2}}}, "queue 2 of 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := memnic.NewPair(&c.cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one about %q", err, c.want)
			}
		})
	}
}

func TestInfoTellsTheConfig(t *testing.T) {
	key := rss.SymmetricKey()
	table := []uint16{2, 1, 0, 2}
	a, b := newPair(t, &memnic.Config{
		MTU: 9000,
		A:   memnic.End{Name: "left", MAC: net.HardwareAddr{2, 1, 2, 3, 4, 5}, Queues: 3, RxRing: 16, TxRing: 8, Frames: 99, Key: key, Table: table},
	})
	key[0], table[0] = 0, 0 // the device has copies
	i := a.Info()
	if i.Driver != "mem" || i.Interface != "left" || i.Mode != "memory" || i.MTU != 9000 || i.Queues != 3 ||
		i.RxRing != 16 || i.TxRing != 8 || i.MAC.String() != "02:01:02:03:04:05" || i.FrameSize < 9014 {
		t.Errorf("info: %+v", i)
	}
	if string(i.RSS.Key) != string(rss.SymmetricKey()) || i.RSS.Table[0] != 2 {
		t.Errorf("RSS: %+v", i.RSS)
	}
	if n := a.Queue(0).Stats().Frames; n != 99 {
		t.Errorf("%d frames, want 99", n)
	}
	if i.Offloads != (driver.Offloads{}) {
		t.Errorf("offloads: %+v, want none", i.Offloads)
	}
	if i := b.Info(); i.Queues != 1 || i.RxRing != memnic.DefaultRxRing || i.TxRing != memnic.DefaultTxRing || i.MTU != 9000 {
		t.Errorf("the other end: %+v", i)
	}
}

func TestLongestFrames(t *testing.T) {
	a, b := newPair(t, &memnic.Config{MTU: 9000})
	for _, c := range []struct {
		name    string
		size    int
		tag     bool
		arrives bool
	}{
		{"MTU", 9014, false, true},
		{"over MTU", 9015, false, false},
		{"MTU with VLAN tag", 9018, true, true},
		{"over MTU with VLAN tag", 9019, true, false},
		{"shortest", 14, false, true},
		{"runt", 13, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := a.Queue(0).Stats().TxErrors
			send(t, a.Queue(0), func(b []byte) []byte {
				b = b[:c.size]
				if c.tag {
					b[12], b[13] = 0x81, 0x00
				}
				return b
			})
			fs := make([]driver.Frame, 2)
			n, err := b.Queue(0).Receive(fs)
			if err != nil || (n == 1) != c.arrives || n == 1 && len(fs[0].Data) != c.size {
				t.Errorf("%d arrived (%v), want %v", n, err, c.arrives)
			}
			b.Queue(0).Release(fs[:n])
			if errs := a.Queue(0).Stats().TxErrors - before; (errs == 0) != c.arrives {
				t.Errorf("%d counted in TxErrors", errs)
			}
		})
	}
}

func TestFrameIsReadOnFlush(t *testing.T) {
	a, b := newPair(t, nil)
	q, fs := a.Queue(0), make([]driver.Frame, 1)
	q.Alloc(fs)
	data := udp(fs[0].Data, 1, 1, 60)
	fs[0].Data = data
	if n, err := q.Transmit(fs); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, _ := b.Queue(0).Receive(fs); n != 0 {
		t.Fatal("a frame left before Flush")
	}
	data[59] = 0xee // what a careless user does; as with DMA, it is what leaves
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _ := b.Queue(0).Receive(fs); n != 1 || fs[0].Data[59] != 0xee {
		t.Errorf("%d arrived: %x", n, fs[0].Data)
	}
	b.Queue(0).Release(fs)
}

func TestFramesNotLentAreRefused(t *testing.T) {
	a, b := newPair(t, &memnic.Config{A: memnic.End{RxRing: 4, TxRing: 4, Frames: 8}})
	q, fs := a.Queue(0), make([]driver.Frame, 8)
	n := q.Alloc(fs)
	q.Release(fs[:n])
	q.Release(fs[:n])
	q.Release([]driver.Frame{{Handle: 1 << 60}, {Handle: ^uint64(0)}})
	for i := range fs[:n] {
		fs[i].Data = udp(fs[i].Data, 1, 1, 60)
	}
	if took, err := q.Transmit(fs[:n]); took != n || err != nil {
		t.Errorf("transmit of released frames: %d, %v", took, err)
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	if st := q.Stats(); st.TxErrors != uint64(n) || st.TxPackets != 0 || st.Lent != 0 {
		t.Errorf("stats: %+v", st)
	}
	if again := q.Alloc(make([]driver.Frame, 8)); again != n {
		t.Errorf("%d frames after the abuse, %d before", again, n)
	}
	if n, _ := b.Queue(0).Receive(fs); n != 0 {
		t.Errorf("%d arrived", n)
	}
}

func TestLinkDownKeepsFrames(t *testing.T) {
	a, b := newPair(t, &memnic.Config{A: memnic.End{TxRing: 4}})
	b.SetLinkUp(false)
	if a.LinkUp() {
		t.Fatal("the link is up at the other end")
	}
	q, fs := a.Queue(0), make([]driver.Frame, 6)
	q.Alloc(fs)
	for i := range fs {
		fs[i].Data = udp(fs[i].Data, 1, uint64(i), 60)
	}
	if n, err := q.Transmit(fs); n != 4 || err != nil {
		t.Fatalf("transmit: %d, %v", n, err)
	}
	if err := q.Flush(); !errors.Is(err, driver.ErrLinkDown) {
		t.Errorf("flush: %v, want ErrLinkDown", err)
	}
	if n, err := q.Transmit(fs[4:]); n != 0 || err != nil {
		t.Errorf("transmit into the full ring: %d, %v", n, err)
	}
	// The link's return wakes the owner; Wait or Flush then sends.
	var up atomic.Bool
	go func() { up.Store(true); a.SetLinkUp(true) }()
	for !up.Load() || !a.LinkUp() {
		if err := q.Wait(-1); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Flush(); err != nil {
		t.Fatal(err)
	}
	got := make([]driver.Frame, 6)
	if n, err := b.Queue(0).Receive(got); n != 4 || err != nil {
		t.Errorf("%d arrived: %v", n, err)
	}
}

func TestPeerClosed(t *testing.T) {
	a, b := newPair(t, nil)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(3 * memnic.DefaultRxRing) {
		send(t, a.Queue(0), func(b []byte) []byte { return udp(b, 1, seq, 60) })
	}
	if st := b.Queue(0).Stats(); st.RxDropped != 3*memnic.DefaultRxRing || st.RxPackets != 0 {
		t.Errorf("the closed end: %+v", st)
	}
}

// TestManySenders has every queue of both ends send to every queue of the other at
// once, each owner asleep when it has nothing: no packet is lost that is not
// counted, none is out of order within its flow, and every goroutine ends.
func TestManySenders(t *testing.T) {
	const queues, packets = 4, 20_000
	end := memnic.End{Queues: queues, RxRing: 256, TxRing: 64}
	a, b := newPair(t, &memnic.Config{A: end, B: end})
	var wg sync.WaitGroup
	var received [2]atomic.Uint64
	var over atomic.Bool
	work := func(side int, d *memnic.Device, queue int) {
		q := d.Queue(queue)
		in, out := make([]driver.Frame, 64), make([]driver.Frame, 32)
		var last [queues * 64]uint64
		for seq := uint64(1); !over.Load(); {
			n, err := q.Receive(in)
			if err != nil {
				t.Errorf("receive: %v", err)
				return
			}
			for _, f := range in[:n] {
				flow, seq := binary.BigEndian.Uint16(f.Data[34:]), binary.BigEndian.Uint64(f.Data[42:])
				if seq <= last[flow] {
					t.Errorf("packet %d of flow %d after %d", seq, flow, last[flow])
					return
				}
				last[flow] = seq
			}
			q.Release(in[:n])
			received[side].Add(uint64(n))
			k := 0
			if seq <= packets {
				k = q.Alloc(out)
				for i := range out[:k] {
					out[i].Data = udp(out[i].Data, uint16(queue*64)+uint16(seq%64), seq, 60)
					seq++
				}
				took, err := q.Transmit(out[:k])
				if took != k || err != nil {
					t.Errorf("transmit: %d of %d, %v", took, k, err)
					return
				}
				if err := q.Flush(); err != nil {
					t.Errorf("flush: %v", err)
					return
				}
			}
			if n == 0 && k == 0 {
				if err := q.Wait(-1); err != nil {
					t.Errorf("wait: %v", err)
					return
				}
			}
		}
	}
	for side, d := range []*memnic.Device{a, b} {
		for queue := range queues {
			wg.Go(func() { work(side, d, queue) })
		}
	}
	total := func(d *memnic.Device) (s driver.Stats) {
		for i := range queues {
			s.Add(d.Queue(i).Stats())
		}
		return s
	}
	const want = queues * packets
	done := func() bool {
		sa, sb := total(a), total(b)
		return sa.TxPackets >= want && sb.TxPackets >= want &&
			sa.RxPackets+sa.RxDropped == sb.TxPackets && sb.RxPackets+sb.RxDropped == sa.TxPackets &&
			received[0].Load() == sa.RxPackets && received[1].Load() == sb.RxPackets
	}
	for end := time.Now().Add(30 * time.Second); !done(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Errorf("packets are missing: A %+v, B %+v", total(a), total(b))
			break
		}
	}
	over.Store(true)
	for i := range queues {
		a.Queue(i).Wake()
		b.Queue(i).Wake()
	}
	wg.Wait()
	for i := range queues {
		if st := b.Queue(i).Stats(); st.RxPackets == 0 {
			t.Errorf("B: nothing came in on queue %d", i)
		}
	}
}

func TestKeyAndTableRule(t *testing.T) {
	key := rss.SymmetricKey()
	table := []uint16{3, 1, 0, 2, 3, 3, 1, 0}
	a, b := newPair(t, &memnic.Config{B: memnic.End{Queues: 4, Key: key, Table: table}})
	want := make([]int, 4)
	fs := make([]driver.Frame, 512)
	for flow := range uint16(512) {
		frame := udp(make([]byte, 60), flow, 1, 60)
		send(t, a.Queue(0), func(b []byte) []byte { return append(b, frame...) })
		want[table[rss.Toeplitz(key, append(frame[26:34:34], frame[34:38]...))%8]]++
	}
	for i := range want {
		n, err := b.Queue(i).Receive(fs)
		if n != want[i] || n == 0 || err != nil {
			t.Errorf("queue %d: %d packets (%v), want %d", i, n, err, want[i])
		}
		b.Queue(i).Release(fs[:n])
	}
	// What has no addresses goes to queue 0.
	send(t, a.Queue(0), func(b []byte) []byte { return append(b, "toBBBBfromAA\x08\x06arp"...) })
	if n, _ := b.Queue(0).Receive(fs); n != 1 {
		t.Errorf("%d frames that are not IP on queue 0, want 1", n)
	}
}
