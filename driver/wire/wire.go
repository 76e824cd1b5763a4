package wire

import "encoding/binary"

// EtherTypes (IEEE 802 numbers).
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeVLAN = 0x8100 // 802.1Q
	EtherTypeIPv6 = 0x86dd
	EtherTypeQinQ = 0x88a8 // 802.1ad
)

// Header lengths in bytes, without options.
const (
	EthernetLen     = 14
	VLANLen         = 4
	ARPLen          = 28 // RFC 826 over Ethernet and IPv4
	IPv4Len         = 20
	IPv6Len         = 40
	IPv6FragmentLen = 8
	TCPLen          = 20
	UDPLen          = 8
	ICMPLen         = 8

	// MaxIPv4Len and MaxTCPLen are with as many options as there can be.
	MaxIPv4Len = 60
	MaxTCPLen  = 60
	// MaxHeadersLen is the longest header of a packet that the stack writes.
	MaxHeadersLen = EthernetLen + IPv6Len + MaxTCPLen
)

// Protocol numbers, and those of IPv6's extension headers.
const (
	ProtoHopByHop = 0
	ProtoICMP     = 1
	ProtoIGMP     = 2
	ProtoTCP      = 6
	ProtoUDP      = 17
	ProtoRouting  = 43
	ProtoFragment = 44
	ProtoICMPv6   = 58
	ProtoDestOpts = 60
)

// Flags of a TCP segment (RFC 9293 section 3.1).
const (
	FIN = 1 << 0
	SYN = 1 << 1
	RST = 1 << 2
	PSH = 1 << 3
	ACK = 1 << 4
	URG = 1 << 5
	ECE = 1 << 6
	CWR = 1 << 7
)

// Fields of IPv4's fragment word (RFC 791 section 3.1).
const (
	DontFragment   = 0x4000
	MoreFragments  = 0x2000
	FragmentOffset = 0x1fff // in units of 8 bytes
)

// ARP operations (RFC 826).
const (
	ARPRequest = 1
	ARPReply   = 2
)

// ICMP types (RFC 792) that the stack tells apart.
const (
	ICMPEchoReply    = 0
	ICMPUnreachable  = 3
	ICMPSourceQuench = 4
	ICMPRedirect     = 5
	ICMPEchoRequest  = 8
	ICMPTimeExceeded = 11
	ICMPParameter    = 12
)

// ICMPv6 types (RFC 4443, 4861, 2710, 3810). Those below ICMPv6EchoRequest are errors.
const (
	ICMPv6EchoRequest      = 128
	ICMPv6EchoReply        = 129
	ICMPv6MLDQuery         = 130
	ICMPv6MLDReport        = 131
	ICMPv6MLDDone          = 132
	ICMPv6RouterSolicit    = 133
	ICMPv6RouterAdvert     = 134
	ICMPv6NeighborSolicit  = 135
	ICMPv6NeighborAdvert   = 136
	ICMPv6NeighborRedirect = 137
	ICMPv6MLDv2Report      = 143
)

// DefaultTTL is the TTL and hop limit of what the stack sends (RFC 1700).
const DefaultTTL = 64

// Broadcast is Ethernet's broadcast address.
var Broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// FitsMTU reports whether a device of that MTU takes frame: it has an Ethernet header, and
// is no longer than the MTU allows, a VLAN tag not counted.
func FitsMTU(frame []byte, mtu int) bool {
	limit := mtu + EthernetLen
	if len(frame) > limit && binary.BigEndian.Uint16(frame[12:]) == EtherTypeVLAN {
		limit += VLANLen
	}
	return len(frame) >= EthernetLen && len(frame) <= limit
}

// PutEthernet writes an Ethernet header to b.
func PutEthernet(b []byte, dst, src *[6]byte, etherType uint16) {
	_ = b[EthernetLen-1]
	copy(b[:6], dst[:])
	copy(b[6:12], src[:])
	b[12], b[13] = byte(etherType>>8), byte(etherType)
}

// ipv4ARP is how an ARP packet for IPv4 over Ethernet begins (RFC 826): types and
// lengths of its addresses.
const ipv4ARP = 0x0001_0800_0604

