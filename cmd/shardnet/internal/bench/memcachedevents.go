package bench

import (
	"encoding/binary"
	"errors"

	"shardnet/apps/memcached"
	"shardnet/socketapi"
)

// memcachedEvents serves memcached by events: a session for each connection, and
// one for each shard's datagrams.
type memcachedEvents struct {
	srv    *memcached.Server
	store  *memcached.Store
	shards []memcachedShard
}

// memcachedShard is one shard's own.
type memcachedShard struct {
	out     []byte // replies on their way to the stack
	packets *memcached.Session
	_       [64]byte // the next shard's is on another cache line
}

func newMemcachedEvents(shards int) (*eventApp, error) {
	store, err := memcached.NewStore(&memcached.StoreConfig{MemoryLimit: memcachedMemory})
	if err != nil {
		return nil, err
	}
	m := &memcachedEvents{srv: memcached.NewServer(store, nil), store: store, shards: make([]memcachedShard, shards)}
	for i := range m.shards {
		m.shards[i].packets = m.srv.NewSession()
	}
	return &eventApp{tcp: m, udp: m, close: func() error {
		for i := range m.shards {
			m.shards[i].packets.Close()
		}
		m.store.Close()
		return m.srv.Close()
	}}, nil
}

// conversation is a connection's.
type conversation struct {
	session *memcached.Session
	unsent  []byte // replies that there was no room for
	done    bool   // to be closed when all is sent
}

func (m *memcachedEvents) OnOpen(c *socketapi.EventConn) {
	c.SetValue(&conversation{session: m.srv.NewSession()})
}

func (m *memcachedEvents) OnData(c *socketapi.EventConn, data []byte) int {
	v := c.Value().(*conversation)
	sh := &m.shards[c.Shard()]
	consumed := 0
	for len(v.unsent) == 0 && !v.done {
		n, out, done := v.session.Process(data[consumed:], sh.out[:0])
		consumed += n
		sh.out, v.done = out, done
		m.send(c, v, out)
		if len(out) == 0 && n == 0 || consumed == len(data) {
			break
		}
	}
	return consumed
}

// send writes b, and keeps what there is no room for.
func (m *memcachedEvents) send(c *socketapi.EventConn, v *conversation, b []byte) {
	n, err := c.Write(b)
	if errors.Is(err, socketapi.ErrBackPressure) {
		v.unsent = append(v.unsent[:0], b[n:]...)
	} else if v.done {
		c.Close()
	}
}

func (m *memcachedEvents) OnWritable(c *socketapi.EventConn) {
	v := c.Value().(*conversation)
	b := v.unsent
	v.unsent = nil
	m.send(c, v, b)
}

func (m *memcachedEvents) OnClose(c *socketapi.EventConn, _ error) {
	c.Value().(*conversation).session.Close()
}

// memcachedHeader is the length of a datagram's header: request id, sequence
// number, number of datagrams, zero (memcached's doc/protocol.txt).
const memcachedHeader = 8

// OnPacket answers requests that are one datagram, with one datagram.
func (m *memcachedEvents) OnPacket(p *socketapi.Packet) {
	in := p.Data
	if len(in) <= memcachedHeader || binary.BigEndian.Uint16(in[4:]) != 1 {
		return
	}
	sh := &m.shards[p.Shard().Index()]
	out := append(sh.out[:0], in[0], in[1], 0, 0, 0, 1, 0, 0)
	for in = in[memcachedHeader:]; len(in) > 0; {
		n, more, _ := sh.packets.Process(in, out)
		if n == 0 && len(more) == len(out) {
			break
		}
		in, out = in[n:], more
	}
	sh.out = out
	_ = p.Reply(out) // what can't be sent is lost, as datagrams are
}
