package memcached

import (
	"shardnet/apps/internal/serve"
	"shardnet/socketapi"
)

// Handler returns the service for TCP as a handler of shardnet's event API: a
// connection is served on its shard's loop, and has no goroutine. One that has sent
// whole commands and taken its replies holds neither a buffer nor a Session: those
// are shared. Give it to socketapi.Handle, whose Server ends it; Shutdown and Close
// do not.
func (srv *Server) Handler() socketapi.Handler { return handler{srv} }

// handler serves connections whose Value is one of
//
//   - nil: nothing was received yet;
//   - between: all commands were whole, and are answered;
//   - refused: one connection too many;
//   - a *work: in the middle of a command, or of sending a reply.
type handler struct{ srv *Server }

type mark int

const (
	between mark = iota
	refused
)

// work is what it takes to serve a connection. The server keeps a pool of them.
type work struct {
	s       Session
	out     []byte
	idle    int  // replies in a row that left most of out empty
	unsent  int  // bytes at the end of out that wait for room
	closing bool // when they are sent
}

func newWork(srv *Server) *work {
	return &work{s: Session{srv: srv, store: srv.store}, out: make([]byte, 0, minBuffer)}
}

// attach gets the work of a connection, or one from the pool.
func (h handler) attach(c *socketapi.EventConn) *work {
	if w, ok := c.Value().(*work); ok {
		return w
	}
	w := h.srv.works.Get().(*work)
	w.s.cell = h.cell(c)
	w.s.begun = c.Value() == between
	return w
}

// detach gives w back, and the connection is as before its first command or between
// two.
func (h handler) detach(w *work) {
	w.s.reset()
	w.unsent, w.closing = 0, false
	h.srv.works.Put(w)
}

func (h handler) cell(c *socketapi.EventConn) *serve.Cell { return h.srv.tally.At(c.Shard()) }

// OnOpen implements socketapi.Handler.
func (h handler) OnOpen(c *socketapi.EventConn) {
	open := h.srv.open.Add(1)
	if limit := h.srv.cfg.MaxConnections; limit > 0 && open > int64(limit) {
		h.cell(c).Rejected.Add(1)
		c.SetValue(refused)
		_, _ = c.Write([]byte(errTooMany))
		c.Close()
		return
	}
	h.cell(c).Opened.Add(1)
}

// OnClose implements socketapi.Handler.
func (h handler) OnClose(c *socketapi.EventConn, _ error) {
	h.srv.open.Add(-1)
	if c.Value() == refused {
		return
	}
	if w, ok := c.Value().(*work); ok {
		h.detach(w)
		c.SetValue(nil)
	}
	h.cell(c).Closed.Add(1)
}

// OnData implements socketapi.Handler. It runs the commands in data as long as
// their replies find room.
func (h handler) OnData(c *socketapi.EventConn, data []byte) (consumed int) {
	w := h.attach(c)
	c.SetValue(w)
	for {
		n, out, done := w.s.Process(data[consumed:], w.out[:0])
		consumed += n
		w.out, w.unsent, w.closing = out, len(out), done
		if !w.send(c) {
			return consumed
		}
		w.out, w.idle = keepOut(out, w.idle)
		if done || consumed == len(data) || len(out) == 0 {
			break
		}
	}
	h.sent(c, w)
	return consumed
}

// OnWritable implements socketapi.Handler: it sends the rest of a reply that found
// no room. Until it is sent no data comes.
func (h handler) OnWritable(c *socketapi.EventConn) {
	if w, ok := c.Value().(*work); ok && w.send(c) {
		h.sent(c, w)
	}
}

// send sends what is unsent, and reports whether all of it was taken. If not, the
// rest waits for room, or the connection is at its end.
func (w *work) send(c *socketapi.EventConn) bool {
	if w.unsent == 0 {
		return true
	}
	n, err := c.Write(w.out[len(w.out)-w.unsent:])
	w.unsent -= n
	return err == nil
}

// sent closes the connection if that is due, and gives its work back if that holds
// nothing.
func (h handler) sent(c *socketapi.EventConn, w *work) {
	switch {
	case w.closing:
		c.Close()
	case w.s.betweenCommands():
		c.SetValue(between)
		h.detach(w)
	}
}

// betweenCommands reports whether s holds nothing of a command.
func (s *Session) betweenCommands() bool { return s.state == atCommand && s.scanned == 0 }

// PacketHandler returns the service for UDP as a handler of shardnet's event API:
// the first datagram of a reply takes the frame of the request. Otherwise as
// Handler, and as ServeUDP.
func (srv *Server) PacketHandler() socketapi.PacketHandler { return packetHandler{srv} }

type packetHandler struct{ srv *Server }

// OnPacket implements socketapi.PacketHandler.
func (h packetHandler) OnPacket(p *socketapi.Packet) {
	w := h.srv.packets.Get().(*work)
	w.s.cell = h.srv.tally.At(p.Shard())
	w.out = w.s.answer(p.Data, w.out[:udpHeader], p)
	h.srv.packets.Put(w)
}
