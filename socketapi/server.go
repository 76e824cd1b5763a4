package socketapi

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"shardnet/stack"
)

// Limits of a connection's buffers where ListenConfig names none.
const (
	defaultMaxBuffered = 1 << 20
	defaultMaxUnsent   = 64 << 10
)

// Server is a Handler at work: its listeners, one on each shard, and their
// connections. Its methods may be called from any goroutine.
type Server struct {
	net   string
	addr  net.Addr
	life  lifetime
	ka    net.KeepAliveConfig
	loops []*eventLoop

	closed atomic.Bool
	left   atomic.Int32 // parts that have not ended
	done   chan struct{}
}

// Handle serves TCP connections with h: it listens on every shard of st, or on
// none. Network and address are as for Listen, and so are the errors. The Server is
// closed by its Close, or with the stack.
func Handle(st *stack.Stack, network, address string, h Handler) (*Server, error) {
	var lc ListenConfig
	return lc.Handle(st, network, address, h)
}

// Handle is the function Handle with the settings of lc.
func (lc *ListenConfig) Handle(st *stack.Stack, network, address string, h Handler) (*Server, error) {
	hst, err := hostOf(st)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	return lc.handle(hst, network, address, h)
}

func (lc *ListenConfig) handle(hst host, network, address string, h Handler) (*Server, error) {
	addr, err := parseListen("tcp", network, address)
	if err != nil {
		return nil, err
	}
	fail := func(err error) (*Server, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Addr: tcpAddr(addr), Err: err}
	}
	if h == nil {
		return fail(errNoHandler)
	}
	local, v6only := bindAddress(network, addr)
	opt := lc.options(v6only)
	flows, err := bindAll(hst, local,
		func(sh shard, a netip.AddrPort) (stack.Listener, error) { return sh.ListenTCP(a, opt) },
		func(l stack.Listener) uint16 { return l.Addr().Port() })
	if err != nil {
		return fail(err)
	}
	s := newServer(network, tcpAddr(unmap(flows[0].Addr())), hst.Done(), len(flows))
	s.ka = keepAliveConfig(lc.KeepAlive, lc.KeepAliveConfig)
	for i, f := range flows {
		s.loops = append(s.loops, &eventLoop{
			srv: s, sh: hst.shard(i), listener: f, h: h, listening: true,
			maxBuffered: orDefault(max(lc.MaxBuffered, 0), defaultMaxBuffered),
			maxUnsent:   orDefault(max(lc.MaxUnsent, 0), defaultMaxUnsent),
			buf:         make([]byte, readBuffer),
		})
	}
	for _, l := range s.loops { // all are in place before the first connection
		if err := l.sh.Serve(l.listener, l); err != nil {
			s.Abort()
			return fail(err)
		}
	}
	return s, nil
}

func newServer(network string, addr net.Addr, life lifetime, parts int) *Server {
	s := &Server{net: network, addr: addr, life: life, done: make(chan struct{})}
	s.left.Store(int32(parts))
	return s
}

// loopEnded notes that one part has neither a listener nor connections any more.
func (s *Server) loopEnded() {
	if s.left.Add(-1) == 0 {
		close(s.done)
	}
}

// Addr returns the address listened on, a *net.TCPAddr or *net.UDPAddr.
func (s *Server) Addr() net.Addr { return s.addr }

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	n := 0
	for _, l := range s.loops {
		n += int(l.open.Load())
	}
	return n
}

// Done is closed when the server has neither sockets nor connections any more:
// some time after Close, Abort, Shutdown, or the stack's end. No callback runs
// after it.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops listening, and closes the connections in order: FIN follows what
// they have written. It does not wait for that; Done tells. A connection whose peer
// does not read what was written stays until Abort or the stack's end.
//
// The error of a second call is net.ErrClosed.
func (s *Server) Close() error {
	if s.stop() {
		s.post(false)
		return nil
	}
	s.post(false)
	return &net.OpError{Op: "close", Net: s.net, Addr: s.addr, Err: net.ErrClosed}
}

// Abort stops listening and resets the connections. It does not wait; Done tells.
func (s *Server) Abort() {
	s.stop()
	s.post(true)
}

// Shutdown stops listening and waits until the connections have ended, by
// whatever side's doing, or ctx has, whose error it then returns; Close and Abort
// end those that are left. It must not be called on a loop.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop closes the listeners and reports whether this was the first call.
func (s *Server) stop() bool {
	if s.closed.Swap(true) {
		return false
	}
	for _, l := range s.loops {
		_ = l.listener.Close() // the stack may have closed it before
		l.sh.Post(l)
	}
	return true
}

func (s *Server) post(abort bool) {
	for _, l := range s.loops {
		l.sh.Post(endTask{l, abort})
	}
}

func (s *Server) String() string {
	return fmt.Sprintf("%s %v on %d shards", s.net, s.addr, len(s.loops))
}
