package sim

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
)

// errBlock is what sockets return when they can't go on now.
var errBlock = errors.New("would block")

// socket is a connection of either TCP, that does not block.
type socket interface {
	write(b []byte) (int, error)
	read(b []byte) (int, error)
	closeWrite() error
	close()
	// onReady has f called when reading or writing may have become possible.
	onReady(f func())
}

// app writes a stream of known bytes, and reads the other's to its end.
type app struct {
	s      socket
	seed   uint32 // of what it writes; 1 more is what it reads
	rng    *rand.Rand
	toSend int
	sent   int
	got    int
	want   int // bytes to be read
	most   int // a call reads or writes at most so many
	shut   bool
	eof    bool
	closed bool
	err    error
	buf    []byte
	onDone func()
}

// newApp has an application of its own on a socket. Its peer's seed is seed^1.
func newApp(s socket, seed uint32, send, want, most int) *app {
	a := &app{s: s, seed: seed, toSend: send, want: want, most: most, buf: make([]byte, most), rng: rand.New(rand.NewPCG(uint64(seed), 3))}
	s.onReady(a.work)
	return a
}

// streamByte is byte i of a stream.
func streamByte(seed uint32, i int) byte {
	x := uint32(i)*2654435761 + seed*40503
	return byte(x>>24) ^ byte(x>>11)
}

func (a *app) work() {
	if a.closed {
		return
	}
	// Who has nothing to send closes its half after it has read the other's: a
	// netstack that has sent its FIN reports no SACK blocks any more.
	if a.toSend > 0 {
		a.writing()
	}
	a.reading()
	if a.eof {
		a.writing()
	}
	if a.err == nil && a.eof && a.shut {
		a.finish(nil)
	}
}

func (a *app) writing() {
	for !a.shut && !a.closed {
		b := a.buf[:min(a.toSend-a.sent, len(a.buf))]
		for i := range b {
			b[i] = streamByte(a.seed, a.sent+i)
		}
		n, err := a.s.write(b)
		a.sent += n
		switch {
		case err == errBlock:
			return
		case err != nil:
			a.finish(fmt.Errorf("write after %d of %d bytes: %w", a.sent, a.toSend, err))
			return
		case a.sent == a.toSend:
			if err := a.s.closeWrite(); err != nil {
				a.finish(fmt.Errorf("close after writing: %w", err))
				return
			}
			a.shut = true
		}
	}
}

func (a *app) reading() {
	for !a.eof && !a.closed {
		n, err := a.s.read(a.buf)
		for i, v := range a.buf[:n] {
			if want := streamByte(a.seed^1, a.got+i); v != want {
				a.finish(fmt.Errorf("byte %d is %#x, want %#x", a.got+i, v, want))
				return
			}
		}
		a.got += n
		switch {
		case err == io.EOF:
			a.eof = true
			if a.got != a.want {
				a.finish(fmt.Errorf("the stream ended after %d of %d bytes", a.got, a.want))
			}
		case err == errBlock:
			return
		case err != nil:
			a.finish(fmt.Errorf("read after %d of %d bytes: %w", a.got, a.want, err))
		}
	}
}

func (a *app) finish(err error) {
	a.err, a.closed = err, true
	a.s.close()
	if a.onDone != nil {
		a.onDone()
	}
}
