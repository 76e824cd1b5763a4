package stack

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"shardnet/driver"
)

// Datagram is one received UDP datagram, and the means to answer it. It and its
// Data are valid during DatagramHandler.HandleDatagram, on the loop, and not
// longer: what must live on is to be copied.
type Datagram struct {
	// Data is the payload, in the very frame that the NIC wrote. It may be changed.
	Data []byte

	sh      *Shard
	flow    *udpFlow
	packet  *packet       // of the frame; nil if netstack delivered the datagram
	frame   *driver.Frame // that Data is in, if the reply may be written over it
	replied bool          // frame is the reply now

	// Of a datagram that netstack delivered.
	source      netip.AddrPort
	destination netip.AddrPort
}

// DatagramHandler serves a UDP socket on the loop: see Shard.HandleDatagrams.
type DatagramHandler interface {
	// HandleDatagram is called on the loop, with no lock held. It may call every
	// method of the shard's sockets and must not block: nothing else of the shard
	// runs meanwhile.
	HandleDatagram(d *Datagram)
}

// HandleDatagrams has the loop call h for every datagram that f, a socket of this
// shard, receives, those not yet read included and first. It takes the place of
// ReadFrom and Notify, for good. On a closed socket it returns net.ErrClosed.
//
// A whole, plain datagram (no fragment, no IP options, addressed to this host
// alone) never meets netstack: h is called with the received frame. All others
// come by way of netstack, a copy later.
func (sh *Shard) HandleDatagrams(f PacketFlow, h DatagramHandler) error {
	u, ok := f.(*udpFlow)
	if !ok || u.sh != sh {
		return fmt.Errorf("handle datagrams of %T of shard %d on shard %d: not one of its sockets", f, f.Shard(), sh.index)
	}
	if u.closed.Load() {
		return net.ErrClosed
	}
	u.ep.SocketOptions().SetReceiveOriginalDstAddress(true)
	u.serve(&datagramTask{f: u, h: h})
	return nil
}

// Source is the sender.
func (d *Datagram) Source() netip.AddrPort {
	switch {
	case d.packet == nil:
		return d.source
	case d.replied: // the addresses have changed places in the frame
		return netip.AddrPortFrom(addrOf(d.packet.dst), d.packet.srcPort)
	}
	return netip.AddrPortFrom(addrOf(d.packet.src), d.packet.srcPort)
}

// Destination is the address and port the datagram was sent to, also on a socket
// bound to every address: one of the stack's own, or a broadcast address.
func (d *Datagram) Destination() netip.AddrPort {
	switch {
	case d.packet == nil:
		return d.destination
	case d.replied:
		return netip.AddrPortFrom(addrOf(d.packet.src), d.packet.dstPort)
	}
	return netip.AddrPortFrom(addrOf(d.packet.dst), d.packet.dstPort)
}

// Shard is the shard that received the datagram.
func (d *Datagram) Shard() *Shard { return d.sh }

// Reply sends b to the source, from the address the datagram was sent to (the
// route's, if that was a broadcast). The first reply to a datagram in a frame of
// its own is written over it: after it the bytes of Data are no longer the
// request. b may be Data, or begin where Data does; nothing is copied then.
// Further replies are copied into frames of their own, and leave after it.
//
// A reply longer than the MTU allows is sent in IP fragments. The error is
// EMSGSIZE for one longer than UDP can be (65507 bytes over IPv4), ENOBUFS when
// the queue is short of frames and net.ErrClosed when the socket is closed: in
// each case nothing was sent.
func (d *Datagram) Reply(b []byte) error {
	if d.frame != nil && !d.replied {
		if d.flow.closed.Load() {
			return net.ErrClosed
		}
		if d.replyInPlace(b) {
			return nil
		}
		d.frame = nil // one in place would overtake this one
	}
	to := d.Source()
	if d.flow.remote.IsValid() {
		to = netip.AddrPort{}
	}
	_, err := d.flow.writeFrom(d.Destination().Addr(), b, to)
	return err
}

