package memcached

import (
	"bytes"

	"shardnet/apps/internal/serve"
)

const (
	// maxLine is the longest command line, without its line feed. Only a get may
	// be longer.
	maxLine = 2048

	// replyRoom is how much output makes Process return to have it sent.
	replyRoom = 64 << 10

	// binaryMagic begins each request of the binary protocol.
	binaryMagic = 0x80
)

type sessionState uint8

const (
	atCommand  sessionState = iota // at the beginning of a command line
	inKeys                         // in the keys of a get
	inBlock                        // in a data block, which goes to a reservation
	inSwallow                      // in a data block that was refused
	inRestLine                     // in a line whose rest has no meaning
	atEnd                          // the connection is to be closed
)

// Session is one client's conversation: it parses commands, runs them on the
// store, and formats the replies. It does no I/O and starts no goroutine, so it
// serves under a goroutine for each connection as well as under an event loop.
// It is for one goroutine at a time, and must be closed.
//
// The replies do not depend on how the input is cut into calls.
type Session struct {
	srv   *Server
	store *Store
	cell  *serve.Cell

	state   sessionState
	begun   bool
	scanned int // bytes of the present line known to hold no line feed
	noreply bool
	ran     uint64 // commands since Process began
	words   tokens

	// inKeys
	withCAS, touch bool
	expiry         uint32

	// inBlock, inSwallow
	req      storing
	left     int // bytes of the block to come, CR LF included
	reserved reservation
	lineEnd  [2]byte // of the block, where CR LF should be
	key      [MaxKeyLen]byte

	meta metaReply
}

// NewSession begins a conversation; it counts as a connection.
func (srv *Server) NewSession() *Session {
	s := &Session{srv: srv, store: srv.store, cell: srv.tally.Cell()}
	s.cell.Opened.Add(1)
	return s
}

// Close ends the conversation, and gives back what a value half received holds.
// It may be called once, and nothing after it.
func (s *Session) Close() {
	s.reset()
	s.state = atEnd
	s.cell.Closed.Add(1)
}

// reset forgets a command that is not complete.
func (s *Session) reset() {
	if s.reserved.sh != nil {
		s.reserved.cancel()
		s.reserved = reservation{}
	}
	s.state, s.begun, s.scanned = atCommand, false, 0
}

// Process runs the commands in the input and appends their replies to out. It
// returns how many bytes of in it is done with, the output, and whether the
// connection is to be closed once that is sent.
//
// in is read during the call only. What is not consumed must come again, in
// front of what arrives later; that is a part of a line, at most 2 KiB.
// A data block is taken as it comes, in pieces of any size.
//
// Process returns early when it has added 64 KiB or a single reply that is
// longer. So while it adds output and leaves input, send the output and call it
// again; when it adds nothing it has consumed all it can.
func (s *Session) Process(in, out []byte) (n int, outp []byte, done bool) {
	before := len(out)
	s.ran = 0
	for more := true; more && s.state != atEnd && len(out)-before < replyRoom; {
		used := 0
		switch rest := in[n:]; s.state {
		case atCommand:
			used, out, more = s.command(rest, out)
		case inKeys:
			used, out, more = s.keys(rest, out, before)
		case inBlock:
			used, out, more = s.block(rest, out)
		case inSwallow:
			used = min(len(rest), s.left)
			if s.left -= used; s.left == 0 {
				s.state = atCommand
			}
			more = s.left == 0
		case inRestLine:
			if i := bytes.IndexByte(rest, '\n'); i >= 0 {
				used, s.state = i+1, atCommand
			} else {
				used, more = len(rest), false
			}
		}
		n += used
	}
	if s.ran > 0 {
		s.cell.Requests.Add(s.ran)
	}
	if n > 0 {
		s.cell.BytesIn.Add(uint64(n))
	}
	if len(out) > before {
		s.cell.BytesOut.Add(uint64(len(out) - before))
	}
	return n, out, s.state == atEnd
}

// command takes one line, if it is there whole.
func (s *Session) command(in, out []byte) (used int, outp []byte, more bool) {
	if len(in) == 0 {
		return 0, out, false
	}
	if !s.begun {
		s.begun = true
		if in[0] == binaryMagic {
			s.state = atEnd
			return 0, out, false
		}
	}
	window := in[:min(len(in), maxLine+1)]
	i := bytes.IndexByte(window[s.scanned:], '\n')
	if i < 0 {
		if len(window) <= maxLine {
			s.scanned = len(window)
			return 0, out, false
		}
		s.scanned = 0
		return s.longLine(in, out)
	}
	i += s.scanned
	s.scanned = 0
	line := in[:i]
	if i > 1 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	if j := bytes.IndexByte(line, 0); j >= 0 {
		line = line[:j]
	}
	s.noreply = false
	s.ran++
	if from, ok := retrieval(line); ok {
		return s.beginKeys(line, from, i+1, out)
	}
	return s.execute(line, in, i+1, out)
}

