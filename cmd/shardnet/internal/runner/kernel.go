package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// kernelNetwork is the kernel's own sockets, as a Go server has them at its best:
// several to a port, each with an accept loop of its own (SO_REUSEPORT).
type kernelNetwork struct {
	cfg      *Config
	accepted []*atomic.Uint64 // of each shard
	sockets  []io.Closer
	closed   chan struct{}
}

func newKernelNetwork(cfg *Config) *kernelNetwork {
	n := &kernelNetwork{cfg: cfg, closed: make(chan struct{})}
	for range max(cfg.Shards, 1) {
		n.accepted = append(n.accepted, new(atomic.Uint64))
	}
	return n
}

// each calls open for every address on every shard; it keeps what is opened, and
// closes it when one can't be.
func (n *kernelNetwork) each(open func(lc *net.ListenConfig, shard int, address string) (io.Closer, error)) error {
	lc := &net.ListenConfig{Control: reusePort}
	var opened []io.Closer
	for shard := range n.accepted {
		for _, a := range n.cfg.Addresses {
			s, err := open(lc, shard, netip.AddrPortFrom(a.Addr(), uint16(n.cfg.Port)).String())
			if err != nil {
				for _, s := range opened {
					_ = s.Close() // nobody has used it
				}
				if errors.Is(err, syscall.EADDRNOTAVAIL) {
					err = fmt.Errorf("%w: with --driver kernel it must be the host's own", err)
				}
				return err
			}
			opened = append(opened, s)
		}
	}
	n.sockets = append(n.sockets, opened...)
	return nil
}

func (n *kernelNetwork) listen() (ls []net.Listener, err error) {
	err = n.each(func(lc *net.ListenConfig, shard int, address string) (io.Closer, error) {
		l, err := lc.Listen(context.Background(), "tcp", address)
		if err != nil {
			return nil, err
		}
		ls = append(ls, countingListener{l, n.accepted[shard]})
		return l, nil
	})
	return ls, err
}

func (n *kernelNetwork) listenPacket() (pcs []net.PacketConn, err error) {
	err = n.each(func(lc *net.ListenConfig, _ int, address string) (io.Closer, error) {
		pc, err := lc.ListenPacket(context.Background(), "udp", address)
		if err != nil {
			return nil, err
		}
		pcs = append(pcs, pc)
		return pc, nil
	})
	return pcs, err
}

func (n *kernelNetwork) describe(s *Start) {
	s.Driver, s.Mode, s.TCP = "kernel", "sockets", "kernel"
	s.Shards, s.Steering = len(n.accepted), "SO_REUSEPORT"
}

func (n *kernelNetwork) done() <-chan struct{} { return n.closed }

func (n *kernelNetwork) close() error {
	close(n.closed)
	for _, s := range n.sockets {
		_ = s.Close() // the app has closed it already, as it owns it
	}
	return nil
}

func (n *kernelNetwork) shards() []ShardCounters {
	var all []ShardCounters
	for _, a := range n.accepted {
		all = append(all, ShardCounters{Connections: a.Load()})
	}
	return all
}

// countingListener counts the connections accepted.
type countingListener struct {
	net.Listener
	n *atomic.Uint64
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.n.Add(1)
	}
	return c, err
}

func reusePort(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); e != nil {
		return e
	}
	return err
}
