package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"shardnet/apps/echo"
	"shardnet/apps/memcached"
)

// app is what a server runs: the apps' servers have these methods.
type app interface {
	ServeTCP(net.Listener) error
	ServeUDP(net.PacketConn) error
	Close() error
}

// memcachedMemory is room enough for every workload's keys without evictions.
const memcachedMemory = 256 << 20

// newApp makes the app of that name.
func newApp(name string) (app, error) {
	switch name {
	case "echo":
		return echo.NewServer(), nil
	case "memcached":
		store, err := memcached.NewStore(&memcached.StoreConfig{MemoryLimit: memcachedMemory})
		if err != nil {
			return nil, err
		}
		return memcachedApp{memcached.NewServer(store, nil), store}, nil
	case "source":
		return &streams{serve: source}, nil
	case "sink":
		return &streams{serve: sink}, nil
	}
	return nil, fmt.Errorf("there is no app %q", name)
}

// memcachedApp closes the store with the server.
type memcachedApp struct {
	*memcached.Server
	store *memcached.Store
}

func (m memcachedApp) Close() error {
	err := m.Server.Close()
	m.store.Close()
	return err
}

// streams serves TCP connections that carry bytes one way.
type streams struct {
	serve func(net.Conn)

	mu     sync.Mutex
	open   map[io.Closer]bool
	closed bool
	wg     sync.WaitGroup
}

func (s *streams) ServeTCP(l net.Listener) error {
	if !s.add(l) {
		return net.ErrClosed
	}
	defer s.remove(l)
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if !s.add(c) {
			return net.ErrClosed
		}
		s.wg.Go(func() {
			defer s.remove(c)
			s.serve(c)
		})
	}
}

func (s *streams) ServeUDP(pc net.PacketConn) error {
	_ = pc.Close() // it was given to us
	return errors.New("bulk transfer is TCP's")
}

// add remembers what Close is to close, or closes it if that was called.
func (s *streams) add(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	if s.open == nil {
		s.open = make(map[io.Closer]bool)
	}
	s.open[c] = true
	return true
}

func (s *streams) remove(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
	_ = c.Close() // the peer may have reset it
}

func (s *streams) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.open {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// chunk is how much bulk transfer reads and writes at once.
const chunk = 64 << 10

var chunks = sync.Pool{New: func() any { return new([chunk]byte) }}

// sink reads and drops (RFC 863).
func sink(c net.Conn) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for {
		if _, err := c.Read(buf[:]); err != nil {
			return
		}
	}
}