// longLine takes the beginning of a line that has no end in sight. A get is
// gone through word by word; anything else no client would send.
func (s *Session) longLine(in, out []byte) (used int, outp []byte, more bool) {
	if from, ok := retrieval(in[:maxLine]); ok && from <= 100 {
		return s.beginKeys(in, from, -1, out)
	}
	s.state = atEnd
	return len(in), append(out, "CLIENT_ERROR line too long\r\n"...), false
}

// block takes bytes of the data block that goes to the reservation.
func (s *Session) block(in, out []byte) (used int, outp []byte, more bool) {
	if value := min(len(in), s.left-2); value > 0 {
		s.reserved.fill(in[:value])
		s.left -= value
		used = value
	}
	for s.left <= 2 && s.left > 0 && used < len(in) {
		s.lineEnd[2-s.left] = in[used]
		s.left--
		used++
	}
	if s.left > 0 {
		return used, out, false
	}
	s.state = atCommand
	rv := s.reserved
	s.reserved = reservation{}
	if s.lineEnd != [2]byte{'\r', '\n'} {
		rv.cancel()
		return used, s.badBlock(out), true
	}
	result, cas := s.store.commit(&s.req, &rv)
	return used, s.storeReply(out, result, cas), true
}

// beginBlock takes the data block of n bytes that s.req is about, if it is
// there whole, or else prepares to take it in pieces. The block begins at
// in[at]. s.req.key may lie in the input.
func (s *Session) beginBlock(n int, in []byte, at int, out []byte) (used int, outp []byte, more bool) {
	if result := s.store.check(&s.req, n); result != stored {
		return s.refuseBlock(n, at, s.storeError(out, result))
	}
	if rest := in[at:]; len(rest) >= n+2 {
		used = at + n + 2
		if rest[n] != '\r' || rest[n+1] != '\n' {
			return used, s.badBlock(out), true
		}
		result, cas := s.store.store(&s.req, rest[:n])
		if result == noMemory {
			return used, s.storeError(out, result), true
		}
		return used, s.storeReply(out, result, cas), true
	}
	rv, result := s.store.reserve(&s.req, n)
	if result != stored {
		return s.refuseBlock(n, at, s.storeError(out, result))
	}
	s.req.key = s.key[:copy(s.key[:], s.req.key)]
	s.reserved, s.left, s.state = rv, n+2, inBlock
	return at, out, true
}

// refuseBlock has the data block of n bytes thrown away as it arrives.
func (s *Session) refuseBlock(n, at int, out []byte) (used int, outp []byte, more bool) {
	s.left, s.state = n+2, inSwallow
	return at, out, true
}

// storeReply says what came of a value stored, as the command wants it said.
func (s *Session) storeReply(out []byte, result outcome, cas uint64) []byte {
	if s.meta.active {
		return s.metaStored(out, result, cas)
	}
	switch result {
	case stored:
		return s.reply(out, "STORED\r\n")
	case exists:
		return s.reply(out, "EXISTS\r\n")
	case notFound:
		return s.reply(out, "NOT_FOUND\r\n")
	case noMemory:
		return s.storeError(out, noMemory)
	}
	return s.reply(out, "NOT_STORED\r\n")
}

func (s *Session) storeError(out []byte, result outcome) []byte {
	s.errorsAnyway()
	if result == tooLarge {
		return s.reply(out, "SERVER_ERROR object too large for cache\r\n")
	}
	return s.reply(out, "SERVER_ERROR out of memory storing object\r\n")
}

func (s *Session) badBlock(out []byte) []byte {
	s.errorsAnyway()
	return s.reply(out, "CLIENT_ERROR bad data chunk\r\n")
}

// errorsAnyway: meta commands report errors even if they ask for no reply.
func (s *Session) errorsAnyway() {
	if s.meta.active {
		s.meta.active, s.noreply = false, false
	}
}

// reply appends a whole reply line, unless the command wanted none.
func (s *Session) reply(out []byte, line string) []byte {
	if s.noreply {
		return out
	}
	return append(out, line...)
}
