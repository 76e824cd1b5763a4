package tcp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzOptions is any bytes as a segment: they do not break the parser, and what it says of
// header and options is what a second parser, written in another way, says.
func FuzzOptions(f *testing.F) {
	for _, options := range [][]byte{
		{},
		{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2},
		{2, 4, 5, 0xb4},
		{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7},
		{5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3, 3},
		{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1, 5, 26, 0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0},
		{5, 34, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8, 1, 1},
		{254, 6, 1, 2, 3, 4, 4, 2, 0, 0, 0, 0},
		{3, 3, 15, 2, 4, 5, 0xb4, 2, 4, 1, 1, 4},
		{8, 9, 0, 0, 0, 5, 0, 0, 0, 253, 0, 0},
	} {
		for _, flags := range []byte{FlagSYN, FlagACK, FlagACK | FlagPSH} {
			b := append(make([]byte, headerLen), options...)
			putHeader(b, &Tuple{LocalPort: 80, RemotePort: 257}, 1, 2, flags, 257, len(b))
			f.Add(append(b, 'x'))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		given := bytes.Clone(b)
		// What is left from another segment must not show.
		got := Segment{Options: Options{HasMSS: true, HasScale: true, HasTS: true, SackOK: true, Blocks: 4}}
		err := ParseSegment(&got, b, []byte{198, 18, 0, 1}, []byte{198, 18, 0, 2})
		if !bytes.Equal(b, given) {
			t.Fatal("the segment was changed")
		}
		if len(b) < headerLen || b[12]>>4 < 5 || int(b[12]>>4)*4 > len(b) {
			if err == nil {
				t.Fatalf("a header that is cut off was taken: %+v", got)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		n := int(b[12]>>4) * 4
		if !bytes.Equal(got.Payload, b[n:]) || got.RemotePort != uint16(b[0])<<8|uint16(b[1]) || got.LocalPort != uint16(b[2])<<8|uint16(b[3]) ||
			got.Seq != seqNum(binary.BigEndian.Uint32(b[4:])) || got.Ack != seqNum(binary.BigEndian.Uint32(b[8:])) ||
			got.Flags != b[13]&0x3f || got.Window != uint16(b[14])<<8|uint16(b[15]) || !got.Is4() {
			t.Fatalf("%+v", got)
		}
		want := readOptions(b[headerLen:n])
		if known(got.Options) != want {
			t.Fatalf("parsed %+v\nwant   %+v", known(got.Options), want)
		}
		checkWritten(t, want)
	})
}

// readOptions is RFC 9293 section 3.1's list, of the kinds that are known here.
func readOptions(list []byte) (o Options) {
	for i := 0; i < len(list) && list[i] != optEnd; {
		if list[i] == optNop {
			i++
			continue
		}
		if i+1 == len(list) || list[i+1] < 2 || i+int(list[i+1]) > len(list) {
			break // MUST-7: a length that can't be ends the list
		}
		option := list[i : i+int(list[i+1])]
		i += len(option)
		word := func(at int) uint32 { return binary.BigEndian.Uint32(option[at:]) }
		switch [2]byte{option[0], option[1]} {
		case [2]byte{2, 4}:
			o.HasMSS, o.MSS = true, binary.BigEndian.Uint16(option[2:])
		case [2]byte{3, 3}:
			o.HasScale, o.Scale = true, min(option[2], 14)
		case [2]byte{4, 2}:
			o.SackOK = true
		case [2]byte{8, 10}:
			o.HasTS, o.TSVal, o.TSEcr = true, word(2), word(6)
		case [2]byte{5, 2}, [2]byte{5, 10}, [2]byte{5, 18}, [2]byte{5, 26}, [2]byte{5, 34}:
			o.Blocks, o.Sack = uint8(len(option)/8), [4]SackBlock{}
			for k := range o.Sack[:o.Blocks] {
				o.Sack[k] = SackBlock{seqNum(word(2 + 8*k)), seqNum(word(6 + 8*k))}
			}
		}
	}
	return o
}

// known leaves of parsed options what their flags say is there.
func known(o Options) Options {
	if !o.HasMSS {
		o.MSS = 0
	}
	if !o.HasScale {
		o.Scale = 0
	}
	if !o.HasTS {
		o.TSVal, o.TSEcr = 0, 0
	}
	clear(o.Sack[min(int(o.Blocks), len(o.Sack)):])
	return o
}

// checkWritten writes what was read as the options of a SYN, which must read the same.
func checkWritten(t *testing.T, o Options) {
	t.Helper()
	syn := synOptions{mss: o.MSS, scale: -1, ts: o.HasTS, val: o.TSVal, ecr: o.TSEcr, sackOK: o.SackOK}
	if o.HasScale {
		syn.scale = int8(o.Scale)
	}
	b := bytes.Repeat([]byte{0xaa}, syn.len())
	syn.put(b)
	o.HasMSS, o.Blocks, o.Sack = true, 0, [4]SackBlock{}
	if got := readOptions(b); len(b)%4 != 0 || len(b) > 40 || got != o {
		t.Fatalf("wrote %x: reads %+v, want %+v", b, got, o)
	}
}
