package load

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// echoSize is the payload of an echo request in bytes.
const echoSize = 64

// EchoTCP sends 64 bytes over a connection and wants them back.
var EchoTCP = Workload{Name: "echo tcp", Network: "tcp", open: func(c net.Conn, id uint32) session {
	return &echoStream{c: c, p: newPayload(id)}
}}

// EchoUDP sends datagrams of 64 bytes and wants each back.
var EchoUDP = Workload{Name: "echo udp", Network: "udp", open: func(c net.Conn, id uint32) session {
	return &echoDatagrams{a: asker{c: c}, p: newPayload(id)}
}}

// payload is bytes that no other session and no other request sends.
type payload struct {
	b   [echoSize]byte
	seq uint64
}

func newPayload(id uint32) payload {
	var p payload
	binary.BigEndian.PutUint32(p.b[:], id)
	return p
}

// next is the payload of the next request: the session's id, the request's
// number, and bytes that follow from both.
func (p *payload) next() []byte {
	p.seq++
	binary.BigEndian.PutUint64(p.b[4:], p.seq)
	fill(p.b[12:], uint64(binary.BigEndian.Uint32(p.b[:]))<<32^p.seq)
	return p.b[:]
}

// fill writes bytes that follow from seed (splitmix64).
func fill(b []byte, seed uint64) {
	for i := 0; i < len(b); i += 8 {
		seed += 0x9e3779b97f4a7c15
		z := seed
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], z^z>>31)
		copy(b[i:], word[:])
	}
}

type echoStream struct {
	c   net.Conn
	p   payload
	got [echoSize]byte
}

func (s *echoStream) do() (int, error) {
	want := s.p.next()
	if _, err := s.c.Write(want); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(s.c, s.got[:]); err != nil {
		return 0, err
	}
	if !bytes.Equal(s.got[:], want) {
		return 0, fmt.Errorf("wrong echo from %v: sent %x, got %x", s.c.RemoteAddr(), want, s.got)
	}
	return 0, nil
}

type echoDatagrams struct {
	a asker
	p payload
}

func (s *echoDatagrams) do() (int, error) {
	want := s.p.next()
	return s.a.ask(want, func(got []byte) (bool, error) {
		if bytes.Equal(got, want) {
			return true, nil
		}
		// An answer that came too late is still an echo of what this session sent.
		if len(got) == echoSize && bytes.Equal(got[:4], want[:4]) {
			if seq := binary.BigEndian.Uint64(got[4:]); seq < s.p.seq {
				old := newPayload(binary.BigEndian.Uint32(want))
				old.seq = seq - 1
				if bytes.Equal(got, old.next()) {
					return false, nil
				}
			}
		}
		return false, fmt.Errorf("wrong echo from %v: sent %x, got %x", s.a.c.RemoteAddr(), want, got)
	})
}
