package memcached

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"shardnet/apps/internal/serve"
)

// ErrServerClosed is what ServeTCP and ServeUDP return after Shutdown or Close,
// or when their listener was closed elsewhere.
var ErrServerClosed = serve.ErrClosed

// DefaultVersion is what a server calls itself: the memcached whose text
// protocol it speaks, and its own name.
const DefaultVersion = "1.6.18-shardnet"

// Config is what a server may be told; nil is the default.
type Config struct {
	// Version is the answer to the version command.
	Version string

	// MaxConnections bounds the TCP connections at one time; one more is told
	// "ERROR Too many open connections" and closed. Zero is no bound.
	MaxConnections int

	// MaxUDPReply bounds the reply to one datagram, in bytes; a longer one is an
	// error. Zero is 1 MiB, or as much as a value of the store's maximum item
	// size takes. The frame header ends at 65535 datagrams, 87 MiB.
	MaxUDPReply int
}

// Server serves a store over TCP and UDP. Its methods may be called from any
// goroutine. A server that was shut down or closed is not used again; its store
// may be.
type Server struct {
	store     *Store
	cfg       Config
	group     serve.Group
	tally     *serve.Tally
	buffers   sync.Pool // *buffers
	works     sync.Pool // *work
	packets   sync.Pool // *work, whose output has other sizes
	open      atomic.Int64
	flushes   atomic.Uint64
	verbosity atomic.Uint32
}

// NewServer makes a server for store, which stays its owner's to close.
func NewServer(store *Store, cfg *Config) *Server {
	srv := &Server{store: store, tally: serve.NewTally()}
	if cfg != nil {
		srv.cfg = *cfg
	}
	if srv.cfg.Version == "" {
		srv.cfg.Version = DefaultVersion
	}
	if srv.cfg.MaxUDPReply <= 0 {
		srv.cfg.MaxUDPReply = max(1<<20, store.maxItem) + 1024
	}
	srv.cfg.MaxUDPReply = min(srv.cfg.MaxUDPReply, udpMaxReply)
	srv.buffers.New = func() any {
		return &buffers{in: make([]byte, minBuffer), out: make([]byte, 0, minBuffer)}
	}
	srv.works.New = func() any { return newWork(srv) }
	srv.packets.New = srv.works.New
	return srv
}

// ServeTCP serves connections from l, each in a goroutine. It owns l and closes
// it. It returns ErrServerClosed, or the error that Accept gave; errors that may
// pass are retried.
func (srv *Server) ServeTCP(l net.Listener) error {
	return srv.group.Serve(l, srv.serveConn)
}

// Shutdown stops accepting, lets every connection answer the commands it has
// read, closes it, and waits for that. If ctx ends first the connections are
// closed by force, and ctx's error is returned.
func (srv *Server) Shutdown(ctx context.Context) error { return srv.group.Shutdown(ctx) }

// Close closes everything at once, except the store.
func (srv *Server) Close() error { return srv.group.Close() }

// Buffers of a connection begin small, so that a hundred thousand idle ones are
// no burden. Input doubles up to maxInput when reads fill it. Output grows with
// what is asked for, and shrinks when that was little for a while.
const (
	minBuffer = 4 << 10
	maxInput  = 64 << 10
	// idleReplies in a row that leave three quarters of the output buffer empty
	// have it replaced by a small one.
	idleReplies = 64
)

type buffers struct {
	in, out []byte
	idle    int
}

const errTooMany = "ERROR Too many open connections\r\n"

// serveConn serves one connection. Its errors are the peer's affair: any of them
// ends the connection.
func (srv *Server) serveConn(c net.Conn) {
	open := srv.open.Add(1)
	defer srv.open.Add(-1)
	if limit := srv.cfg.MaxConnections; limit > 0 && open > int64(limit) {
		srv.tally.Cell().Rejected.Add(1)
		_, _ = c.Write([]byte(errTooMany))
		return
	}
	s := srv.NewSession()
	defer s.Close()
	b := srv.buffers.Get().(*buffers)
	defer srv.recycle(b)
	have := 0 // bytes in b.in that wait for more
	for {
		n, err := c.Read(b.in[have:])
		if n > 0 {
			filled := have+n == len(b.in)
			var ok bool
			if have, ok = b.answer(s, c, have+n); !ok {
				return
			}
			if filled && len(b.in) < maxInput {
				b.in = append(make([]byte, 0, 2*len(b.in)), b.in[:have]...)
				b.in = b.in[:cap(b.in)]
			}
		}
		if err != nil {
			return
		}
	}
}

// answer runs the commands in b.in[:have] and sends their replies, in one write
// unless they are long. It keeps what is not consumed, returns how much that is,
// and whether the connection goes on.
func (b *buffers) answer(s *Session, c net.Conn, have int) (int, bool) {
	in := b.in[:have]
	for {
		n, out, done := s.Process(in, b.out[:0])
		in = in[n:]
		if len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return 0, false
			}
		}
		b.out, b.idle = keepOut(out, b.idle)
		if done {
			return 0, false
		}
		if len(in) == 0 || len(out) == 0 {
			return copy(b.in, in), true
		}
	}
}

// keepOut returns the output buffer to go on with after a reply that left it as out:
// out itself, as long as that much is needed. idle counts the replies in a row that
// needed less.
func keepOut(out []byte, idle int) ([]byte, int) {
	if cap(out) == minBuffer || len(out) > cap(out)/4 {
		return out, 0
	}
	if idle++; idle == idleReplies {
		return make([]byte, 0, minBuffer), 0
	}
	return out, idle
}

// recycle keeps the buffers for another connection, if they are small.
func (srv *Server) recycle(b *buffers) {
	if len(b.in) == minBuffer && cap(b.out) == minBuffer {
		b.idle = 0
		srv.buffers.Put(b)
	}
}
