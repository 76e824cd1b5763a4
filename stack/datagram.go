package stack

import (
	"fmt"
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
// shard, receives, those not yet read included. It takes the place of ReadFrom and
// Notify, for good.
//
// A whole, plain datagram (no fragment, no IP options, addressed to this host
// alone) never meets netstack: h is called with the received frame. All others
// come by way of netstack, a copy later.
func (sh *Shard) HandleDatagrams(f PacketFlow, h DatagramHandler) error {
	u, ok := f.(*udpFlow)
	if !ok || u.sh != sh {
		return fmt.Errorf("handle datagrams of %T of shard %d on shard %d: not one of its sockets", f, f.Shard(), sh.index)
	}
	u.ep.SocketOptions().SetReceiveOriginalDstAddress(true)
	u.handler.Store(&h)
	u.serve((*datagramTask)(u))
	return nil
}

// Source is the sender.
func (d *Datagram) Source() netip.AddrPort {
	if p := d.packet; p != nil {
		if d.replied {
			return netip.AddrPortFrom(addrOf(p.dst), p.srcPort) // they have changed places in the frame
		}
		return netip.AddrPortFrom(addrOf(p.src), p.srcPort)
	}
	return d.source
}

// Destination is the address and port the datagram was sent to: one of the
// stack's own, also on a socket bound to all of them.
func (d *Datagram) Destination() netip.AddrPort {
	if p := d.packet; p != nil {
		if d.replied {
			return netip.AddrPortFrom(addrOf(p.src), p.dstPort)
		}
		return netip.AddrPortFrom(addrOf(p.dst), p.dstPort)
	}
	return d.destination
}

// Shard is the shard that received the datagram.
func (d *Datagram) Shard() *Shard { return d.sh }

// Reply sends b to the source, from the address the datagram was sent to. The
// first reply to a datagram in a frame of its own is written over it: after it
// the bytes of Data are no longer the request. b may be Data, or begin where Data
// does; nothing is copied then. Further replies are copied into frames of their
// own.
//
// A reply longer than the MTU allows is sent in IP fragments. The error is
// EMSGSIZE for one longer than UDP can be (65507 bytes over IPv4), ENOBUFS when the queue is short of frames and net.ErrClosed when the
// socket is closed: in each case nothing was sent.
func (d *Datagram) Reply(b []byte) error {
	if d.frame != nil && !d.replied && d.replyInPlace(b) {
		return nil
	}
	_, err := d.flow.writeFrom(d.Destination().Addr(), b, d.Source())
	return err
}

// replyInPlace makes the received frame the reply. It returns false when the
// reply must take another way: it is too long for a packet or for the frame.
func (d *Datagram) replyInPlace(b []byte) bool {
	p := d.packet
	header := len(p.frame) - len(p.l4) + udpHeaderLen
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

// takeDatagram gives p to the socket it is for if it is a whole, plain datagram to
// a socket of this shard, and returns whether it was. frame is where p lies, if
// that may be answered in place; replied tells that it was, and is now to be
// sent. Loop only.
func (sh *Shard) takeDatagram(p *packet, frame *driver.Frame) (taken, replied bool) {
	f := sh.udp.find(p)
	if f == nil || !sh.plainUnicast(p) {
		return false, false
	}
	c := &sh.counters.local
	payload := p.l4[udpHeaderLen:]
	h := f.handler.Load()
	if h == nil {
		c[udpFast]++
		if !f.queue.push(addrOf(p.src), p.srcPort, payload) {
			c[udpQueueFull]++
			return true, false
		}
		f.arrived()
		return true, false
	}
	c[udpFast]++
	d := &sh.datagram
	*d = Datagram{Data: payload, sh: sh, flow: f, packet: p, frame: frame}
	sh.ran = *h
	(*h).HandleDatagram(d)
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
// answered) has rules that netstack knows.
func (sh *Shard) plainUnicast(p *packet) bool {
	if !p.plain || p.frame[0]&1 != 0 || p.srcPort == 0 {
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

// datagramTask runs a handler for the datagrams that netstack delivered.
type datagramTask udpFlow

// String names the handler.
func (t *datagramTask) String() string { return fmt.Sprintf("%T", *(*udpFlow)(t).handler.Load()) }

// RunOnShard implements Task.
func (t *datagramTask) RunOnShard() {
	f := (*udpFlow)(t)
	h := *f.handler.Load()
	for range rxBudget {
		if f.sh.scratch == nil {
			f.sh.scratch = make([]byte, 64<<10)
		}
		f.readMu.Lock()
		n, from, to, err := f.readFrom(f.sh.scratch)
		f.readMu.Unlock()
		if err == ErrWouldBlock {
			return
		}
		if err != nil {
			if _, passing := err.(syscall.Errno); passing {
				continue // an ICMP error that some reply caused: nobody asks for it
			}
			return
		}
		f.sh.datagram = Datagram{Data: f.sh.scratch[:n], sh: f.sh, flow: f, source: from, destination: to}
		h.HandleDatagram(&f.sh.datagram)
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
