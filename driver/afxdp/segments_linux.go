package afxdp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// In copy mode each frame of the TX ring costs the kernel a packet of its own: it
// allocates, copies, sends, and on a virtual link runs the peer's receive program,
// one by one. A bulk sender's segments follow each other, though, and the kernel has
// a way to take those as one: a packet socket, told by a virtio_net_hdr how the
// packet is to be cut (PACKET_VNET_HDR, packet(7)), as virtual machines send. One
// packet of up to 64 KB is copied once, and cut by the kernel, or by a NIC that can,
// when it leaves. segmenter finds such runs among the frames of a Transmit.
//
// It is for one queue alone: the kernel picks a packet's TX queue by its own hash,
// and segments of one connection would leave by two.
type segmenter struct {
	fd   int
	vnet [vnetLen]byte
	head [maxRunHead]byte
	msg  unix.Msghdr
	iov  [2 + maxRun]unix.Iovec
}

const (
	// minRun is the shortest run worth a call of its own: it costs about as much as
	// two frames in the ring.
	minRun     = 4
	maxRun     = 64
	maxRunSize = 65000 // of the packet; what IP can say is 65535
	maxRunHead = wire.EthernetLen + wire.MaxIPv4Len + wire.MaxTCPLen
	vnetLen    = 10 // struct virtio_net_hdr of linux/virtio_net.h
	sendBuffer = 8 << 20
)

func newSegmenter(ifindex int) (*segmenter, error) {
	// Protocol 0: it receives nothing.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	s := &segmenter{fd: fd}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBuffer)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: ifindex})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare packet socket: %w", err), s.close())
	}
	s.prepare()
	return s, nil
}

func (s *segmenter) close() error { return unix.Close(s.fd) }

// segmentRun is a TCP segment and those that continue it: they are of one connection, and
// differ only in what follows from their place in the stream.
type segmentRun struct {
	first  []byte
	l4     int // offset of the TCP header
	head   int // length of all headers
	size   int // payload of each segment but the last
	seq    uint32
	n      int
	total  int // bytes, headers once
	closed bool
}

// begin starts a run with frame b. It returns false if b is not a segment that can
// be continued.
func (r *segmentRun) begin(b []byte) bool {
	var p wire.Packet
	if !p.Parse(b) || !p.NoOptions || p.Proto != wire.ProtoTCP || wire.EthernetLen+p.IPPacketLen() != len(b) {
		return false
	}
	r.l4 = len(b) - len(p.L4)
	r.head = r.l4 + wire.TCPHeaderLen(p.L4)
	if r.head == len(b) || p.TCPFlags != wire.ACK || binary.BigEndian.Uint16(p.L4[18:]) != 0 {
		return false // nothing in it, or something about it
	}
	r.first, r.size = b, len(b)-r.head
	r.seq = binary.BigEndian.Uint32(p.L4[4:]) + uint32(r.size)
	r.n, r.total, r.closed = 1, len(b), false
	return true
}

// v4 reports whether the run's segments are IPv4's.
func (r *segmentRun) v4() bool { return r.l4 == wire.EthernetLen+wire.IPv4Len }

// add takes frame b into the run if it is the next segment.
func (r *segmentRun) add(b []byte) bool {
	f := r.first
	if r.closed || r.n == maxRun || len(b) <= r.head || len(b) > len(f) || r.total+len(b)-r.head > maxRunSize {
		return false
	}
	flags := b[r.l4+13]
	if flags&^(wire.FIN|wire.PSH) != wire.ACK || binary.BigEndian.Uint32(b[r.l4+4:]) != r.seq {
		return false
	}
	// Link and IP headers without IP's length, id and checksum; ports; acknowledgement
	// and offset; window; urgent pointer and options.
	const ether = wire.EthernetLen
	addrs := ether + 8
	if r.v4() {
		addrs = ether + 12
		if !bytes.Equal(f[:ether+2], b[:ether+2]) || !bytes.Equal(f[ether+6:ether+10], b[ether+6:ether+10]) ||
			int(binary.BigEndian.Uint16(b[ether+2:])) != len(b)-ether {
			return false
		}
	} else if !bytes.Equal(f[:ether+4], b[:ether+4]) || !bytes.Equal(f[ether+6:ether+8], b[ether+6:ether+8]) ||
		int(binary.BigEndian.Uint16(b[ether+4:])) != len(b)-ether-wire.IPv6Len {
		return false
	}
	if !bytes.Equal(f[addrs:r.l4+4], b[addrs:r.l4+4]) || !bytes.Equal(f[r.l4+8:r.l4+13], b[r.l4+8:r.l4+13]) ||
		!bytes.Equal(f[r.l4+14:r.l4+16], b[r.l4+14:r.l4+16]) || !bytes.Equal(f[r.l4+18:r.head], b[r.l4+18:r.head]) {
		return false
	}
	size := len(b) - r.head
	r.n++
	r.total += size
	r.seq += uint32(size)
	r.closed = size < r.size || flags != wire.ACK
	return true
}

