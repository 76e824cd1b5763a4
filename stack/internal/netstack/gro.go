package netstack

import (
	"encoding/binary"

	"gvisor.dev/gvisor/pkg/buffer"

	"shardnet/driver/wire"
)

// maxRun is the most segments that are merged: a batch.
const maxRun = 64

// groRun merges segments of one batch that follow each other in one stream, as
// generic receive offload does, before they become netstack packets: the first
// segment's headers, then the payloads of all, copied once into one buffer. Netstack
// has a GRO of its own, which would merge packets that were already made; here a
// merged segment costs a copy and nothing else.
//
// Segments are merged as Linux's tcp_gro_receive does it: same addresses, ports,
// acknowledgement, window, options (the timestamps may differ in nothing), TTL and
// class, no flag but ACK, and PSH on the last; each begins where the one before
// ended, and all but the last are of the first one's length. Only neighbors in the
// batch are merged, so nothing is ever reordered. The loop alone uses it.
type groRun struct {
	frames [maxRun][]byte
	n      int
	first  wire.Packet
	opts   []byte // the TCP header's options
	next   uint32 // sequence number expected
	step   int    // payload of the first
	total  int    // payload of all
	head   int    // where the payload begins in each frame
	over   bool   // the last was shorter, or pushed: nothing may follow
}

// groMinPayload is the shortest payload worth a look: requests and replies are
// shorter, and what a bulk transfer sends is not.
const groMinPayload = 512

// add appends p, a plain and verified segment, to the run, or begins one with it.
// It returns false when p can't be part of it.
func (g *groRun) add(p *wire.Packet) (added bool) {
	if p.TCPFlags&^wire.PSH != wire.ACK {
		return false
	}
	headLen := wire.TCPHeaderLen(p.L4)
	payload := len(p.L4) - headLen
	if g.n == 0 {
		if payload < groMinPayload {
			return false
		}
		g.first, g.opts, g.step, g.total = *p, p.L4[20:headLen], payload, payload
		g.frames[0], g.n = p.Frame[:wire.EthernetLen+p.IPPacketLen()], 1
		g.head = len(g.frames[0]) - payload
		g.next = binary.BigEndian.Uint32(p.L4[4:]) + uint32(payload)
		g.over = p.TCPFlags&wire.PSH != 0
		return true
	}
	if g.over || payload == 0 || payload > g.step || g.n == maxRun ||
		binary.BigEndian.Uint32(p.L4[4:]) != g.next || !g.follows(p, headLen) {
		return false
	}
	if g.head+g.total+payload > 65535 {
		return false
	}
	g.frames[g.n] = p.Frame[:wire.EthernetLen+p.IPPacketLen()]
	g.n++
	g.next += uint32(payload)
	g.total += payload
	g.over = payload < g.step || p.TCPFlags&wire.PSH != 0
	return true
}

// follows compares all of the headers that must be the same.
func (g *groRun) follows(p *wire.Packet, headLen int) bool {
	if g.first.EtherType != p.EtherType {
		return false
	}
	a, b := g.first.Frame[wire.EthernetLen:], p.Frame[wire.EthernetLen:]
	if p.EtherType == wire.EtherTypeIPv4 {
		// Class; DF; TTL and protocol; addresses.
		if a[1] != b[1] || a[6] != b[6] || a[8] != b[8] || string(a[12:20]) != string(b[12:20]) {
			return false
		}
	} else if string(a[:4]) != string(b[:4]) || string(a[6:40]) != string(b[6:40]) {
		return false
	}
	x, y := g.first.L4, p.L4
	return string(x[:4]) == string(y[:4]) && // ports
		string(x[8:13]) == string(y[8:13]) && // acknowledgement, header length
		string(x[14:16]) == string(y[14:16]) && // window
		string(g.opts) == string(y[20:headLen])
}

// merged makes one packet of the run's. Its IP length is patched; its checksums
// are not, as they were verified segment by segment.
func (g *groRun) merged() buffer.Buffer {
	v := buffer.NewViewSize(g.head + g.total)
	b := v.AsSlice()
	at := copy(b, g.frames[0])
	for _, f := range g.frames[1:g.n] {
		at += copy(b[at:], f[g.head:])
	}
	if g.first.EtherType == wire.EtherTypeIPv4 {
		binary.BigEndian.PutUint16(b[wire.EthernetLen+2:], uint16(len(b)-wire.EthernetLen))
	} else {
		binary.BigEndian.PutUint16(b[wire.EthernetLen+4:], uint16(len(b)-wire.EthernetLen-wire.IPv6Len))
	}
	flags := g.head - 20 - len(g.opts) + 13
	b[flags] |= g.frames[g.n-1][flags] & wire.PSH
	return buffer.MakeWithView(v)
}
