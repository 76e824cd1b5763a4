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
// gsoMaxSize bounds such a packet: 45 segments of 1448 bytes, well below a stock
// of frames, so that one connection's packet never needs more than all of them.
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

// fillSegments copies pkt into n frames of the stock, as n TCP segments. It
// returns false when a segment does not fit a frame. The caller holds mu and has
// made sure that there are as many frames.
func (t *transmitter) fillSegments(pkt *stack.PacketBuffer, n int) bool {
	mss := int(pkt.GSOOptions.MSS)
	var head [128]byte // Ethernet, IP and TCP headers
	headLen := pkt.HeaderSize()
	if headLen > len(head) {
		return false
	}
	ip := etherHeaderLen
	tcp := ip + int(pkt.GSOOptions.L3HdrLen)
	views, skip := pkt.AsViewList()
	from := viewCursor{v: views.Front(), at: skip}
	from.read(head[:headLen])
	if tcp+20 > headLen {
		return false
	}
	seq := binary.BigEndian.Uint32(head[tcp+4:])
	id := binary.BigEndian.Uint16(head[ip+4:])
	flags := head[tcp+13]
	left := pkt.Data().Size()
	for i := range n {
		size := min(mss, left)
		left -= size
		f := t.stock[len(t.stock)-1]
		if headLen+size > cap(f.Data) {
			return false // as would be all of them: nothing was taken yet
		}
		b := f.Data[:headLen+size]
		copy(b, head[:headLen])
		from.read(b[headLen:])
		binary.BigEndian.PutUint32(b[tcp+4:], seq+uint32(i*mss))
		if left > 0 {
			b[tcp+13] = flags &^ (tcpFlagFIN | tcpFlagPSH)
		}
		if head[ip]>>4 == 4 {
			binary.BigEndian.PutUint16(b[ip+2:], uint16(len(b)-ip))
			binary.BigEndian.PutUint16(b[ip+4:], id+uint16(i))
			b[ip+10], b[ip+11] = 0, 0
			binary.BigEndian.PutUint16(b[ip+10:], ^checksum.Checksum(b[ip:tcp], 0))
		} else {
			binary.BigEndian.PutUint16(b[ip+4:], uint16(len(b)-ip-ipv6HeaderLen))
		}
		sealTCP(b[ip:tcp], b[tcp:])
		f.Data = b
		t.stock = t.stock[:len(t.stock)-1]
		t.filled = append(t.filled, f)
	}
	return true
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
