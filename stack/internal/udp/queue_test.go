package udp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"shardnet/stack/internal/netstack"
)

var (
	queueFrom4 = netip.MustParseAddr("198.18.0.1")
	queueTo4   = netip.MustParseAddr("198.18.0.2")
	queueFrom6 = netip.MustParseAddr("2001:db8::1")
	queueTo6   = netip.MustParseAddr("2001:db8::2")
)

// queueModel drives a queue and a slice of what must be in it.
type queueModel struct {
	t    testing.TB
	q    queue
	want []queuedDatagram
	n    int // pushed so far
}

type queuedDatagram struct {
	from netip.AddrPort
	to   netip.Addr
	data []byte
}

// push pushes size bytes, and returns whether the queue took them.
func (m *queueModel) push(size int) bool {
	m.n++
	d := queuedDatagram{from: netip.AddrPortFrom(queueFrom4, uint16(m.n)), to: queueTo4, data: make([]byte, size)}
	if m.n%2 == 0 {
		d.from, d.to = netip.AddrPortFrom(queueFrom6, uint16(m.n)), queueTo6
	}
	for i := range d.data {
		d.data[i] = byte(m.n + i)
	}
	ok := m.q.push(d.from.Addr(), d.to, d.from.Port(), d.data)
	if ok {
		m.want = append(m.want, d)
	} else if len(m.want) == 0 {
		m.t.Fatalf("an empty queue refused %d bytes", size)
	}
	m.check()
	return ok
}

// pop pops into room for size bytes.
func (m *queueModel) pop(size int) {
	buf := make([]byte, size)
	n, from, to, ok := m.q.pop(buf)
	if ok != (len(m.want) > 0) {
		m.t.Fatalf("pop says %v with %d datagrams queued", ok, len(m.want))
	}
	if ok {
		d := m.want[0]
		m.want = m.want[1:]
		if want := d.data[:min(len(d.data), size)]; !bytes.Equal(buf[:n], want) || from != d.from || to != d.to {
			m.t.Fatalf("popped %d bytes from %v to %v, want %d from %v to %v", n, from, to, len(want), d.from, d.to)
		}
	}
	m.check()
}

func (m *queueModel) check() {
	q := &m.q
	if q.empty() != (len(m.want) == 0) || q.count != len(m.want) {
		m.t.Fatalf("%d datagrams counted, %d queued", q.count, len(m.want))
	}
	records := 0
	for _, d := range m.want {
		records += record(len(d.data))
	}
	if len(q.buf)&(len(q.buf)-1) != 0 || q.used > len(q.buf) || q.used < records || q.count > 1 && records > q.limit {
		m.t.Fatalf("%d of %d bytes used, limit %d", q.used, len(q.buf), q.limit)
	}
}

func record(size int) int { return (datagramHeader + size + 7) &^ 7 }

func TestDatagramQueue(t *testing.T) {
	const size = 1000 // 3 records to 4 KiB, and a rest too short for another
	for _, c := range []struct {
		name  string
		limit int
		run   func(t *testing.T, m *queueModel)
	}{
		{"wraps with a skip record", minQueue, func(t *testing.T, m *queueModel) {
			for range 3 {
				m.push(size)
			}
			for range 20 {
				m.pop(size)
				if !m.push(size) {
					t.Fatal("no room where one was taken out")
				}
			}
			if len(m.q.buf) != minQueue {
				t.Errorf("grew to %d bytes", len(m.q.buf))
			}
		}},
		{"record ends where buf does", minQueue, func(t *testing.T, m *queueModel) {
			m.push(minQueue/2 - datagramHeader)
			m.push(minQueue/2 - datagramHeader)
			if m.push(0) {
				t.Error("a full queue took a datagram")
			}
			m.pop(1 << 16)
			m.push(0)
			m.push(1)
		}},
		{"grows in mid-wrap", 64 << 10, func(t *testing.T, m *queueModel) {
			for range 3 {
				m.push(size)
			}
			m.pop(size)
			m.pop(size)
			for range 30 {
				if !m.push(size) {
					t.Fatal("did not grow below its limit")
				}
			}
		}},
		{"limit", 16 << 10, func(t *testing.T, m *queueModel) {
			n := 0
			for m.push(size) {
				n++
			}
			if want := 16 << 10 / record(size); n != want && n != want-1 {
				t.Errorf("took %d datagrams, want %d", n, want)
			}
		}},
		{"one alone always fits, more do not", minQueue, func(t *testing.T, m *queueModel) {
			if !m.push(65507) || m.push(0) {
				t.Error("want the first datagram taken and the second refused")
			}
			m.pop(1 << 16)
			n := 0
			for m.push(size) {
				n++
			}
			if most := minQueue / record(size); n > most {
				t.Errorf("after it %d datagrams were taken, limit is %d", n, most)
			}
		}},
		{"limit lowered below what is queued", 16 << 10, func(t *testing.T, m *queueModel) {
			m.push(5000)
			m.q.setLimit(1)
			if m.push(5000) {
				t.Error("took a datagram beyond the new limit")
			}
			m.pop(1 << 16)
			m.push(5000)
		}},
		{"cut to the reader's buffer", minQueue, func(t *testing.T, m *queueModel) {
			m.push(100)
			m.push(0)
			m.push(7)
			m.pop(10)
			m.pop(0)
			m.pop(7)
			m.pop(7)
		}},
		{"released", minQueue, func(t *testing.T, m *queueModel) {
			m.push(100)
			m.q.release()
			m.want = nil
			m.pop(100)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &queueModel{t: t}
			m.q.setLimit(c.limit)
			c.run(t, m)
			for len(m.want) > 0 {
				m.pop(1 << 16)
			}
			m.pop(10)
		})
	}
}

func TestDatagramQueueAllocates(t *testing.T) {
	var q queue
	q.setLimit(64 << 10)
	payload, buf := make([]byte, 64), make([]byte, 2048)
	if n := testing.AllocsPerRun(1000, func() {
		for range 20 {
			q.push(queueFrom4, queueTo4, 1, payload)
		}
		for range 20 {
			q.pop(buf)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzDatagramQueue runs pushes, pops and changes of the limit against the model.
func FuzzDatagramQueue(f *testing.F) {
	f.Add(uint64(1), uint16(200))
	f.Add(uint64(2), uint16(2000))
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16) {
		rng := rand.New(rand.NewPCG(seed, 7))
		m := &queueModel{t: t}
		m.q.setLimit(minQueue << rng.IntN(4))
		sizes := []int{64, 1472, 9000}
		for range min(steps, 4000) {
			switch r := rng.IntN(100); {
			case r < 52:
				m.push(rng.IntN(sizes[rng.IntN(len(sizes))]))
			case r < 53:
				m.push(65507)
			case r < 54:
				m.q.setLimit(minQueue << rng.IntN(6))
				m.q.limit = max(m.q.limit, m.q.used) // for check: what is queued stays
			default:
				m.pop(1 << 16)
			}
		}
		for len(m.want) > 0 {
			m.pop(1 << 16)
		}
	})
}

func BenchmarkDatagramQueue(b *testing.B) {
	for _, size := range []int{64, 1472} {
		b.Run(fmt.Sprintf("size=%d", size), func(b *testing.B) {
			var q queue
			q.setLimit(netstack.UDPBufferDefault)
			payload, buf := make([]byte, size), make([]byte, 2048)
			b.ReportAllocs()
			for b.Loop() {
				q.push(queueFrom4, queueTo4, 1, payload)
				q.pop(buf)
			}
		})
	}
}
