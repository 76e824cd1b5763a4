package rawload

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// reflectSpin is for how long Reflect polls before it waits in the queue, as long
// as a shard does.
const reflectSpin = 50 * time.Microsecond

// discardPort is where Reflect acknowledges and does not answer (RFC 863).
const discardPort = 9

// Reflect serves the generator's workloads on one queue with no stack at all, for
// a limit to compare servers with. It owns q until it returns: when ctx ends, with
// nil, or when the queue fails.
//
// A received frame is turned into its answer in place and sent from where it lies.
// Nothing is remembered from one frame to the next, and no checksum of a received
// frame verified:
//
//   - ARP and NDP for own are answered.
//   - A UDP datagram goes back as it came. One that is a get or set of this
//     package's memcached keys is answered as by a server that has them all.
//   - TCP: SYN gets SYN-ACK, from the same initial sequence number, so that the
//     echo of a segment has its own sequence number. Data goes back in one segment
//     that acknowledges it; to port 9 it is only acknowledged. FIN gets FIN. A
//     segment that is one whole memcached request gets the answer, at the sequence
//     number that the request acknowledges: so requests may not overlap, and those
//     too long for a segment are beyond it.
func Reflect(ctx context.Context, q driver.Queue, info driver.Info, own []netip.Addr) error {
	r, err := newReflector(q, info, own)
	if err != nil {
		return err
	}
	defer r.link.release()
	defer context.AfterFunc(ctx, q.Wake)()
	err = r.run(ctx)
	if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func newReflector(q driver.Queue, info driver.Info, own []netip.Addr) (*reflector, error) {
	if len(own) == 0 || len(own) > maxSources || len(info.MAC) != 6 {
		return nil, fmt.Errorf("reflect: %d addresses and MAC address %v: need 1 to %d, and 6 bytes", len(own), info.MAC, maxSources)
	}
	r := &reflector{info: info, mac: [6]byte(info.MAC)}
	for i := range r.own {
		var addrs []netip.Addr
		for _, a := range own {
			if a.Is6() == (i == 1) {
				addrs = append(addrs, a)
			}
		}
		r.own[i].init(addrs)
	}
	r.link.q = q
	return r, nil
}

type reflector struct {
	info  driver.Info
	mac   [6]byte
	own   [2]sources // IPv4, IPv6
	link  link       // the queue
	rx    [batch]driver.Frame
	tx    [2 * batch]driver.Frame
	held  int // of tx, left by a full ring
	spare [batch]driver.Frame
}

func (r *reflector) run(ctx context.Context) error {
	busy := time.Now()
	for ctx.Err() == nil {
		n, err := r.link.q.Receive(r.rx[:min(batch, len(r.tx)-r.held)])
		if err != nil {
			return err
		}
		if n == 0 && r.held == 0 {
			if time.Since(busy) > reflectSpin {
				if err := r.link.q.Wait(10 * time.Millisecond); err != nil {
					return err
				}
				busy = time.Now()
			}
			continue
		}
		if err := r.turn(n); err != nil {
			return err
		}
		busy = time.Now()
	}
	return nil
}

// turn answers the n frames of rx.
func (r *reflector) turn(n int) error {
	unanswered := 0
	for _, f := range r.rx[:n] {
		if size := r.answer(f.Data, cap(f.Data)); size > 0 {
			f.Data = f.Data[:size]
			r.tx[r.held] = f
			r.held++
		} else {
			r.spare[unanswered] = f
			unanswered++
		}
	}
	r.link.q.Release(r.spare[:unanswered])
	if r.held == 0 {
		return nil
	}
	sent, err := r.link.q.Transmit(r.tx[:r.held])
	copy(r.tx[:], r.tx[sent:r.held])
	r.held -= sent
	r.link.fail(err)
	r.link.fail(r.link.q.Flush())
	return r.link.err
}

// answer turns a frame into its answer and returns its length, at most room; 0 is
// no answer.
func (r *reflector) answer(frame []byte, room int) int {
	if len(frame) < wire.EthernetLen {
		return 0
	}
	room = min(room, wire.EthernetLen+r.info.MTU)
	b := frame[wire.EthernetLen:]
	switch be.Uint16(frame[12:]) {
	case wire.EtherTypeARP:
		if len(b) < wire.ARPLen || !wire.IsIPv4ARP(b) || be.Uint16(b[6:]) != wire.ARPRequest || r.own[0].find(b[24:28]) < 0 {
			return 0
		}
		var asker [10]byte
		copy(asker[:], b[8:18])
		target := [4]byte(b[24:28])
		putEthernet(frame, asker[:6], r.mac[:], wire.EtherTypeARP)
		wire.PutARP(b, wire.ARPReply, r.mac[:], target[:], asker[:6], asker[6:])
		return wire.EthernetLen + wire.ARPLen
	case wire.EtherTypeIPv4:
		if len(b) < wire.IPv4Len || b[0] != 0x45 || be.Uint16(b[6:])&(wire.MoreFragments|wire.FragmentOffset) != 0 || r.own[0].find(b[16:20]) < 0 {
			return 0
		}
		total := int(be.Uint16(b[2:]))
		if total < wire.IPv4Len || total > len(b) {
			return 0
		}
		src := [4]byte(b[12:16])
		copy(b[12:16], b[16:20])
		copy(b[16:20], src[:])
		n := r.transport(frame[:wire.EthernetLen+total], b[9], wire.EthernetLen+wire.IPv4Len, room)
		if n > 0 && n != wire.EthernetLen+total {
			be.PutUint16(b[2:], uint16(n-wire.EthernetLen))
			wire.SetIPv4Checksum(b[:wire.IPv4Len])
		}
		return n
	case wire.EtherTypeIPv6:
		if len(b) < wire.IPv6Len {
			return 0
		}
		n := int(be.Uint16(b[4:]))
		if n > len(b)-wire.IPv6Len {
			return 0
		}
		if b[6] == wire.ProtoICMPv6 {
			return r.ndp(frame[:wire.EthernetLen+wire.IPv6Len+n], room)
		}
		if r.own[1].find(b[24:40]) < 0 {
			return 0
		}
		src := [16]byte(b[8:24])
		copy(b[8:24], b[24:40])
		copy(b[24:40], src[:])
		size := r.transport(frame[:wire.EthernetLen+wire.IPv6Len+n], b[6], wire.EthernetLen+wire.IPv6Len, room)
		if size > 0 {
			be.PutUint16(b[4:], uint16(size-wire.EthernetLen-wire.IPv6Len))
		}
		return size
	}
	return 0
}

// ndp answers a solicitation.
func (r *reflector) ndp(frame []byte, room int) int {
	var p packet
	if p.parse(frame, false) != isICMPv6 || !isNDP(&p) || p.L4[0] != wire.ICMPv6NeighborSolicit ||
		r.own[1].find(p.L4[8:24]) < 0 || room < wire.EthernetLen+wire.IPv6Len+neighborLen {
		return 0
	}
	var answer [wire.EthernetLen + wire.IPv6Len + neighborLen]byte
	n := answerSolicit(answer[:], &p, r.mac[:])
	return copy(frame[:n:room], answer[:n])
}

// transport answers a UDP or TCP packet whose transport header begins at at, and
// whose addresses have been exchanged already.
func (r *reflector) transport(frame []byte, proto uint8, at, room int) int {
	var mac [6]byte
	copy(mac[:], frame)
	copy(frame, frame[6:12])
	copy(frame[6:12], mac[:])
	b := frame[at:]
	switch {
	case proto == wire.ProtoUDP && len(b) >= wire.UDPLen:
		swapPorts(b)
		if n := int(be.Uint16(b[4:])); n < wire.UDPLen || n > len(b) {
			return 0
		}
		body := b[wire.UDPLen:]
		if len(body) <= memFrameLen || be.Uint32(body[2:]) != 1 {
			return len(frame)
		}
		n := memcachedAnswer(body[memFrameLen:], room-at-wire.UDPLen-memFrameLen)
		if n == 0 {
			return len(frame)
		}
		size := at + wire.UDPLen + memFrameLen + n
		b = frame[at:size]
		be.PutUint16(b[4:], uint16(len(b)))
		src, dst := wire.Addresses(frame[wire.EthernetLen:])
		wire.SetUDPChecksum(b, nil, src, dst)
		return size
	case proto == wire.ProtoTCP && len(b) >= wire.TCPLen:
		swapPorts(b)
		return r.tcp(frame, at, room)
	}
	return 0
}

// tcp answers a segment.
func (r *reflector) tcp(frame []byte, at, room int) int {
	b := frame[at:]
	offset := wire.TCPHeaderLen(b)
	if offset < wire.TCPLen || offset > len(b) {
		return 0
	}
	payload := b[offset:]
	seq, ack, flags := be.Uint32(b[4:]), be.Uint32(b[8:]), b[13]
	end := seq + uint32(len(payload))
	switch {
	case flags&wire.RST != 0:
		return 0
	case flags&wire.SYN != 0:
		if flags&wire.ACK != 0 {
			return 0
		}
		// The options go back as they came: they are fit for an answer.
		return r.seal(frame, at, seq, seq+1, wire.SYN|wire.ACK)
	case len(payload) == 0 && flags&wire.FIN == 0:
		return 0
	case flags&wire.FIN != 0:
		if len(payload) == 0 {
			return r.seal(frame, at, ack, end+1, wire.FIN|wire.ACK)
		}
		return r.seal(frame, at, seq, end+1, wire.FIN|wire.ACK|wire.PSH)
	case be.Uint16(b) == discardPort:
		return r.seal(frame[:at+offset], at, ack, end, wire.ACK)
	}
	if n := memcachedAnswer(payload, room-at-offset); n > 0 {
		return r.seal(frame[:at+offset+n], at, ack, end, wire.ACK|wire.PSH)
	}
	return r.reseal(b, len(frame), end)
}

// seal makes a segment's header and checksum.
func (r *reflector) seal(frame []byte, at int, seq, ack uint32, flags uint8) int {
	b := frame[at:]
	be.PutUint32(b[4:], seq)
	be.PutUint32(b[8:], ack)
	b[13] = flags
	src, dst := wire.Addresses(frame[wire.EthernetLen:])
	wire.SetTCPChecksum(b, src, dst)
	return len(frame)
}

// reseal changes nothing but the acknowledgement, and the checksum by as much.
func (r *reflector) reseal(b []byte, size int, ack uint32) int {
	old := be.Uint32(b[8:])
	be.PutUint32(b[8:], ack)
	be.PutUint16(b[16:], wire.UpdateChecksum(be.Uint16(b[16:]), old, ack))
	return size
}

// memcachedAnswer writes the answer to the request b over it, within room bytes,
// and returns its length; 0 if b is no whole request.
func memcachedAnswer(b []byte, room int) int {
	if len(b) < 4+keyLen+2 || b[1] != 'e' || b[2] != 't' || b[3] != ' ' {
		return 0
	}
	k, n, ok := parseKey(b[4:])
	switch {
	case !ok || string(b[len(b)-2:]) != "\r\n":
		return 0
	case b[0] == 'g' && len(b) == 4+keyLen+2 && n+valueOverhead <= room:
		return len(appendValue(b[:0:room], k, n))
	case b[0] == 's':
		// A whole one is not longer than its first line, value and end.
		if want := 4 + keyLen + 1 + digits(k) + 3 + digits(uint32(n)) + 2 + n + 2; len(b) == want {
			return copy(b, stored)
		}
	}
	return 0
}

func digits(v uint32) int {
	n := 1
	for ; v >= 10; v /= 10 {
		n++
	}
	return n
}

func swapPorts(b []byte) {
	v := be.Uint32(b)
	be.PutUint32(b, v<<16|v>>16)
}
