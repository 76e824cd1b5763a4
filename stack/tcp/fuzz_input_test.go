package tcp

import (
	"net/netip"
	"testing"
	"time"
)

// rogue is a peer that brings a connection to a state by the rules, and then sends it
// whatever a fuzzer's bytes say, as bytes on the wire.
type rogue struct {
	t     *testing.T
	b     []byte // the fuzzer's
	e     *Engine
	w     *watcher
	l     *Listener
	c     *Conn // while the application holds it
	now   int64
	buf   []byte // of segments to the engine
	out   []byte // of segments from it
	short bool
	seq   seqNum  // the peer's next, while it keeps to the rules
	last  Segment // from the engine
	opts  byte
}

// States that a rogue begins in, and options of its handshake.
const (
	rogueStates = 10
	rogueSack   = 1 << 0
	rogueTS     = 1 << 1
	rogueScale  = 1 << 2
	rogueData   = 1 << 3 // the engine has data in flight
	rogueInline = 1 << 4 // OnData consumes
	rogueOrphan = 1 << 5 // the application closes rather than half-closes
	rogueReno   = 1 << 6
	rogueEarly  = 1 << 7 // text ahead of RCV.NXT has come
)

func (z *rogue) Frame(_ *Conn, _ *Tuple, n int) []byte {
	if z.short {
		return nil
	}
	return z.out[:n]
}

func (z *rogue) Send(c *Conn, b []byte) {
	src, dst := simAddr[1].AsSlice(), simAddr[0].AsSlice()
	if err := ParseSegment(&z.last, b, src, dst); err != nil || !VerifyChecksum(b, src, dst) || len(b) > 1480 {
		z.t.Fatalf("sent a bad segment of %d bytes: %v", len(b), err)
	}
	if c != nil {
		if err := z.w.sending(c, &z.last); err != nil {
			z.t.Fatalf("%v, %d bytes before the end: %v", c.state, len(z.b), err)
		}
	}
	z.last.Payload = nil
}

func (z *rogue) byte() byte {
	if len(z.b) == 0 {
		return 0
	}
	v := z.b[0]
	z.b = z.b[1:]
	return v
}

// conn is the connection while the engine has it, accepted or not.
func (z *rogue) conn() *Conn {
	t := z.tuple()
	ref := z.e.flows.find(t.hash(&z.e.flowKey), &t)
	if ref == 0 || ref&waitRef != 0 {
		return nil
	}
	return z.e.conns.at(ref)
}

func (z *rogue) tuple() Tuple {
	return MakeTuple(netip.AddrPortFrom(simAddr[1], 80), netip.AddrPortFrom(simAddr[0], 40000))
}

// send gives the engine a segment as bytes.
func (z *rogue) send(seq, ack seqNum, flags uint8, window uint16, options []byte, text int) {
	for len(options)%4 != 0 {
		options = append(options, optNop)
	}
	n := headerLen + copy(z.buf[headerLen:headerLen+40], options)
	peer := Tuple{LocalPort: 40000, RemotePort: 80}
	putHeader(z.buf, &peer, seq, ack, flags, window, n)
	first := seq
	if flags&FlagSYN != 0 {
		first++
	}
	fillPattern(z.buf[n:n+text], first)
	var s Segment
	if err := ParseSegment(&s, z.buf[:n+text], simAddr[0].AsSlice(), simAddr[1].AsSlice()); err != nil {
		z.t.Fatal(err)
	}
	if z.e.Input(z.now, &s) == NoConnection {
		z.e.Reject(&s)
	}
}

// obey sends a segment as an honest peer would.
func (z *rogue) obey(flags uint8, text int) {
	var o []byte
	if flags&FlagSYN != 0 {
		syn := synOptions{mss: 1460, scale: -1, ts: z.opts&rogueTS != 0, sackOK: z.opts&rogueSack != 0, val: 1000}
		if z.last.HasTS {
			syn.ecr = z.last.TSVal
		}
		if z.opts&rogueScale != 0 {
			syn.scale = 3
		}
		o = make([]byte, syn.len())
		syn.put(o)
	} else {
		o = z.stamp(nil, 0)
	}
	ack := seqNum(0)
	if flags&FlagACK != 0 {
		ack = z.last.Seq.add(z.last.length())
		if c := z.conn(); c != nil {
			ack = c.snd.nxt
		}
	}
	z.send(z.seq, ack, flags, 65535, o, text)
	z.seq += seqNum(uint32(text) + b2u(flags&(FlagSYN|FlagFIN) != 0))
	z.settle()
}

// stamp appends timestamps, if they were negotiated, so much later than the last.
func (z *rogue) stamp(o []byte, later uint32) []byte {
	c := z.conn()
	if c == nil || c.flags&flagTS == 0 {
		return o
	}
	o = append(o, make([]byte, timestampsLen)...)
	putTimestamps(o[len(o)-timestampsLen:], c.ts.recent+later, c.timestamp())
	return o
}

func (z *rogue) settle() {
	for c, _ := z.e.NextReady(); c != nil; c, _ = z.e.NextReady() {
		if c.listener != nil {
			if a, err := z.l.Accept(); err == nil {
				if z.c != nil {
					z.c.Close() // the one before it, of the same name
				}
				z.c = a
			}
		}
	}
	for range 1000 {
		if !z.e.Flush(z.now) || z.short {
			z.step()
			return
		}
	}
	z.t.Fatal("Flush has always more")
}

func (z *rogue) step() {
	if err := z.w.step(); err != nil {
		z.t.Fatalf("%d bytes before the end: %v", len(z.b), err)
	}
}

