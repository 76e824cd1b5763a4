package frametest

import (
	"encoding/binary"

	"shardnet/driver/wire"
)

// FixChecksums sets the IPv4 header, TCP, UDP and ICMP checksums of frame, where
// it can be parsed, so that a fuzzer gets beyond them.
func FixChecksums(frame []byte) {
	var p wire.Packet
	if !p.Parse(frame) || p.Src == nil {
		return
	}
	if p.EtherType == wire.EtherTypeIPv4 {
		ihl := int(frame[wire.EthernetLen]&0x0f) * 4
		wire.SetIPv4Checksum(frame[wire.EthernetLen : wire.EthernetLen+ihl])
	}
	if p.L4 == nil {
		return
	}
	at, pseudo := 0, wire.PseudoSum(p.Proto, len(p.L4), p.Src, p.Dst)
	switch p.Proto {
	case wire.ProtoTCP:
		at = 16
	case wire.ProtoUDP:
		at = 6
	case wire.ProtoICMPv6:
		at = 2
	case wire.ProtoICMP:
		at, pseudo = 2, 0
	default:
		return
	}
	p.L4[at], p.L4[at+1] = 0, 0
	binary.BigEndian.PutUint16(p.L4[at:], ^wire.Checksum(p.L4, pseudo))
}
