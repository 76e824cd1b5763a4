package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
)

const (
	valueSize = 64 // bytes
	// Of getsPerSet+1 requests the first stores an item, and the others fetch it.
	getsPerSet = 9
	// keysPerSession is how many keys a session goes around.
	keysPerSession = 16
)

// MemcachedTCP stores and fetches items of 64 bytes in memcached's text
// protocol, one set to nine gets. Each session has keys of its own, so that it
// knows what a get must return.
var MemcachedTCP = Workload{Name: "memcached tcp", Network: "tcp", open: func(c net.Conn, id uint32) session {
	return &memcachedStream{c: c, r: requests{id: id}}
}}

// MemcachedUDP is MemcachedTCP over memcached's UDP framing.
var MemcachedUDP = Workload{Name: "memcached udp", Network: "udp", open: func(c net.Conn, id uint32) session {
	return &memcachedDatagrams{a: asker{c: c}, r: requests{id: id}}
}}

// requests makes a session's requests and the answers they must get.
type requests struct {
	id    uint32
	n     uint64
	value [valueSize]byte
	req   []byte
	want  []byte
}

// next makes the next request in req, after the bytes of header, and the right
// answer in want.
func (r *requests) next(header []byte) {
	turn := r.n / (getsPerSet + 1)
	store := r.n%(getsPerSet+1) == 0
	r.n++
	r.req = append(r.req[:0], header...)
	if store {
		fill(r.value[:], uint64(r.id)<<32^turn)
		r.req = append(r.req, "set "...)
		r.req = r.appendKey(r.req, turn)
		r.req = append(r.req, " 0 0 "...)
		r.req = strconv.AppendInt(r.req, valueSize, 10)
		r.req = append(r.req, "\r\n"...)
		r.req = append(r.req, r.value[:]...)
		r.req = append(r.req, "\r\n"...)
		r.want = append(r.want[:0], "STORED\r\n"...)
		return
	}
	r.req = append(r.req, "get "...)
	r.req = r.appendKey(r.req, turn)
	r.req = append(r.req, "\r\n"...)
	r.want = append(r.want[:0], "VALUE "...)
	r.want = r.appendKey(r.want, turn)
	r.want = append(r.want, " 0 "...)
	r.want = strconv.AppendInt(r.want, valueSize, 10)
	r.want = append(r.want, "\r\n"...)
	r.want = append(r.want, r.value[:]...)
	r.want = append(r.want, "\r\nEND\r\n"...)
}

func (r *requests) appendKey(b []byte, turn uint64) []byte {
	b = append(b, "load:"...)
	b = strconv.AppendUint(b, uint64(r.id), 10)
	b = append(b, ':')
	return strconv.AppendUint(b, turn%keysPerSession, 10)
}

type memcachedStream struct {
	c   net.Conn
	r   requests
	got []byte
}

func (s *memcachedStream) do() (int, error) {
	s.r.next(nil)
	if _, err := s.c.Write(s.r.req); err != nil {
		return 0, err
	}
	// A wrong answer may be shorter than the right one: compare what there is.
	if cap(s.got) < len(s.r.want) {
		s.got = make([]byte, len(s.r.want))
	}
	got := s.got[:0]
	for len(got) < len(s.r.want) {
		n, err := s.c.Read(s.got[len(got):len(s.r.want)])
		got = s.got[:len(got)+n]
		if !bytes.HasPrefix(s.r.want, got) {
			return 0, wrongAnswer(s.c, s.r.req, s.r.want, got)
		}
		if err != nil && len(got) < len(s.r.want) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	return 0, nil
}

func wrongAnswer(c net.Conn, req, want, got []byte) error {
	return fmt.Errorf("wrong answer from %v to %q: want %q, got %q", c.RemoteAddr(), req, want, got)
}

// udpHeader is the frame header of memcached's protocol.txt: request id, number
// of this datagram, number of datagrams, reserved; 16 bits each.
const udpHeader = 8

type memcachedDatagrams struct {
	a asker
	r requests
}

func (s *memcachedDatagrams) do() (int, error) {
	id := uint16(s.r.n)
	var header [udpHeader]byte
	binary.BigEndian.PutUint16(header[0:], id)
	binary.BigEndian.PutUint16(header[4:], 1)
	s.r.next(header[:])
	return s.a.ask(s.r.req, func(got []byte) (bool, error) {
		if len(got) < udpHeader {
			return false, wrongAnswer(s.a.c, s.r.req, s.r.want, got)
		}
		// Only the last few requests can still be answered late.
		if age := id - binary.BigEndian.Uint16(got); age != 0 && age < 1<<15 {
			return false, nil
		}
		if !bytes.Equal(got[:udpHeader], header[:]) || !bytes.Equal(got[udpHeader:], s.r.want) {
			return false, wrongAnswer(s.a.c, s.r.req, s.r.want, got)
		}
		return true, nil
	})
}