func (z *rogue) close() {
	if z.c == nil {
		return
	}
	if z.opts&rogueOrphan != 0 {
		z.c.Close()
		z.c = nil
	} else {
		_ = z.c.CloseWrite()
	}
	z.settle()
}

// begin brings a connection to one of the states.
func (z *rogue) begin(state State) {
	z.seq = peerISN
	if state == StateClosed { // of the connection; the port listens
		return
	}
	if state == StateSynSent || state == StateSynReceived && z.opts&rogueOrphan != 0 {
		c, err := z.e.Dial(z.now, z.tuple())
		if err != nil {
			z.t.Fatal(err)
		}
		z.c = c
		if z.opts&rogueData != 0 {
			z.w.write(c, z.buf[:5000])
		}
		z.settle()
		if state == StateSynReceived {
			z.obey(FlagSYN, 0)
		}
		return
	}
	z.obey(FlagSYN, 0)
	if state == StateSynReceived {
		return
	}
	z.obey(FlagACK, 0)
	if z.c == nil {
		z.t.Fatal("the handshake did not end")
	}
	if z.opts&rogueData != 0 {
		z.now += int64(time.Millisecond)
		z.w.write(z.c, z.buf[:20000])
		if err := z.e.Flush(z.now); err {
			z.t.Fatal("more than an initial window's worth was sent")
		}
	}
	if z.opts&rogueEarly != 0 {
		z.send(z.seq+3000, z.c.snd.una, FlagACK, 65535, z.stamp(nil, 0), 700)
		z.settle()
	}
	// The engine's side may be held up by data in flight: then it is nearer to the
	// beginning than the state's name says.
	switch state {
	case StateFinWait1:
		z.close()
	case StateFinWait2:
		z.close()
		z.obey(FlagACK, 0)
	case StateCloseWait:
		z.obey(FlagACK|FlagFIN, 0)
	case StateClosing:
		z.close()
		z.send(z.seq, z.last.Seq, FlagACK|FlagFIN, 65535, z.stamp(nil, 0), 0)
		z.seq++
		z.settle()
	case StateLastAck:
		z.obey(FlagACK|FlagFIN, 0)
		z.close()
	case StateTimeWait:
		z.close()
		z.obey(FlagACK, 0)
		z.obey(FlagACK|FlagFIN, 0)
	}
}

// offset is a number near another: mostly the same, or within a segment or two.
func (z *rogue) offset(n seqNum) seqNum {
	switch v := z.byte(); {
	case v < 100:
		return n
	case v < 160:
		return n + seqNum(int8(z.byte()))
	case v < 230:
		return n + seqNum(v-195)*1000 + seqNum(z.byte())
	default:
		return n + seqNum(z.byte())<<(v&31)
	}
}

// attack sends one segment of the fuzzer's.
func (z *rogue) attack() {
	c := z.conn()
	var at Conn // no connection, or one in TIME-WAIT: what it answered last counts
	if c != nil {
		at = *c
	} else {
		at.rcv.nxt, at.snd.nxt = z.last.Ack, z.last.Seq.add(z.last.length())
		at.snd.una, at.rcv.adv = at.snd.nxt, at.rcv.nxt.add(uint32(z.last.Window))
	}
	form := z.byte()
	flags := uint8(FlagACK)
	if form&3 == 3 {
		flags = z.byte() & 0x3f
	} else if form&3 == 2 {
		flags |= FlagFIN
	}
	seq := z.offset([]seqNum{at.rcv.nxt, at.rcv.nxt, at.rcv.adv, z.seq}[form>>2&3])
	ack := z.offset([]seqNum{at.snd.nxt, at.snd.una, at.snd.una.add(at.snd.nxt.sub(at.snd.una) / 2), at.snd.iss}[form>>4&3])
	var options []byte
	switch z.byte() & 7 {
	case 0, 1, 2:
		options = z.stamp(nil, uint32(form>>6))
	case 3, 4:
		options = z.stamp(nil, uint32(form>>6))
		k := 1 + int(form>>6)
		if len(options) > 0 {
			k = min(k, 3)
		}
		options = append(options, optNop, optNop, optSack, byte(2+8*k))
		edge := at.snd.una
		for range k {
			start := z.offset(edge.add(1448 * uint32(z.byte()&7)))
			edge = z.offset(start.add(1448 * uint32(z.byte()&3)))
			options = append(options, byte(start>>24), byte(start>>16), byte(start>>8), byte(start), byte(edge>>24), byte(edge>>16), byte(edge>>8), byte(edge))
		}
	case 5:
		options = z.stamp(nil, uint32(z.offset(0)))
	case 6: // anything at all
		n := min(int(z.byte())%41, len(z.b))
		options = append(options, z.b[:n]...)
		z.b = z.b[n:]
	}
	window := uint16(z.byte()) << (form & 8)
	text := int(z.byte()) * int(z.byte()&7)
	z.send(seq, ack, flags, window, options, text)
}

func (z *rogue) run() {
	for len(z.b) > 0 {
		switch op := z.byte(); {
		case op < 150:
			z.attack()
		case op < 175:
			z.now += int64(z.byte()) << (z.byte() % 30)
			z.e.Advance(z.now)
		case op < 180:
			z.short = !z.short
		case op < 200:
			if z.c != nil {
				if err := z.w.read(z.c, z.out[:int(z.byte())*16]); err != nil {
					z.t.Fatal(err)
				}
			}
		case op < 215:
			if z.c != nil {
				z.w.write(z.c, z.out[:int(z.byte())*16])
			}
		case op < 218:
			z.close()
		default:
			z.settle()
		}
		z.step()
	}
}
