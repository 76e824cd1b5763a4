package memcached

import (
	"encoding/binary"
	"net"

	"shardnet/apps/internal/serve"
)

// Each datagram begins with a header: request id, sequence number, number of
// datagrams of the message, and zero, of 16 bits each in network order
// (memcached's doc/protocol.txt, UDP protocol).
const (
	udpHeader  = 8
	udpPayload = 1400 - udpHeader // what memcached sends in a datagram at most
	// udpMaxReply is as far as the header counts.
	udpMaxReply = 65535 * udpPayload
	udpBuffer   = 64 << 10
)

const (
	errManyPackets = "SERVER_ERROR multi-packet request not supported\r\n"
	errLongReply   = "SERVER_ERROR reply too large for UDP\r\n"
)

// ServeUDP serves pc: each datagram is a request of one or more whole commands,
// whose replies make one message. It owns pc and closes it. To use more cores
// for one socket, call it several times with the same pc. It returns
// ErrServerClosed, or the error that reading gave.
//
// A request whose last command is not complete has that command ignored; a
// request in several datagrams is refused.
func (srv *Server) ServeUDP(pc net.PacketConn) error {
	return srv.group.ServePacket(pc, srv.servePackets)
}

func (srv *Server) servePackets(pc *serve.PacketConn) error {
	s := srv.NewSession()
	defer s.Close()
	in := make([]byte, udpBuffer)
	out := make([]byte, udpHeader, minBuffer)
	to := &peer{pc: pc}
	for {
		n, from, err := pc.Read(in)
		if err != nil {
			return err
		}
		to.addr = from
		out = s.answer(in[:n], out, to)
	}
}

// replier sends a datagram to where a request came from.
type replier interface{ Reply(b []byte) error }

// peer is a replier on a packet connection.
type peer struct {
	pc   *serve.PacketConn
	addr serve.Peer
}

func (p *peer) Reply(b []byte) error { return p.pc.Write(b, p.addr) }

// answer answers the request in one datagram. It uses the memory of out, and
// returns what to use for the next.
func (s *Session) answer(in, out []byte, to replier) []byte {
	if len(in) <= udpHeader {
		s.cell.Dropped.Add(1)
		return out
	}
	id := binary.BigEndian.Uint16(in)
	out = s.answerDatagram(in, out[:udpHeader])
	sendMessage(to, s.cell, id, out)
	if cap(out) > udpBuffer && len(out) < udpBuffer/4 {
		out = make([]byte, udpHeader, minBuffer)
	}
	return out
}

// answerDatagram appends the replies to a request to out.
func (s *Session) answerDatagram(in, out []byte) []byte {
	begin := len(out)
	if binary.BigEndian.Uint16(in[4:6]) != 1 {
		s.cell.Dropped.Add(1)
		return append(out, errManyPackets...)
	}
	for in = in[udpHeader:]; len(in) > 0; {
		n, more, done := s.Process(in, out)
		replied := len(more) > len(out)
		in, out = in[n:], more
		if len(out)-begin > s.srv.cfg.MaxUDPReply {
			out = append(out[:begin], errLongReply...)
			break
		}
		if done || !replied && n == 0 {
			break
		}
	}
	s.reset()
	return out
}

// sendMessage sends out[udpHeader:] in as many datagrams as it takes. Each
// header is written over the end of the datagram before, which has left.
func sendMessage(to replier, cell *serve.Cell, id uint16, out []byte) {
	size := len(out) - udpHeader
	total := (size + udpPayload - 1) / udpPayload
	for i := range total {
		datagram := out[i*udpPayload : min((i+1)*udpPayload+udpHeader, len(out))]
		binary.BigEndian.PutUint16(datagram[0:], id)
		binary.BigEndian.PutUint16(datagram[2:], uint16(i))
		binary.BigEndian.PutUint16(datagram[4:], uint16(total))
		binary.BigEndian.PutUint16(datagram[6:], 0)
		if err := to.Reply(datagram); err != nil {
			cell.Dropped.Add(1)
			return
		}
	}
}
