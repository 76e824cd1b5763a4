package tcp

import "math/bits"

// sipKey is a 128-bit key of SipHash (Aumasson, Bernstein: "SipHash: a fast
// short-input PRF", 2012). Messages here are whole words of fixed number for
// their kind, so the length byte of the general function is left out.
type sipKey struct{ k0, k1 uint64 }

type sipState struct{ v0, v1, v2, v3 uint64 }

func (k *sipKey) start() sipState {
	return sipState{
		k.k0 ^ 0x736f6d6570736575, k.k1 ^ 0x646f72616e646f6d,
		k.k0 ^ 0x6c7967656e657261, k.k1 ^ 0x7465646279746573,
	}
}

func (s *sipState) mix() {
	s.v0 += s.v1
	s.v2 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 13) ^ s.v0
	s.v3 = bits.RotateLeft64(s.v3, 16) ^ s.v2
	s.v0 = bits.RotateLeft64(s.v0, 32)
	s.v2 += s.v1
	s.v0 += s.v3
	s.v1 = bits.RotateLeft64(s.v1, 17) ^ s.v2
	s.v3 = bits.RotateLeft64(s.v3, 21) ^ s.v0
	s.v2 = bits.RotateLeft64(s.v2, 32)
}

// round takes one word with one compression round, round2 with two.
func (s *sipState) round(m uint64) {
	s.v3 ^= m
	s.mix()
	s.v0 ^= m
}

func (s *sipState) round2(m uint64) {
	s.v3 ^= m
	s.mix()
	s.mix()
	s.v0 ^= m
}

func (s *sipState) finish3() uint64 {
	s.v2 ^= 0xff
	s.mix()
	s.mix()
	s.mix()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}

func (s *sipState) finish4() uint64 {
	s.v2 ^= 0xff
	s.mix()
	s.mix()
	s.mix()
	s.mix()
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3
}