// replyInPlace makes the received frame the reply. It returns false when the
// reply must take another way: it is too long for a packet or for the frame.
func (d *Datagram) replyInPlace(b []byte) bool {
	p := d.packet
	header := etherHeaderLen + ipv4HeaderLen + udpHeaderLen // p is plain
	if p.etherType == etherTypeIPv6 {
		header += ipv6HeaderLen - ipv4HeaderLen
	}
	n := header + len(b)
	if n-etherHeaderLen > d.sh.st.info.MTU || n > cap(d.frame.Data) {
		return false
	}
	frame := d.frame.Data[:n]
	copy(frame[header:], b)
	d.sh.answerID++
	answerUDP(frame, p.etherType == etherTypeIPv6, d.sh.answerID)
	d.frame.Data = frame
	d.replied = true
	return true
}

// takeDatagram gives p, a whole, plain datagram, to the socket of this shard that it
// is for, and returns whether there was one. frame is where p lies, if
// that may be answered in place; replied tells that it was, and is now to be
// sent. Loop only.
func (sh *Shard) takeDatagram(p *packet, frame *driver.Frame) (taken, replied bool) {
	f := sh.udp.find(p)
	if f == nil {
		return false, false
	}
	c := &sh.counters.local
	payload := p.l4[udpHeaderLen:]
	h := f.handler
	if h == nil {
		if !f.queue.push(addrOf(p.src), addrOf(p.dst), p.srcPort, payload) {
			c[udpQueueFull]++
			return true, false
		}
		c[udpFast]++
		f.arrived()
		return true, false
	}
	c[udpFast]++
	d := &sh.datagram
	*d = Datagram{Data: payload, sh: sh, flow: f, packet: p, frame: frame}
	sh.ran = h
	h.HandleDatagram(d)
	replied = d.replied
	*d = Datagram{}
	if replied {
		c[udpFastReplies]++
	}
	return true, replied
}

// plainUnicast reports whether p, UDP or TCP, may bypass netstack's IP: whole, without options,
// from a host's address to one of ours, in a frame to us alone. What is left
// (broadcast, multicast, an address that is not ours, a source that can't be
// answered) has rules that netstack knows. So it is with a sender whose MAC address
// is a group's: an answer in place would go to the group.
func (sh *Shard) plainUnicast(p *packet) bool {
	if !p.plain || (p.frame[0]|p.frame[6])&1 != 0 || p.srcPort == 0 {
		return false
	}
	src := addrOf(p.src)
	if src.Is4() {
		if a := p.src[0]; a == 0 || a == 127 || a >= 224 {
			return false
		}
	} else if src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || src.Is4In6() {
		return false
	}
	own := false
	for i := range sh.st.local {
		l := &sh.st.local[i]
		if l.addr == src || l.broadcast == src {
			return false
		}
		own = own || l.addr == addrOf(p.dst)
	}
	return own
}

// datagramTask runs a handler for the datagrams that netstack delivered, and first
// of all for those that waited when the handler was set.
type datagramTask struct {
	f   *udpFlow
	h   DatagramHandler
	set bool // h is f's handler: nothing waits any more
}

// String names the handler.
func (t *datagramTask) String() string { return fmt.Sprintf("%T", t.h) }

// RunOnShard implements Task.
func (t *datagramTask) RunOnShard() {
	f := t.f
	for n := 0; n < rxBudget || !t.set; n++ { // as nothing arrives meanwhile, what waits comes to an end
		if f.sh.scratch == nil {
			f.sh.scratch = make([]byte, 64<<10)
		}
		f.readMu.Lock()
		n, from, to, err := f.readFrom(f.sh.scratch)
		f.readMu.Unlock()
		if err == ErrWouldBlock {
			t.set, f.handler = true, t.h
			return
		}
		if err != nil {
			if _, passing := err.(syscall.Errno); passing {
				continue // an ICMP error that some reply caused: nobody asks for it
			}
			return
		}
		f.sh.datagram = Datagram{Data: f.sh.scratch[:n], sh: f.sh, flow: f, source: from, destination: to}
		t.h.HandleDatagram(&f.sh.datagram)
		f.sh.datagram = Datagram{}
	}
	f.NotifyEvent(0) // there may be more: next turn
}

// addrOf is the address in b, of 4 or 16 bytes.
func addrOf(b []byte) netip.Addr {
	if len(b) == 4 {
		return netip.AddrFrom4([4]byte(b))
	}
	return netip.AddrFrom16([16]byte(b))
}
