package bench

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/socketapi"
	"shardnet/stack"
)

// serveEvents serves the app by events, without goroutines.
func serveEvents(cfg *ServerConfig, st *stack.Stack) (*running, error) {
	a, err := newEventApp(cfg.App)
	if err != nil {
		return nil, err
	}
	address := ":" + strconv.Itoa(int(cfg.Port))
	var servers []*socketapi.Server
	end := func() error {
		var errs []error
		for _, s := range servers {
			errs = append(errs, s.Close())
		}
		for _, s := range servers {
			select {
			case <-s.Done():
			case <-time.After(closeTimeout): // a peer that reads no more
				s.Abort()
			}
		}
		if a.close != nil {
			errs = append(errs, a.close())
		}
		return errors.Join(errs...)
	}
	s, err := socketapi.Handle(st, "tcp", address, a.tcp)
	if err == nil {
		servers = append(servers, s)
		if a.udp != nil {
			if s, err = socketapi.HandlePacket(st, "udp", address, a.udp); err == nil {
				servers = append(servers, s)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, end())
	}
	return &running{close: end}, nil
}

// closeTimeout bounds the orderly end of connections.
const closeTimeout = time.Second

// eventApp is an app by events. udp is nil for one that has none.
type eventApp struct {
	tcp   socketapi.Handler
	udp   socketapi.PacketHandler
	close func() error
}

func newEventApp(name string) (*eventApp, error) {
	switch name {
	case "source":
		return &eventApp{tcp: sourceEvents{}}, nil
	case "sink":
		return &eventApp{tcp: socketapi.NopHandler{}}, nil
	}
	a, err := newApp(name)
	if err != nil {
		return nil, err
	}
	h, ok := a.(interface {
		Handler() socketapi.Handler
		PacketHandler() socketapi.PacketHandler
	})
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s does not run on events", name), a.Close())
	}
	return &eventApp{tcp: h.Handler(), udp: h.PacketHandler(), close: a.Close}, nil
}

// sourceEvents streams RFC 864's pattern. The value of a connection is how much it
// was sent.
type sourceEvents struct{ socketapi.NopHandler }

// sourced is a connection's place in the pattern, and a piece of it.
type sourced struct {
	at  uint64
	buf [chunk]byte
}

func (sourceEvents) OnOpen(c *socketapi.EventConn) {
	c.SetValue(new(sourced))
	sourceEvents{}.OnWritable(c)
}

func (sourceEvents) OnWritable(c *socketapi.EventConn) {
	s := c.Value().(*sourced)
	for {
		rawload.Chargen(s.buf[:], s.at)
		n, err := c.Write(s.buf[:])
		s.at += uint64(n)
		if err != nil {
			return // there is no room, or no connection
		}
	}
}