// send sends the run that fs begin with as one packet. It returns false if the
// kernel would not take it: the frames are then to go by the ring.
func (s *segmenter) send(r *segmentRun, fs []driver.Frame) bool {
	h := s.head[:r.head]
	copy(h, r.first)
	h[r.l4+13] = fs[r.n-1].Data[r.l4+13] // the kernel leaves PSH and FIN to the last
	tcpLen := r.total - r.l4
	v := s.vnet[:]
	v[0] = 1 // VIRTIO_NET_HDR_F_NEEDS_CSUM
	ip := h[wire.EthernetLen:r.l4]
	if r.v4() {
		v[1] = 1 // VIRTIO_NET_HDR_GSO_TCPV4
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+tcpLen))
		wire.SetIPv4Checksum(ip)
	} else {
		v[1] = 4 // VIRTIO_NET_HDR_GSO_TCPV6
		binary.BigEndian.PutUint16(ip[4:], uint16(tcpLen))
	}
	binary.NativeEndian.PutUint16(v[2:], uint16(r.head))
	binary.NativeEndian.PutUint16(v[4:], uint16(r.size))
	binary.NativeEndian.PutUint16(v[6:], uint16(r.l4))
	binary.NativeEndian.PutUint16(v[8:], 16) // where TCP's checksum is
	// The checksum so far is that of the pseudo-header.
	src, dst := wire.Addresses(ip)
	binary.BigEndian.PutUint16(h[r.l4+16:], wire.PseudoSum(wire.ProtoTCP, tcpLen, src, dst))
	for i := range r.n {
		s.setPayload(i, fs[i].Data[r.head:])
	}
	return s.sendmsg(r.head, r.n) == 0
}

// transmitRun sends the run of segments that fs begin with, past the ring, and
// returns how many there were. What is in the ring leaves before it, so that a
// connection's segments stay in order.
func (q *queue) transmitRun(fs []driver.Frame) int {
	var r segmentRun
	if len(fs) < minRun || !r.begin(fs[0].Data) {
		return 0
	}
	for r.n < len(fs) && r.add(fs[r.n].Data) {
	}
	if r.n < minRun {
		return 0
	}
	for _, f := range fs[:r.n] {
		if !q.ours(f) {
			return 0
		}
	}
	q.sock.tx.producer.Store(q.sock.tx.prod)
	if q.Send() != nil || q.Stuck {
		return 0
	}
	q.Counts.Doorbells++
	if !q.segments.send(&r, fs) {
		return 0
	}
	for _, f := range fs[:r.n] {
		q.Counts.TxBytes += uint64(len(f.Data))
		if k, ok := q.jumbo.lent(f.Handle); ok {
			q.jumbo.release(k)
		} else {
			q.release(uint32(f.Handle))
		}
	}
	q.Counts.Lent -= r.n
	q.Counts.TxPackets += uint64(r.n)
	q.Counts.TxJoined += uint64(r.n)
	return r.n
}

// ours reports whether f is lent to the caller, and can be sent.
func (q *queue) ours(f driver.Frame) bool {
	if f.Handle < uint64(len(q.state)) && q.state[f.Handle] == lent {
		_, ok := q.sendable(f)
		return ok
	}
	_, ok := q.jumbo.lent(f.Handle)
	return ok && len(f.Data) <= q.mtu+wire.EthernetLen
}