// IsIPv4ARP reports whether b, an ARP packet of ARPLen bytes, is for IPv4 over Ethernet.
func IsIPv4ARP(b []byte) bool { return binary.BigEndian.Uint64(b)>>16 == ipv4ARP }

// PutARP writes an ARP packet for IPv4 over Ethernet to b. The MAC addresses are 6
// bytes, the others 4.
func PutARP(b []byte, op uint16, senderMAC, sender, targetMAC, target []byte) {
	_ = b[ARPLen-1]
	binary.BigEndian.PutUint64(b, ipv4ARP<<16|uint64(op))
	copy(b[8:14], senderMAC)
	copy(b[14:18], sender)
	copy(b[18:24], targetMAC)
	copy(b[24:28], target)
}

// PutIPv4 writes an IPv4 header without options to b. total is the packet's length,
// header included; fragment is the word of flags and offset. src and dst are 4 bytes.
func PutIPv4(b []byte, tos uint8, total int, id, fragment uint16, ttl, proto uint8, src, dst []byte) {
	_ = b[IPv4Len-1]
	binary.BigEndian.PutUint32(b, 0x45000000|uint32(tos)<<16|uint32(uint16(total)))
	binary.BigEndian.PutUint32(b[4:], uint32(id)<<16|uint32(fragment))
	binary.BigEndian.PutUint32(b[8:], uint32(ttl)<<24|uint32(proto)<<16)
	copy(b[12:16], src)
	copy(b[16:20], dst)
	SetIPv4Checksum(b[:IPv4Len])
}

// PutIPv6 writes an IPv6 header to b, with flow label 0. payload is the length of what
// follows the header. src and dst are 16 bytes.
func PutIPv6(b []byte, class uint8, payload int, next, hopLimit uint8, src, dst []byte) {
	_ = b[IPv6Len-1]
	binary.BigEndian.PutUint32(b, 6<<28|uint32(class)<<20)
	binary.BigEndian.PutUint32(b[4:], uint32(uint16(payload))<<16|uint32(next)<<8|uint32(hopLimit))
	copy(b[8:24], src)
	copy(b[24:40], dst)
}

// PutIPv6Fragment writes a fragment header (RFC 8200 section 4.5) to b. offset is in
// bytes, a multiple of 8.
func PutIPv6Fragment(b []byte, next uint8, offset int, more bool, id uint32) {
	_ = b[IPv6FragmentLen-1]
	word := uint16(offset)
	if more {
		word |= 1
	}
	b[0], b[1] = next, 0
	binary.BigEndian.PutUint16(b[2:], word)
	binary.BigEndian.PutUint32(b[4:], id)
}

// PutTCP writes a TCP header without its options to b, with checksum 0: see
// SetTCPChecksum. headerLen is the header's length with options, a multiple of 4.
func PutTCP(b []byte, srcPort, dstPort uint16, seq, ack uint32, headerLen int, flags uint8, window uint16) {
	_ = b[TCPLen-1]
	binary.BigEndian.PutUint32(b, uint32(srcPort)<<16|uint32(dstPort))
	binary.BigEndian.PutUint32(b[4:], seq)
	binary.BigEndian.PutUint32(b[8:], ack)
	binary.BigEndian.PutUint32(b[12:], uint32(headerLen/4)<<28|uint32(flags)<<16|uint32(window))
	binary.BigEndian.PutUint32(b[16:], 0)
}

// PutUDP writes a UDP header to b for a payload of n bytes, with checksum 0: see
// SetUDPChecksum.
func PutUDP(b []byte, srcPort, dstPort uint16, n int) {
	_ = b[UDPLen-1]
	binary.BigEndian.PutUint32(b, uint32(srcPort)<<16|uint32(dstPort))
	binary.BigEndian.PutUint32(b[4:], uint32(uint16(UDPLen+n))<<16)
}

// MaxUDPPayload is the most that a datagram can hold, fragmented or not.
func MaxUDPPayload(v4 bool) int {
	if v4 {
		return 65535 - IPv4Len - UDPLen
	}
	return 65535 - UDPLen
}

// IPLen is the length of an IP header without options.
func IPLen(v4 bool) int {
	if v4 {
		return IPv4Len
	}
	return IPv6Len
}
