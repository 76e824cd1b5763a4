package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/tcpip/checksum"
)

// FixChecksums sets the IPv4 header, TCP, UDP and ICMP checksums of frame, where
// it can be parsed, so that a fuzzer gets beyond them.
func FixChecksums(frame []byte) {
	var p packet
	if !p.parse(frame) || p.src == nil {
		return
	}
	if p.etherType == etherTypeIPv4 {
		ihl := int(frame[etherHeaderLen]&0x0f) * 4
		h := frame[etherHeaderLen : etherHeaderLen+ihl]
		h[10], h[11] = 0, 0
		binary.BigEndian.PutUint16(h[10:], ^checksum.Checksum(h, 0))
	}
	if p.l4 == nil {
		return
	}
	at, pseudo := 0, p.pseudoHeaderSum()
	switch p.proto {
	case protoTCP:
		at = 16
	case protoUDP:
		at = 6
	case protoICMPv6:
		at = 2
	case protoICMP:
		at, pseudo = 2, 0
	default:
		return
	}
	p.l4[at], p.l4[at+1] = 0, 0
	binary.BigEndian.PutUint16(p.l4[at:], ^checksum.Checksum(p.l4, pseudo))
}
