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

// Segment is a parsed TCP segment. The caller may use one for all segments: after Input the engine
// refers neither to it nor to Payload.
type Segment struct {
	Tuple
	Seq, Ack seqNum
	Window   uint16 // as in the header, not scaled
	Flags    uint8
	Options
	// Payload is borrowed from the bytes that were parsed.
	Payload []byte
}

// ErrMalformed is returned for bytes that are no TCP segment: the header is cut off, or the data
// offset lies outside of the segment.
var ErrMalformed = errors.New("malformed tcp segment")

// ParseSegment fills s from the TCP header, options and payload in b. src and dst are the addresses
// of its IP header, 4 or 16 bytes each. The checksum is not verified (see VerifyChecksum), as a NIC
// or the caller may have done so. A malformed option ends the list, and the options before it are
// used (RFC 9293 section 3.1, MUST-7).
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
	s.Seq = seqNum(binary.BigEndian.Uint32(b[4:]))
	s.Ack = seqNum(binary.BigEndian.Uint32(b[8:]))
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

// putHeader writes the fixed header. The header and its options have n bytes. The checksum is left
// zero.
func putHeader(b []byte, t *Tuple, seq, ack seqNum, flags uint8, window uint16, n int) {
	b = b[:headerLen]
	binary.BigEndian.PutUint16(b, t.LocalPort)
	binary.BigEndian.PutUint16(b[2:], t.RemotePort)
	binary.BigEndian.PutUint32(b[4:], uint32(seq))
	binary.BigEndian.PutUint32(b[8:], uint32(ack))
	b[12] = byte(n/4) << 4
	b[13] = flags
	binary.BigEndian.PutUint16(b[14:], window)
	binary.BigEndian.PutUint32(b[16:], 0)
}

// setChecksum writes the checksum of segment b. pseudo is the sum of its pseudo-header.
func setChecksum(b []byte, pseudo uint64) {
	acc := wire.Sum(b, pseudo+wire.Word(uint16(len(b))))
	binary.BigEndian.PutUint16(b[16:], ^wire.Fold(acc))
}
