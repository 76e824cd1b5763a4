package tcp

import "encoding/binary"

// Option kinds.
const (
	optEnd        = 0
	optNop        = 1
	optMSS        = 2 // RFC 9293 section 3.2
	optScale      = 3 // RFC 7323 section 2.2
	optSackOK     = 4 // RFC 2018 section 2
	optSack       = 5 // RFC 2018 section 3
	optTimestamps = 8 // RFC 7323 section 3.2
)

// Lengths of options as they are sent, padded to whole words.
const (
	timestampsLen = 12
	sackBlockLen  = 8
)

// maxScale is the largest shift of a window (RFC 7323 section 2.3).
const maxScale = 14

// SackBlock is a range of sequence numbers that was received: from Start up to End, without it.
type SackBlock struct{ Start, End seqNum }

// Options are the options of a received segment. Unknown ones are ignored.
type Options struct {
	TSVal, TSEcr uint32
	MSS          uint16
	Scale        uint8
	Blocks       uint8 // how many of Sack are filled
	HasMSS       bool
	HasScale     bool
	HasTS        bool
	SackOK       bool
	Sack         [4]SackBlock
}

// parse reads b, the bytes between the fixed header and the payload.
func (o *Options) parse(b []byte) {
	o.HasMSS, o.HasScale, o.HasTS, o.SackOK, o.Blocks = false, false, false, false, 0
	// RFC 7323 appendix A recommends this form. Nearly all data segments have it.
	if len(b) == timestampsLen && binary.BigEndian.Uint32(b) == optNop<<24|optNop<<16|optTimestamps<<8|10 {
		o.HasTS = true
		o.TSVal = binary.BigEndian.Uint32(b[4:])
		o.TSEcr = binary.BigEndian.Uint32(b[8:])
		return
	}
	for len(b) > 0 {
		switch b[0] {
		case optEnd:
			return
		case optNop:
			b = b[1:]
			continue
		}
		if len(b) < 2 {
			return
		}
		n := int(b[1])
		if n < 2 || n > len(b) {
			return
		}
		o.set(b[0], b[2:n])
		b = b[n:]
	}
}

// set takes the value of one option. It ignores a known option with a wrong length.
func (o *Options) set(kind byte, v []byte) {
	switch kind {
	case optMSS:
		if len(v) == 2 {
			o.HasMSS, o.MSS = true, binary.BigEndian.Uint16(v)
		}
	case optScale:
		if len(v) == 1 {
			// RFC 7323 section 2.3: 14 is used in place of a larger shift.
			o.HasScale, o.Scale = true, min(v[0], maxScale)
		}
	case optSackOK:
		o.SackOK = o.SackOK || len(v) == 0
	case optTimestamps:
		if len(v) == 8 {
			o.HasTS = true
			o.TSVal = binary.BigEndian.Uint32(v)
			o.TSEcr = binary.BigEndian.Uint32(v[4:])
		}
	case optSack:
		if len(v)%sackBlockLen != 0 {
			return
		}
		o.Blocks = 0
		for ; len(v) > 0 && int(o.Blocks) < len(o.Sack); v = v[sackBlockLen:] {
			o.Sack[o.Blocks] = SackBlock{seqNum(binary.BigEndian.Uint32(v)), seqNum(binary.BigEndian.Uint32(v[4:]))}
			o.Blocks++
		}
	}
}

func putTimestamps(b []byte, val, ecr uint32) {
	b = b[:timestampsLen]
	binary.BigEndian.PutUint32(b, optNop<<24|optNop<<16|optTimestamps<<8|10)
	binary.BigEndian.PutUint32(b[4:], val)
	binary.BigEndian.PutUint32(b[8:], ecr)
}

// synOptions are the options of a SYN or SYN-ACK.
type synOptions struct {
	mss    uint16
	scale  int8 // -1 sends none
	ts     bool
	val    uint32
	ecr    uint32
	sackOK bool
}

func (o *synOptions) len() int {
	n := 4
	if o.ts {
		n += timestampsLen
	} else if o.sackOK {
		n += 4
	}
	if o.scale >= 0 {
		n += 4
	}
	return n
}

// put writes the options in the order that most stacks use. SACK-permitted takes the place of the
// padding of the timestamps.
func (o *synOptions) put(b []byte) {
	binary.BigEndian.PutUint32(b, optMSS<<24|4<<16|uint32(o.mss))
	b = b[4:]
	if o.ts {
		putTimestamps(b, o.val, o.ecr)
		if o.sackOK {
			b[0], b[1] = optSackOK, 2
		}
		b = b[timestampsLen:]
	} else if o.sackOK {
		binary.BigEndian.PutUint32(b, optNop<<24|optNop<<16|optSackOK<<8|2)
		b = b[4:]
	}
	if o.scale >= 0 {
		binary.BigEndian.PutUint32(b, optNop<<24|optScale<<16|3<<8|uint32(o.scale))
	}
}
