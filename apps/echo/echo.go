package echo

import (
	"context"
	"net"
	"sync"

	"shardnet/apps/internal/serve"
)

// ErrServerClosed is what ServeTCP and ServeUDP return after Shutdown or Close,
// or when their listener was closed elsewhere.
var ErrServerClosed = serve.ErrClosed

// A connection reads into a small buffer, so that idle ones are no burden, and
// into a large one from when a read fills that until bulkReads in a row would
// have fitted.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
	bulkReads   = 16

	// udpBuffer holds the longest datagram there is.
	udpBuffer = 64 << 10
)

// Server is an echo service on any number of listeners and packet connections.
// Its methods may be called from any goroutine. A server that was shut down or
// closed is not used again.
type Server struct {
	group        serve.Group
	tally        *serve.Tally
	small, large sync.Pool // of *[smallBuffer]byte and *[largeBuffer]byte
}

// Stats are a server's counters since it was made.
type Stats struct {
	Connections uint64 // TCP connections ever accepted
	Active      uint64 // TCP connections open now
	Requests    uint64 // reads that brought data, and datagrams
	BytesIn     uint64
	BytesOut    uint64
	Dropped     uint64 // datagrams that could not be sent back
}

// NewServer makes a server that serves nothing yet.
func NewServer() *Server {
	return &Server{
		tally: serve.NewTally(),
		small: sync.Pool{New: func() any { return new([smallBuffer]byte) }},
		large: sync.Pool{New: func() any { return new([largeBuffer]byte) }},
	}
}

// ServeTCP accepts connections from l and echoes what they send until they are
// at their end; a client that half-closes gets the rest of its bytes back
// before the connection is closed. ServeTCP owns l and closes it. It returns
// ErrServerClosed, or the error that Accept gave; errors that may pass are
// retried.
func (s *Server) ServeTCP(l net.Listener) error {
	return s.group.Serve(l, s.echo)
}

// ServeUDP answers each datagram with its like. It owns pc and closes it. To
// use more cores for one socket, call it several times with the same pc. It
// returns ErrServerClosed, or the error that reading gave; a datagram that
// can't be sent back is counted, and dropped.
func (s *Server) ServeUDP(pc net.PacketConn) error {
	return s.group.ServePacket(pc, s.echoPackets)
}

// Shutdown stops accepting, lets every connection send back what it has read,
// closes it, and waits for that. If ctx ends first the connections are closed
// by force, and ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.group.Shutdown(ctx) }

// Close closes everything at once.
func (s *Server) Close() error { return s.group.Close() }

// Stats returns the counters.
func (s *Server) Stats() Stats {
	t := s.tally.Sum()
	return Stats{
		Connections: t.Opened,
		Active:      t.Opened - t.Closed,
		Requests:    t.Requests,
		BytesIn:     t.BytesIn,
		BytesOut:    t.BytesOut,
		Dropped:     t.Dropped,
	}
}

// echo serves one connection. Its errors are the peer's affair: any of them
// ends the connection.
func (s *Server) echo(c net.Conn) {
	cell := s.tally.Cell()
	cell.Opened.Add(1)
	defer cell.Closed.Add(1)
	small := s.small.Get().(*[smallBuffer]byte)
	defer s.small.Put(small)
	var large *[largeBuffer]byte
	defer func() {
		if large != nil {
			s.large.Put(large)
		}
	}()
	buf, little := small[:], 0
	for {
		n, err := c.Read(buf)
		if n > 0 {
			cell.Requests.Add(1)
			cell.BytesIn.Add(uint64(n))
			sent, err := c.Write(buf[:n])
			cell.BytesOut.Add(uint64(sent))
			if err != nil {
				return
			}
		}
		if err != nil {
			return
		}
		switch {
		case large == nil:
			if n == len(small) {
				large = s.large.Get().(*[largeBuffer]byte)
				buf, little = large[:], 0
			}
		case n > len(small):
			little = 0
		default:
			if little++; little == bulkReads {
				s.large.Put(large)
				large, buf = nil, small[:]
			}
		}
	}
}

// echoPackets serves one packet connection until reading fails.
func (s *Server) echoPackets(pc *serve.PacketConn) error {
	cell := s.tally.Cell()
	buf := make([]byte, udpBuffer)
	for {
		n, from, err := pc.Read(buf)
		if err != nil {
			return err
		}
		cell.Requests.Add(1)
		cell.BytesIn.Add(uint64(n))
		if err := pc.Write(buf[:n], from); err != nil {
			cell.Dropped.Add(1)
			continue
		}
		cell.BytesOut.Add(uint64(n))
	}
}
