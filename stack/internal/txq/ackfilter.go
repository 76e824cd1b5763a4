package txq

import (
	"encoding/binary"
	"hash/maphash"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// ackFilter drops, from the frames of one turn, pure ACKs that a later segment of
// the same connection makes superfluous. Netstack acknowledges each time it has
// drained a connection, before the application replies; the reply says the same
// again. Dropping the first of the two halves what is sent, and what the peer
// must process.
//
// A pure ACK is dropped only if
//
//   - it acknowledges more than the last segment sent before it: a repetition is a
//     duplicate ACK or a window update, and means something (RFC 5681 section 2);
//   - it has no SACK blocks (RFC 2018), SYN, FIN, RST, URG or ECN flags;
//   - a later segment of the same turn acknowledges more, or as much and carries
//     data: so what it said is said, in order, within the turn.
//
// That is what a receiver does that takes a batch of segments before it
// acknowledges (RFC 9293 section 3.8.6.3 lets it, as GRO makes every receiver).
//
// The filter belongs to the loop.
type ackFilter struct {
	seed maphash.Seed
	// last is a direct-mapped table of what was acknowledged last. A collision
	// forgets a connection, and so keeps an ACK that might have gone.
	last [ackTableSize]ackEntry
	turn uint32
}

const ackTableSize = 4096

type ackEntry struct {
	key  uint64
	ack  uint32
	turn uint32 // in which candidate was set
	// candidate is 1 + the index, in this turn's frames, of a pure ACK that may be
	// dropped.
	candidate uint32
}

func newACKFilter() *ackFilter { return &ackFilter{seed: maphash.MakeSeed()} }

// filter empties the Data of the frames that are superfluous and returns how many
// those are.
func (f *ackFilter) filter(frames []driver.Frame) int {
	if len(frames) == 0 {
		return 0
	}
	f.turn++
	dropped := 0
	for i := range frames {
		seg, ok := f.segment(frames[i].Data)
		if !ok {
			continue
		}
		e := &f.last[seg.key%ackTableSize]
		known := e.key == seg.key
		if known && e.turn == f.turn && e.candidate != 0 {
			if more := int32(seg.ack - e.ack); more > 0 || more == 0 && seg.data {
				d := &frames[e.candidate-1].Data
				*d = (*d)[:0]
				dropped++
			}
		}
		fresh := known && int32(seg.ack-e.ack) > 0
		*e = ackEntry{key: seg.key, ack: seg.ack, turn: f.turn}
		if fresh && seg.pure {
			e.candidate = uint32(i) + 1
		}
	}
	return dropped
}

// ackSegment is what the filter knows of a segment.
type ackSegment struct {
	key  uint64 // of the connection
	ack  uint32
	data bool // payload or FIN
	pure bool // nothing but an acknowledgement, without SACK blocks
}

// segment reads a frame that netstack made: no VLAN tag and, if TCP, no options of IPv4 and
// no extension headers. ok is false for anything but a TCP segment with an acknowledgement.
func (f *ackFilter) segment(b []byte) (seg ackSegment, ok bool) {
	const l3, ports = wire.EthernetLen, 4
	if len(b) < l3+wire.IPv4Len+wire.TCPLen {
		return seg, false
	}
	var tuple, l4 []byte // addresses and ports; the segment
	switch ip := b[l3:]; binary.BigEndian.Uint16(b[12:]) {
	case wire.EtherTypeIPv4:
		if ip[9] != wire.ProtoTCP || ip[0] != 0x45 || binary.BigEndian.Uint16(ip[6:])&^wire.DontFragment != 0 {
			return seg, false
		}
		tuple, l4 = ip[12:wire.IPv4Len+ports], ip[wire.IPv4Len:]
	case wire.EtherTypeIPv6:
		if ip[6] != wire.ProtoTCP || len(ip) < wire.IPv6Len+wire.TCPLen {
			return seg, false
		}
		tuple, l4 = ip[8:wire.IPv6Len+ports], ip[wire.IPv6Len:]
	default:
		return seg, false
	}
	flags, header := l4[13], wire.TCPHeaderLen(l4)
	if flags&wire.ACK == 0 || flags&(wire.SYN|wire.RST) != 0 || header < wire.TCPLen || header > len(l4) {
		return seg, false
	}
	seg.key = maphash.Bytes(f.seed, tuple) | 1
	seg.ack = binary.BigEndian.Uint32(l4[8:])
	seg.data = len(l4) > header || flags&wire.FIN != 0
	seg.pure = flags == wire.ACK && !seg.data && !hasSACKBlocks(l4[wire.TCPLen:header])
	return seg, true
}

// hasSACKBlocks reports whether TCP options hold SACK blocks, or can't be read.
func hasSACKBlocks(opts []byte) bool {
	for len(opts) > 0 {
		switch opts[0] {
		case 0: // end of options
			return false
		case 1: // no operation
			opts = opts[1:]
			continue
		case 5: // SACK
			return true
		}
		if len(opts) < 2 || opts[1] < 2 || int(opts[1]) > len(opts) {
			return true
		}
		opts = opts[opts[1]:]
	}
	return false
}
