package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"shardnet/driver/wire"
	"shardnet/stack/internal/txq"
)

// segmentsOf is how many frames pkt needs.
func segmentsOf(pkt *stack.PacketBuffer) int {
	mss := int(pkt.GSOOptions.MSS)
	if data := pkt.Data().Size(); pkt.GSOOptions.Type != stack.GSONone && mss > 0 && data > mss {
		return (data + mss - 1) / mss
	}
	return 1
}

// segmentWriter writes TCP segments into frames, one or several of one packet.
type segmentWriter struct {
	tx    *txq.Queue // locked
	head  []byte     // Ethernet and IP headers
	ipLen int
	mss   int
}

// write makes n segments, beginning with number first, of what from reads: tcpHead
// bytes of TCP's header, and left bytes of payload. There are as many frames. It
// returns false when a segment does not fit a frame: nothing was written then.
func (w *segmentWriter) write(from *viewCursor, tcpHead, left, first, n int) bool {
	var tcp [wire.MaxTCPLen]byte
	if tcpHead > len(tcp) || tcpHead < wire.TCPLen {
		return false
	}
	from.read(tcp[:tcpHead])
	from.at += first * w.mss
	left -= first * w.mss
	seq := binary.BigEndian.Uint32(tcp[4:])
	l3, l4 := wire.EthernetLen, wire.EthernetLen+w.ipLen
	for i := first; i < first+n; i++ {
		size := min(w.mss, left)
		left -= size
		if l4+tcpHead+size > cap(w.tx.Peek().Data) {
			return false // the first is the longest
		}
		f := w.tx.Take()
		b := f.Data[:l4+tcpHead+size]
		copy(b, w.head)
		copy(b[l4:], tcp[:tcpHead])
		from.read(b[l4+tcpHead:])
		binary.BigEndian.PutUint32(b[l4+4:], seq+uint32(i*w.mss))
		if left > 0 {
			b[l4+13] &^= wire.FIN | wire.PSH
		}
		if w.ipLen == wire.IPv4Len {
			binary.BigEndian.PutUint16(b[l3+2:], uint16(len(b)-l3))
			if id := binary.BigEndian.Uint16(b[l3+4:]); id != 0 {
				binary.BigEndian.PutUint16(b[l3+4:], id+uint16(i))
			}
			wire.SetIPv4Checksum(b[l3:l4])
		} else {
			binary.BigEndian.PutUint16(b[l3+4:], uint16(len(b)-l4))
		}
		setTCPChecksum(b[l3:], b[l4:])
		f.Data = b
		w.tx.Put(f)
	}
	return true
}

// setTCPChecksum sets the checksum of segment, given its IP header.
func setTCPChecksum(ip, segment []byte) {
	src, dst := wire.Addresses(ip)
	wire.SetTCPChecksum(segment, src, dst)
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
