package wire

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// naiveChecksum is RFC 1071 section 1 word by word: the folded sum, not complemented.
func naiveChecksum(pieces ...[]byte) uint16 {
	var sum uint64
	b := bytes.Join(pieces, nil)
	for i, v := range b {
		sum += uint64(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// fills are what the checksums' tests put into memory.
var fills = []struct {
	name string
	fill func(b []byte)
}{
	{"zeros", func(b []byte) { clear(b) }},
	{"ones", func(b []byte) { copy(b, bytes.Repeat([]byte{0xff}, len(b))) }}, // every addition carries
	{"random", func(b []byte) {
		rng := rand.New(rand.NewPCG(1, uint64(len(b))))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
	}},
}

func TestChecksum(t *testing.T) {
	for _, f := range fills {
		t.Run(f.name, func(t *testing.T) {
			var memory [310]byte
			f.fill(memory[:])
			for n := range 301 {
				for offset := range 9 {
					b := memory[offset : offset+n]
					for _, initial := range []uint16{0, 1, 0x8000, 0xfffe, 0xffff} {
						want := naiveChecksum([]byte{byte(initial >> 8), byte(initial)}, b)
						if got := Checksum(b, initial); got != want {
							t.Fatalf("%d bytes at offset %d from %#x sum to %#x, want %#x", n, offset, initial, got, want)
						}
					}
				}
			}
		})
	}
}

func TestSumInPieces(t *testing.T) {
	for _, f := range fills {
		t.Run(f.name, func(t *testing.T) {
			var memory [300]byte
			f.fill(memory[:])
			for cut := 0; cut <= len(memory); cut += 2 {
				for _, end := range []int{len(memory) - 1, len(memory)} {
					cut := min(cut, end&^1)
					got := Fold(Sum(memory[cut:end], Sum(memory[:cut], 0)))
					if want := naiveChecksum(memory[:end]); got != want {
						t.Fatalf("%d and %d bytes sum to %#x, want %#x", cut, end-cut, got, want)
					}
				}
			}
		})
	}
}

func TestPseudoSum(t *testing.T) {
	v6 := func(last byte) []byte {
		return append([]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff}, last)
	}
	for _, c := range []struct {
		name     string
		proto    uint8
		length   int
		src, dst []byte
		// header is the pseudo-header as its RFC draws it.
		header []byte
	}{
		{
			"TCP over IPv4, RFC 9293 section 3.1", ProtoTCP, 20, []byte{198, 18, 0, 1}, []byte{198, 18, 0, 2},
			[]byte{198, 18, 0, 1, 198, 18, 0, 2, 0, 6, 0, 20},
		},
		{
			"UDP over IPv4, RFC 768", ProtoUDP, 0x1234, []byte{255, 255, 255, 255}, []byte{255, 255, 255, 254},
			[]byte{255, 255, 255, 255, 255, 255, 255, 254, 0, 17, 0x12, 0x34},
		},
		{
			"UDP over IPv6, RFC 8200 section 8.1", ProtoUDP, 65535, v6(1), v6(2),
			append(append(v6(1), v6(2)...), 0, 0, 0xff, 0xff, 0, 0, 0, 17),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, want := PseudoSum(c.proto, c.length, c.src, c.dst), naiveChecksum(c.header); got != want {
				t.Errorf("sum is %#x, want %#x", got, want)
			}
		})
	}
}

// TestSetChecksums: whatever a field held before, the sum over the whole is 0xffff after.
func TestSetChecksums(t *testing.T) {
	src, dst := []byte{198, 18, 0, 1}, []byte{198, 18, 0, 2}
	pseudo := func(proto uint8, n int) []byte {
		return append(append(append([]byte{}, src...), dst...), 0, proto, byte(n>>8), byte(n))
	}
	for _, f := range fills {
		for n := MaxIPv4Len; n < 200; n++ {
			b := make([]byte, n)
			f.fill(b)
			b[0] = 0x4f
			for ihl := IPv4Len; ihl <= MaxIPv4Len; ihl += 4 {
				if SetIPv4Checksum(b[:ihl]); naiveChecksum(b[:ihl]) != 0xffff {
					t.Fatalf("%s: IPv4 header of %d bytes sums to %#x", f.name, ihl, naiveChecksum(b[:ihl]))
				}
			}
			if SetTCPChecksum(b, src, dst); naiveChecksum(pseudo(ProtoTCP, n), b) != 0xffff {
				t.Fatalf("%s: segment of %d bytes sums to %#x", f.name, n, naiveChecksum(pseudo(ProtoTCP, n), b))
			}
			for _, head := range []int{UDPLen, 30, n} {
				SetUDPChecksum(b[:head], b[head:], src, dst)
				if naiveChecksum(pseudo(ProtoUDP, n), b) != 0xffff {
					t.Fatalf("%s: datagram of %d bytes sums to %#x", f.name, n, naiveChecksum(pseudo(ProtoUDP, n), b))
				}
			}
		}
	}
}

// TestUDPChecksumIsNeverZero: in the field, zero says that there is no checksum (RFC 768).
func TestUDPChecksumIsNeverZero(t *testing.T) {
	src, dst := []byte{198, 18, 0, 1}, []byte{198, 18, 0, 2}
	b := make([]byte, UDPLen+2)
	PutUDP(b, 1234, 53, 2)
	sum := ^Checksum(b, PseudoSum(ProtoUDP, len(b), src, dst))
	b[UDPLen], b[UDPLen+1] = byte(sum>>8), byte(sum) // now the sum is 0xffff, its complement zero
	SetUDPChecksum(b, nil, src, dst)
	if b[6] != 0xff || b[7] != 0xff {
		t.Errorf("field is %#x, want 0xffff", b[6:8])
	}
}

func TestUpdateChecksum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		b := make([]byte, TCPLen)
		for i := range b {
			b[i] = byte(rng.Uint32() * rng.Uint32N(2)) // zeros often
		}
		b[16], b[17] = 0, 0
		field := ^naiveChecksum(b)
		old, new := binary.BigEndian.Uint32(b[8:]), rng.Uint32()
		binary.BigEndian.PutUint32(b[8:], new)
		binary.BigEndian.PutUint16(b[16:], UpdateChecksum(field, old, new))
		if sum := naiveChecksum(b); sum != 0xffff {
			t.Fatalf("after %#x became %#x, the segment sums to %#x", old, new, sum)
		}
	}
}
