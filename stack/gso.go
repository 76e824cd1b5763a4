package stack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

// Netstack is told that this NIC segments TCP and fills in its checksums, as a
// kernel's NIC with TSO would (stack.HostGSOSupported). So it makes one packet of
// up to gsoMaxSize of what a connection may send, and its TCP, IP and locks are
// paid for once; the transmitter cuts the packet into segments as it writes it into
// TX frames, one copy as before.
//
// gsoMaxSize bounds such a packet: 45 segments of 1448 bytes. The peer chooses how
// long a segment is, and so does whoever sends an ICMP error: there may be more of
// them than the stock has frames, and such a packet leaves in parts.
const gsoMaxSize = 65535

// SupportedGSO implements stack.GSOEndpoint.
func (l *link) SupportedGSO() stack.SupportedGSO { return l.gso }

// GSOMaxSize implements stack.GSOEndpoint.
func (l *link) GSOMaxSize() uint32 { return gsoMaxSize }

// segmentsOf is how many frames pkt needs.
func segmentsOf(pkt *stack.PacketBuffer) int {
	mss := int(pkt.GSOOptions.MSS)
	if data := pkt.Data().Size(); pkt.GSOOptions.Type != stack.GSONone && mss > 0 && data > mss {
		return (data + mss - 1) / mss
	}
	return 1
}

// fillSegments copies pkt's segments first to first+n-1 into n frames of the stock.
// It returns false when a segment does not fit a frame. The caller holds mu and has
// made sure that there are as many frames.
func (t *transmitter) fillSegments(pkt *stack.PacketBuffer, first, n int) bool {
	var head [etherHeaderLen + 60]byte // Ethernet and IP headers
	ipLen := int(pkt.GSOOptions.L3HdrLen)
	if etherHeaderLen+ipLen > len(head) {
		return false
	}
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	from.read(head[:etherHeaderLen+ipLen])
	w := segmentWriter{
		stock: &t.stock, filled: &t.filled,
		head: head[:etherHeaderLen+ipLen], ipLen: ipLen, mss: int(pkt.GSOOptions.MSS),
	}
	return w.write(&from, pkt.HeaderSize()-etherHeaderLen-ipLen, pkt.Data().Size(), first, n)
}

// sealTCP sets the checksum of a segment, given its IP header without extension
// headers.
func sealTCP(ip, l4 []byte) {
	src, dst := ip[12:16], ip[16:20]
	if ip[0]>>4 == 6 {
		src, dst = ip[8:24], ip[24:40]
	}
	l4[16], l4[17] = 0, 0
	sum := checksum.Checksum(l4, pseudoSum(protoTCP, len(l4), src, dst))
	binary.BigEndian.PutUint16(l4[16:], ^sum)
}

// pseudoSum is the folded sum of the pseudo-header.
func pseudoSum(proto uint8, length int, src, dst []byte) uint16 {
	sum := uint32(proto) + uint32(length)
	for _, a := range [2][]byte{src, dst} {
		for ; len(a) >= 4; a = a[4:] {
			sum += uint32(binary.BigEndian.Uint16(a)) + uint32(binary.BigEndian.Uint16(a[2:]))
		}
	}
	sum = sum&0xffff + sum>>16
	return uint16(sum + sum>>16)
}

// viewCursor reads a packet's views in order.
type viewCursor struct {
	v  *buffer.View
	at int // of v, what was read
}

// read fills p, if there is as much.
func (c *viewCursor) read(p []byte) {
	for len(p) > 0 && c.v != nil {
		part := c.v.AsSlice()
		if c.at >= len(part) {
			c.at -= len(part)
			c.v = c.v.Next()
			continue
		}
		n := copy(p, part[c.at:])
		p = p[n:]
		c.at += n
	}
}
