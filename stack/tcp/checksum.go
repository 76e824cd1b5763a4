package tcp

import "shardnet/driver/wire"

// pseudoSum is what the pseudo-header adds to a checksum without the length: addresses
// and protocol (RFC 9293 section 3.1). It is the same for all of a connection's
// segments.
func (t *Tuple) pseudoSum() uint64 {
	local, remote := t.Local[:], t.Remote[:]
	if t.Is4() {
		local, remote = local[12:], remote[12:]
	}
	return wire.Word(wire.PseudoSum(wire.ProtoTCP, 0, local, remote))
}

// VerifyChecksum reports whether the TCP checksum of segment b, between the given
// addresses of 4 or 16 bytes, is right.
func VerifyChecksum(b, src, dst []byte) bool {
	return wire.Checksum(b, wire.PseudoSum(wire.ProtoTCP, len(b), src, dst)) == 0xffff
}
