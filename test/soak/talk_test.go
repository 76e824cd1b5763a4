package soak

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"

	"shardnet/socketapi"
)

// kind is what becomes of a connection. The client picks it and says so first.
type kind uint8

const (
	transfer    kind = iota // both send at once, and close what they write
	requests                // the client asks, the server answers, again and again
	serverFirst             // the server sends and half-closes, then the client sends
	deadlines               // reads that time out before the answer, and then get it
	idle                    // nothing is said

	// After these either end may see a reset.
	serverResets
	clientResets
	clientLeaves // closes without reading what was sent
	clientHangs  // closes while a read of its own is under way
	bothReset

	numKinds
)

// rude says whether the conversation ends otherwise than in agreement.
func (k kind) rude() bool { return k >= serverResets }

// patience bounds a conversation: one that takes longer hangs. A reset may get lost
// on the way, and is then called for by keep-alive, a few seconds later.
const patience = 60 * time.Second

// header opens a conversation.
type header struct {
	kind     kind
	up, down uint32 // bytes the client sends, and the server
	seed     uint32
}

const headerLen = 13

func (h header) marshal() []byte {
	b := append(make([]byte, 0, headerLen), byte(h.kind))
	b = binary.BigEndian.AppendUint32(b, h.up)
	b = binary.BigEndian.AppendUint32(b, h.down)
	return binary.BigEndian.AppendUint32(b, h.seed)
}

func parseHeader(b []byte) header {
	return header{kind(b[0]), binary.BigEndian.Uint32(b[1:]), binary.BigEndian.Uint32(b[5:]), binary.BigEndian.Uint32(b[9:])}
}

// noise is what all streams are made of: stream seed begins at byte seed of it. Its
// length is prime, so that what is displaced by a power of two shows.
var noise = func() []byte {
	b := make([]byte, 65521)
	rand.NewChaCha8([32]byte{5}).Read(b)
	return b
}()

// stream is a place in a stream.
type stream struct{ at int }

func newStream(seed uint32) *stream { return &stream{int(seed) % len(noise)} }

// next is the following bytes of the stream, n at most and one at least.
func (s *stream) next(n int) []byte {
	b := noise[s.at:min(s.at+n, len(noise))]
	s.at = (s.at + len(b)) % len(noise)
	return b
}

// check compares b with the following bytes of the stream.
func (s *stream) check(b []byte) bool {
	for len(b) > 0 {
		want := s.next(len(b))
		if !bytes.Equal(b[:len(want)], want) {
			return false
		}
		b = b[len(want):]
	}
	return true
}

// errWrong is data that nobody sent: never to be excused.
var errWrong = errors.New("bytes that were not sent")

// write sends n bytes of stream seed, in pieces of any size.
func write(c net.Conn, seed uint32, n int) error {
	s := newStream(seed)
	for n > 0 {
		m, err := c.Write(s.next(min(n, 1+rand.IntN(30_000))))
		if err != nil {
			return err
		}
		n -= m
	}
	return nil
}

// read wants n bytes of stream seed.
func read(c net.Conn, seed uint32, n int) error {
	s, buf := newStream(seed), make([]byte, min(n, 1+rand.IntN(30_000)))
	for got := 0; got < n; {
		m, err := c.Read(buf[:min(len(buf), n-got)])
		if !s.check(buf[:m]) {
			return fmt.Errorf("after %d of %d: %w", got, n, errWrong)
		}
		if got += m; err != nil {
			return fmt.Errorf("after %d of %d bytes: %w", got, n, err)
		}
	}
	return nil
}

// readEnd wants the end of the stream.
func readEnd(c net.Conn) error {
	switch n, err := c.Read(make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("beyond the end: %w", errWrong)
	case err == nil:
		return errors.New("read nothing, and no error")
	case err != io.EOF:
		return fmt.Errorf("at the end: %w", err)
	}
	return nil
}

// both runs f and g at once.
func both(f, g func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	err := g()
	return errors.Join(err, <-done)
}

func reset(c *socketapi.Conn) error {
	return errors.Join(c.SetLinger(0), c.Close())
}

// talk is the client's part of a conversation. It closes c.
func talk(c *socketapi.Conn, h header) error {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write(h.marshal()); err != nil {
		return err
	}
	up, down := int(h.up), int(h.down)
	switch h.kind {
	case transfer:
		return both(func() error {
			return errors.Join(write(c, h.seed, up), c.CloseWrite())
		}, func() error {
			return errors.Join(read(c, h.seed+1, down), readEnd(c))
		})
	case requests:
		for i := range uint32(1 + h.seed%20) {
			n := 1 + (up+int(i))%3000
			if err := write(c, h.seed+i, n); err != nil {
				return err
			}
			if err := read(c, h.seed+i, n); err != nil {
				return err
			}
		}
	case serverFirst:
		return errors.Join(read(c, h.seed+1, down), readEnd(c), write(c, h.seed, up))
	case deadlines:
		c.SetReadDeadline(time.Now().Add(time.Duration(h.seed%3000) * time.Microsecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("read to a deadline: %w", err)
		}
		c.SetReadDeadline(time.Now().Add(patience))
		if err := write(c, h.seed, 1); err != nil {
			return err
		}
		return read(c, h.seed+1, 100)
	case idle:
		time.Sleep(time.Duration(h.seed%50) * time.Millisecond) // what this is about
	case serverResets:
		if err := write(c, h.seed, up); err != nil {
			return err
		}
		return read(c, h.seed+1, 1)
	case clientResets, bothReset:
		return errors.Join(write(c, h.seed, up), reset(c))
	case clientLeaves:
		return read(c, h.seed+1, min(down, 1000))
	case clientHangs:
		return both(func() error {
			time.Sleep(time.Duration(h.seed%3000) * time.Microsecond) // any time
			return c.Close()
		}, func() error {
			if err := read(c, h.seed+1, down+1); !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
	}
	return nil
}

// answer is the server's part. It closes c.
func answer(c *socketapi.Conn) (h header, err error) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	var b [headerLen]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return header{kind: numKinds}, err // rude, for all that is known
	}
	h = parseHeader(b[:])
	up, down := int(h.up), int(h.down)
	switch h.kind {
	case transfer:
		return h, both(func() error {
			return errors.Join(write(c, h.seed+1, down), c.CloseWrite())
		}, func() error {
			return errors.Join(read(c, h.seed, up), readEnd(c))
		})
	case requests:
		_, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
		return h, err
	case serverFirst:
		return h, errors.Join(write(c, h.seed+1, down), c.CloseWrite(), read(c, h.seed, up), readEnd(c))
	case deadlines:
		return h, errors.Join(read(c, h.seed, 1), write(c, h.seed+1, 100))
	case idle:
		return h, readEnd(c)
	case serverResets, bothReset:
		err = read(c, h.seed, int(h.seed)%(up+1))
		return h, errors.Join(err, reset(c))
	case clientResets:
		return h, errors.Join(read(c, h.seed, up), readEnd(c))
	case clientLeaves, clientHangs:
		return h, write(c, h.seed+1, down)
	}
	return h, fmt.Errorf("kind %d: %w", h.kind, errWrong)
}
