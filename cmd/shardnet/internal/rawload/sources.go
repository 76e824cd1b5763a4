package rawload

import (
	"net/netip"
)

// maxSources bounds the client addresses.
const maxSources = 4096

// sources finds the index of a client address: a flat hash table at most half
// full, probed in line.
type sources struct {
	addrs [][]byte
	table []int16 // index + 1
}

func (s *sources) init(addrs []netip.Addr) {
	size := 16
	for size < 2*len(addrs) {
		size *= 2
	}
	s.table = make([]int16, size)
	for i, a := range addrs {
		b := a.AsSlice()
		s.addrs = append(s.addrs, b)
		at := s.hash(b)
		for s.table[at] != 0 {
			at = (at + 1) & (size - 1)
		}
		s.table[at] = int16(i + 1)
	}
}

func (s *sources) hash(b []byte) int {
	return int(be.Uint32(b[len(b)-4:])*0x9e3779b1>>12) & (len(s.table) - 1)
}

// find returns the index of b, or -1.
func (s *sources) find(b []byte) int {
	for at := s.hash(b); s.table[at] != 0; at = (at + 1) & (len(s.table) - 1) {
		if i := int(s.table[at]) - 1; string(s.addrs[i]) == string(b) {
			return i
		}
	}
	return -1
}

// The source ports in use: all but the well-known ones and a few more.
const (
	firstPort = 2048
	portCount = 1<<16 - firstPort
)

// ports gives out source address and port pairs, each as late after its last use
// as can be, and finds the user of a pair.
type ports struct {
	users  [][]int32 // by source, by port: user + 1; nil until one is in use
	cursor uint64    // counts pairs given out
	free   int
	salt   uint32
}

func (t *ports) init(n int, start uint64) {
	t.users = make([][]int32, n)
	t.cursor = start % uint64(n*portCount)
	t.free = n * portCount
	t.salt = uint32(start >> 32)
}

// secret is a number that a pair has to itself, nearly.
func (t *ports) secret(src int, port uint16) uint32 {
	h := (uint32(src)<<16 | uint32(port)) ^ t.salt
	h = (h ^ h>>16) * 0x85ebca6b
	return h ^ h>>13
}

// size is how many pairs there are.
func (t *ports) size() int { return len(t.users) * portCount }

// take gives the pair out that was not in use for longest. It is not ok when all
// are in use.
func (t *ports) take(user int) (src int, port uint16, ok bool) {
	if t.free == 0 {
		return 0, 0, false
	}
	for {
		// Addresses take turns, so that ports of one are reused late.
		src = int(t.cursor % uint64(len(t.users)))
		port = firstPort + uint16(t.cursor/uint64(len(t.users))%portCount)
		t.cursor++
		if t.users[src] == nil {
			t.users[src] = make([]int32, portCount)
		}
		if u := &t.users[src][port-firstPort]; *u == 0 {
			*u = int32(user + 1)
			t.free--
			return src, port, true
		}
	}
}

// give takes a pair back.
func (t *ports) give(src int, port uint16) {
	if u := &t.users[src][port-firstPort]; *u != 0 {
		*u = 0
		t.free++
	}
}

// find returns the user of a pair, or -1.
func (t *ports) find(src int, port uint16) int {
	if port < firstPort || t.users[src] == nil {
		return -1
	}
	return int(t.users[src][port-firstPort]) - 1
}
