package tcp

import (
	"encoding/binary"
	"errors"

	"shardnet/driver/wire"
)

// Control bits of a segment (RFC 9293 section 3.1).
const (
	FlagFIN = 1 << iota
	FlagSYN
	FlagRST
	FlagPSH
	FlagACK
	FlagURG
)

// headerLen is the length of a TCP header without options.
const headerLen = 20

// Segment is a received TCP segment, parsed. It is the caller's, who may reuse
// one for all segments; an Engine keeps neither it nor Payload after Input.
type Segment struct {
	Tuple
	Seq, Ack uint32
	Window   uint16 // as in the header, not scaled
	Flags    uint8
	Options
	// Payload is borrowed from the bytes that were parsed.
	Payload []byte
}

// ErrMalformed is returned for bytes that are no TCP segment: a header that is
// cut off, or a data offset outside of the segment.
var ErrMalformed = errors.New("malformed tcp segment")

// ParseSegment fills s from the TCP header, options and payload in b. src and dst
// are the addresses of its IP header, 4 or 16 bytes each. The checksum is not
// verified (see VerifyChecksum): a NIC or the caller may have done so. Options
// that are malformed end the option list, as RFC 9293 section 3.1 (MUST-7)
// leaves to the receiver: what was read before them holds.
func ParseSegment(s *Segment, b, src, dst []byte) error {
	if len(b) < headerLen {
		return ErrMalformed
	}
	off := int(b[12]>>4) * 4
	if off < headerLen || off > len(b) {
		return ErrMalformed
	}
	setAddr(&s.Local, dst)
	setAddr(&s.Remote, src)
	s.RemotePort = binary.BigEndian.Uint16(b)
	s.LocalPort = binary.BigEndian.Uint16(b[2:])
	s.Seq = binary.BigEndian.Uint32(b[4:])
	s.Ack = binary.BigEndian.Uint32(b[8:])
	s.Flags = b[13] & 0x3f
	s.Window = binary.BigEndian.Uint16(b[14:])
	s.Options.parse(b[headerLen:off])
	s.Payload = b[off:]
	return nil
}

// length is the sequence space the segment takes (RFC 9293 section 3.4).
func (s *Segment) length() uint32 {
	n := uint32(len(s.Payload))
	if s.Flags&FlagSYN != 0 {
		n++
	}
	if s.Flags&FlagFIN != 0 {
		n++
	}
	return n
}

// putHeader writes the fixed header of a segment whose header and options are n
// bytes long. The checksum is left zero.
func putHeader(b []byte, t *Tuple, seq, ack uint32, flags uint8, window uint16, n int) {
	b = b[:headerLen]
	binary.BigEndian.PutUint16(b, t.LocalPort)
	binary.BigEndian.PutUint16(b[2:], t.RemotePort)
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	b[12] = byte(n/4) << 4
	b[13] = flags
	binary.BigEndian.PutUint16(b[14:], window)
	binary.BigEndian.PutUint32(b[16:], 0)
}

// seal writes the checksum of segment b, given its connection's pseudo-header sum.
func seal(b []byte, pseudo uint64) {
	acc := wire.Sum(b, pseudo+wire.Word(uint16(len(b))))
	binary.BigEndian.PutUint16(b[16:], ^wire.Fold(acc))
}
