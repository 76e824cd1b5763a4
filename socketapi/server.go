package socketapi

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// Limits of a connection's buffers where ListenConfig names none.
const (
	defaultMaxBuffered = 1 << 20
	defaultMaxUnsent   = 64 << 10
)

// Server is a Handler at work: its listeners, one on each shard, and their
// connections. Its methods may be called from any goroutine.
type Server struct {
	net       string
	addr      net.Addr
	stackDone doneChan
	ka        net.KeepAliveConfig
	parts     []serverPart
	cancel    []func() // of each part's Shard.AtEnd

	closed    atomic.Bool
	partsLeft atomic.Int32 // parts that have not ended
	done      chan struct{}
}

// serverPart is what a server has on one shard.
type serverPart interface {
	shard() shard
	start() error // begins to serve
	stop()        // closes the listener; any goroutine
	end(bool)     // closes the connections, or resets them; any goroutine
	loopEnded()   // the loop has ended: nothing else of the part runs any more
	connections() int64
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
		func(sh shard, a netip.AddrPort) (flow.Listener, error) { return sh.ListenTCP(a, opt) },
		func(l flow.Listener) uint16 { return l.Addr().Port() })
	if err != nil {
		return fail(err)
	}
	s := newServer(network, tcpAddr(unmap(flows[0].Addr())), hst.Done())
	s.ka = keepAliveConfig(lc.KeepAlive, lc.KeepAliveConfig)
	for i, f := range flows {
		s.add(&eventLoop{
			srv: s, sh: hst.shard(i), listener: f, h: h, listening: true,
			maxBuffered: orDefault(max(lc.MaxBuffered, 0), defaultMaxBuffered),
			maxUnsent:   orDefault(max(lc.MaxUnsent, 0), defaultMaxUnsent),
			buf:         make([]byte, readBuffer),
		})
	}
	if err := s.start(); err != nil {
		return fail(err)
	}
	return s, nil
}

func newServer(network string, addr net.Addr, stackDone doneChan) *Server {
	return &Server{net: network, addr: addr, stackDone: stackDone, done: make(chan struct{})}
}

func (s *Server) add(p serverPart) { s.parts = append(s.parts, p) }

// start begins to serve, when all parts are in place.
func (s *Server) start() error {
	s.partsLeft.Store(int32(len(s.parts)) + 1) // the last is this function's
	defer s.partEnded()
	for _, p := range s.parts {
		s.cancel = append(s.cancel, p.shard().AtEnd(loopEndTask{p}))
	}
	for _, p := range s.parts {
		if err := p.start(); err != nil {
			s.Abort()
			return err
		}
	}
	return nil
}

// loopEndTask is a part's task for the end of its shard's loop.
type loopEndTask struct{ p serverPart }

func (e loopEndTask) RunOnShard() { e.p.loopEnded() }

// partEnded notes that one part has neither a listener nor connections any more.
func (s *Server) partEnded() {
	if s.partsLeft.Add(-1) == 0 {
		for _, cancel := range s.cancel {
			cancel()
		}
		close(s.done)
	}
}

// Addr returns the address listened on, a *net.TCPAddr or *net.UDPAddr.
func (s *Server) Addr() net.Addr { return s.addr }

// Connections returns how many connections are open.
func (s *Server) Connections() int {
	n := 0
	for _, p := range s.parts {
		n += int(p.connections())
	}
	return n
}

// Done is closed when the server has neither sockets nor connections any more:
// some time after Close, Abort, Shutdown, or the stack's end. No callback runs
// after it.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close stops listening, and closes the connections in order: FIN follows what
// they have written. It does not wait for that: see Done. A connection whose peer
// does not read what was written stays until Abort or the stack's end.
//
// The error of a second call is net.ErrClosed.
func (s *Server) Close() error {
	first := s.stop()
	s.end(false)
	if !first {
		return &net.OpError{Op: "close", Net: s.net, Addr: s.addr, Err: net.ErrClosed}
	}
	return nil
}

// Abort stops listening and resets the connections. It does not wait: see Done.
func (s *Server) Abort() {
	s.stop()
	s.end(true)
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
	for _, p := range s.parts {
		p.stop()
	}
	return true
}

func (s *Server) end(abort bool) {
	for _, p := range s.parts {
		p.end(abort)
	}
}

func (s *Server) String() string {
	return fmt.Sprintf("%s %v on %d shards", s.net, s.addr, len(s.parts))
}
