package echo

import (
	"errors"

	"shardnet/apps/internal/serve"
	"shardnet/socketapi"
)

// Handler returns the service for TCP as a handler of shardnet's event API: a
// connection is served on its shard's loop, and has neither a goroutine nor, while
// it is idle, a buffer. Give it to socketapi.Handle, whose Server ends it; Shutdown
// and Close do not. The server's Stats count it.
func (s *Server) Handler() socketapi.Handler { return handler{s: s} }

// PacketHandler returns the service for UDP as a handler of shardnet's event API: a
// datagram is answered in the frame it came in. Otherwise as Handler.
func (s *Server) PacketHandler() socketapi.PacketHandler { return packetHandler{s} }

type handler struct {
	socketapi.NopHandler
	s *Server
}

func (h handler) cell(c *socketapi.EventConn) *serve.Cell { return h.s.tally.At(c.Shard()) }

// OnOpen implements socketapi.Handler.
func (h handler) OnOpen(c *socketapi.EventConn) { h.cell(c).Opened.Add(1) }

// OnClose implements socketapi.Handler.
func (h handler) OnClose(c *socketapi.EventConn, _ error) { h.cell(c).Closed.Add(1) }

// OnData implements socketapi.Handler. What a peer that does not read has no room
// for comes again.
func (h handler) OnData(c *socketapi.EventConn, data []byte) int {
	n, err := c.Write(data)
	cell := h.cell(c)
	if n > 0 {
		cell.Requests.Add(1)
		cell.BytesIn.Add(uint64(n))
		cell.BytesOut.Add(uint64(n))
	}
	if err != nil && !errors.Is(err, socketapi.ErrBackPressure) {
		return len(data) // the connection is at its end
	}
	return n
}

type packetHandler struct{ s *Server }

// OnPacket implements socketapi.PacketHandler.
func (h packetHandler) OnPacket(p *socketapi.Packet) {
	cell := h.s.tally.At(p.Shard())
	n := uint64(len(p.Data))
	cell.Requests.Add(1)
	cell.BytesIn.Add(n)
	if err := p.Reply(p.Data); err != nil {
		cell.Dropped.Add(1)
		return
	}
	cell.BytesOut.Add(n)
}
