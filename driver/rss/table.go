package rss

import (
	"fmt"
	"net/netip"
)

// DefaultTableSize is the number of entries of the indirection table of many
// NICs.
const DefaultTableSize = 128

// Table is an indirection table: entry hash & (len-1) is the queue. Its length
// is a power of two.
type Table []uint16

// NewTable returns a table of size entries that spreads hashes evenly over
// queues 0 to queues-1, in turn.
func NewTable(size, queues int) (Table, error) {
	if queues < 1 || queues > 1<<16 {
		return nil, fmt.Errorf("make indirection table: %d queues, want 1 to 65536", queues)
	}
	t := make(Table, max(size, 0))
	for i := range t {
		t[i] = uint16(i % queues)
	}
	if err := t.Validate(queues); err != nil {
		return nil, fmt.Errorf("make indirection table: %w", err)
	}
	return t, nil
}

// Validate reports why t can't be the table of a NIC with so many queues, or nil.
func (t Table) Validate(queues int) error {
	if len(t) == 0 || len(t)&(len(t)-1) != 0 {
		return fmt.Errorf("table has %d entries, want a power of two", len(t))
	}
	for i, q := range t {
		if int(q) >= queues {
			return fmt.Errorf("table entry %d names queue %d of %d", i, q, queues)
		}
	}
	return nil
}

// QueueOf returns the queue of a packet with this hash. An empty table has one
// queue.
func (t Table) QueueOf(hash uint32) int {
	if len(t) == 0 {
		return 0
	}
	return int(t[hash&uint32(len(t)-1)])
}

// Steering is what a NIC knows to pick a packet's queue: the hash under its key,
// and its indirection table. It does not change after New and may be used from
// many goroutines.
type Steering struct {
	hasher *Hasher
	table  Table
}

// New returns the steering of a NIC with this key and indirection table, both of
// which it copies. See driver.RSS.
func New(key []byte, table []uint16) (*Steering, error) {
	h, err := NewHasher(key)
	if err != nil {
		return nil, err
	}
	t := append(Table(nil), table...)
	if err := t.Validate(1 << 16); err != nil {
		return nil, fmt.Errorf("make RSS steering: %w", err)
	}
	return &Steering{hasher: h, table: t}, nil
}

// Hasher returns the hash under the steering's key.
func (s *Steering) Hasher() *Hasher { return s.hasher }

// QueueOf returns the queue of a packet with this hash.
func (s *Steering) QueueOf(hash uint32) int { return s.table.QueueOf(hash) }

// QueueOfFlow returns the queue at which TCP and UDP packets from src to dst
// arrive, as the receiving NIC sees them: for the answers to a connection, src
// is the remote end. Addresses are as Hasher.HashAddrs takes them; those of two
// families give queue 0.
func (s *Steering) QueueOfFlow(src, dst netip.AddrPort) int {
	hash, ok := s.hasher.HashAddrPorts(src, dst)
	if !ok {
		return 0
	}
	return s.table.QueueOf(hash)
}

// QueueOfFrame returns the queue of an Ethernet frame, as Hasher.HashFrame
// classifies it. What has no hash goes to queue 0.
func (s *Steering) QueueOfFrame(frame []byte) int {
	hash, class := s.hasher.HashFrame(frame)
	if class == NotIP {
		return 0
	}
	return s.table.QueueOf(hash)
}
