package stack

import (
	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/drop"
	"shardnet/stack/internal/counter"
	"shardnet/stack/internal/netstack"
	"shardnet/stack/internal/ring"
	"shardnet/stack/internal/steer"
)

// rxBudget bounds the frames of one batch, as NAPI's weight does.
const rxBudget = 64

// A batch of packets goes through these stages, each a function over the whole batch:
//
//	receive or receiveHandedOver   frames of the queue, or of another shard's ring
//	parse                          headers read and checksums verified
//	classify                       whose a packet is, if it is this shard's
//	steer                          packets of other shards are handed over
//	deliver                        to the TCP engine, UDP sockets and netstack
//
// Packets of one class keep their order. The frames are the queue's, or the ring's, and go
// back to it when the batch is done, as whoever keeps bytes has copied them; but for those
// that became a reply in place, which go to the transmit queue.

// class is whose a packet is.
type class uint8

const (
	// toEngine: the TCP engine, or netstack's TCP if the engine does not know it.
	toEngine class = iota
	// toNetstackTCP: netstack's TCP, past netstack's IP.
	toNetstackTCP
	// toUDP: a UDP socket, or netstack if there is none.
	toUDP
	// toNetstack: ARP, ICMP, and what netstack's IP has to do something for.
	toNetstack
	// gone: handed over to another shard, or dropped and counted by its reason.
	gone
)

// packet is a received packet on its way through the stages.
type packet struct {
	wire.Packet
	frame    *driver.Frame // the queue's, which may become the reply; nil if handed over
	class    class
	verified bool // checksums are right
	here     bool // the TCP engine has its connection: steering is done
}

// batch is the packets of one batch. It belongs to the loop.
type batch struct {
	frames  [rxBudget]driver.Frame
	packets [rxBudget]packet
}

// receive takes one batch from the queue through the stages and returns how many frames
// there were.
func (sh *Shard) receive() (int, error) {
	b := &sh.batch
	n, err := sh.q.Receive(b.frames[:])
	if err != nil || n == 0 {
		return 0, err
	}
	sh.counters.Add(counter.RxPackets, n)
	ps := b.packets[:n]
	for i := range ps {
		ps[i].frame = &b.frames[i]
		sh.parse(&ps[i], b.frames[i].Data)
	}
	sh.classify(ps)
	if sh.steering.Shards() > 1 {
		sh.steer(ps)
	}
	sh.deliver(ps)
	kept := b.frames[:0]
	for i := range ps {
		if ps[i].frame != nil {
			kept = append(kept, *ps[i].frame)
		}
	}
	sh.q.Release(kept)
	return n, nil
}

// receiveHandedOver takes a batch of each other shard's ring through the stages. They were
// verified and steered on the shard they came in on.
func (sh *Shard) receiveHandedOver() (total int) {
	for _, in := range sh.inbox {
		if in == nil {
			continue
		}
		n := min(in.Len(), rxBudget)
		if n == 0 {
			continue
		}
		ps := sh.batch.packets[:n]
		for i := range ps {
			sh.parseHandedOver(&ps[i], in.At(i))
		}
		sh.classify(ps)
		sh.deliver(ps)
		in.Pop(n)
		total += n
	}
	sh.counters.Add(counter.HandedIn, total)
	return total
}

// parse reads frame and verifies it. A packet that can't be is dropped.
func (sh *Shard) parse(p *packet, frame []byte) {
	p.class, p.verified, p.here = toNetstack, false, false
	switch {
	case !p.Parse(frame):
		sh.drop(p, drop.Malformed)
		return
	case frame[0]&1 == 0 && [6]byte(frame[:6]) != sh.stack.mac:
		sh.drop(p, drop.OtherHost)
		return
	case p.Src == nil:
		if p.EtherType != wire.EtherTypeARP {
			sh.drop(p, drop.UnknownProtocol)
		}
		return
	}
	offloads := &sh.stack.info.Offloads
	if offloads.RxChecksumVerified && !p.Fragment {
		p.verified = true
		return
	}
	switch p.Verify(offloads.RxChecksumPartial) {
	case wire.ChecksumBad:
		sh.drop(p, drop.BadChecksum)
	case wire.ChecksumGood:
		p.verified = true
	}
}

// parseHandedOver reads the frame in s, which is valid.
func (sh *Shard) parseHandedOver(p *packet, s *ring.Slot) {
	p.frame, p.class, p.verified, p.here = nil, toNetstack, s.Verified, false
	if !p.Parse(s.Frame) {
		sh.drop(p, drop.Malformed)
	}
}

// drop ends p's way.
func (sh *Shard) drop(p *packet, r drop.Reason) {
	p.class = gone
	sh.counters.Drop(r)
}

// classify says whose each packet is.
func (sh *Shard) classify(ps []packet) {
	tcpClass := toNetstackTCP
	if sh.engine.Active() {
		tcpClass = toEngine
	}
	for i := range ps {
		p := &ps[i]
		if p.class == gone || !p.verified || !sh.stack.own.FastPathEligible(&p.Packet) {
			continue
		}
		switch p.Proto {
		case wire.ProtoTCP:
			p.class = tcpClass
		case wire.ProtoUDP:
			p.class = toUDP
		}
	}
}

// steer hands packets of other shards over. A connection of the engine's that lives here
// needs no rule.
func (sh *Shard) steer(ps []packet) {
	for i := range ps {
		if p := &ps[i]; p.class == toEngine {
			p.here = sh.engine.OwnsHere(&p.Packet)
		}
	}
	sh.engine.EndBatch() // the rule may look at the engines of other shards
	for i := range ps {
		p := &ps[i]
		if p.class == gone || p.here {
			continue
		}
		switch owner := sh.owner(&p.Packet); owner {
		case sh.index:
		case steer.EveryShard:
			for to := range sh.stack.shards {
				if to != sh.index {
					sh.counters.Inc(counter.Copies)
					sh.handOver(to, p)
				}
			}
		default:
			sh.handOver(owner, p)
			p.class = gone
		}
	}
}

// handOver copies p's frame into the inbox of shard to, or drops it if that is full.
func (sh *Shard) handOver(to int, p *packet) {
	peer := sh.stack.shards[to]
	if !peer.inbox[sh.index].Push(p.Frame, p.verified) {
		sh.counters.Drop(drop.HandoverFull)
		return
	}
	sh.counters.Inc(counter.HandedOut)
	peer.kick()
}

// deliver gives the packets of this shard to whose they are: the engine's first, under its
// lock, then the others in the order they came in.
func (sh *Shard) deliver(ps []packet) {
	for i := range ps {
		p := &ps[i]
		if p.class != toEngine {
			continue
		}
		if sh.engine.Input(&p.Packet) {
			sh.counters.Inc(counter.ToEngine)
			p.class = gone
		} else {
			p.class = toNetstackTCP
		}
	}
	sh.engine.EndBatch()
	for i := range ps {
		p := &ps[i]
		switch p.class {
		case toUDP:
			matched, replied := sh.udp.Input(&p.Packet, p.frame)
			if replied {
				sh.reply(p)
			}
			if !matched {
				sh.counters.Inc(counter.ToNetstack)
				sh.netstack.Input(&p.Packet, true)
			}
		case toNetstackTCP:
			sh.counters.Inc(counter.ToNetstack)
			sh.netstack.InputSegment(&p.Packet)
		case toNetstack:
			sh.counters.Inc(counter.ToNetstack)
			sh.netstack.Input(&p.Packet, p.verified)
		}
	}
	sh.netstack.EndRun()
}

// reply gives the frame of p, which holds a reply now, to the transmit queue.
func (sh *Shard) reply(p *packet) {
	if sh.tx.Reply(*p.frame) {
		sh.counters.Inc(counter.RepliesInPlace)
		p.frame = nil
	} else {
		sh.counters.Drop(drop.ReplyBacklog)
	}
}

// owner is the shard of a packet that came in here, or steer.EveryShard.
func (sh *Shard) owner(p *wire.Packet) int {
	owner := sh.steering.Owner(p, sh.index)
	if p.Proto == wire.ProtoTCP && p.L4 != nil {
		owner = sh.flowShard(p, owner)
	}
	return owner
}

// flowShard finds the shard of a TCP segment that came in here, given what the rule says.
// Where the NIC keeps a flow on its queue, and the rule says that the segment belongs here,
// that stands if the port alone says so, for a SYN, and for a segment whose SYN was seen
// here. Everything else is looked up: where the rule says, here, and on the other shards, so
// that connections go on
//
//   - whose packets moved to another queue (and a SYN sent again, or for a connection in
//     TIME_WAIT, does not start a second one beside the first);
//   - whose listener, or whose claim to a port, is gone before they are.
//
// A segment of no connection goes where the rule says.
func (sh *Shard) flowShard(p *wire.Packet, owner int) int {
	byPort, knowsRSS := sh.steering.OwnedByPort(p), sh.steering.KnowsRSS()
	if owner == sh.index && knowsRSS {
		switch {
		case byPort:
			return owner
		case p.TCPFlags&(wire.SYN|wire.ACK) == wire.SYN:
			sh.syn.Add(p)
			return owner
		case sh.syn.Has(p):
			return owner
		}
	}
	found := sh.findFlow(p, owner)
	if found < 0 {
		return owner
	}
	switch {
	case found != sh.index && !byPort:
		sh.counters.Inc(counter.WrongShard)
	case found == sh.index && knowsRSS: // elsewhere the filter is not asked
		sh.syn.Add(p)
	}
	return found
}

// findFlow returns the shard on which p's connection lives, or -1. It looks on shard first
// first, then here.
func (sh *Shard) findFlow(p *wire.Packet, first int) int {
	if sh.stack.shards[first].hasFlow(p) {
		return first
	}
	if first != sh.index && sh.hasFlow(p) {
		return sh.index
	}
	for i, other := range sh.stack.shards {
		if i != sh.index && i != first && other.hasFlow(p) {
			return i
		}
	}
	return -1
}

// hasFlow reports whether p's connection, not merely a listener for it, lives on this shard.
// It may be called from any goroutine.
func (sh *Shard) hasFlow(p *wire.Packet) bool {
	return sh.engine.Owns(p) || sh.netstack.Owns(p)
}

// maxReassembled bounds the reassembled packets that wait for a shard; more are dropped.
const maxReassembled = 256

// steerReassembled gives r, a packet that netstack reassembled here, to the shard that owns
// it, and returns false if that is this one.
func (sh *Shard) steerReassembled(p *wire.Packet, r *netstack.Reassembled) bool {
	owner := sh.owner(p)
	if owner == sh.index {
		return false
	}
	sh.counters.Inc(counter.Copies) // the fragments were delivered here
	to := sh.stack.shards[owner]
	if to.tasks.reassembled.Add(1) > maxReassembled {
		to.tasks.reassembled.Add(-1)
		sh.counters.Drop(drop.HandoverFull)
		return true
	}
	sh.counters.Inc(counter.HandedOut)
	to.Post(r.For(to.netstack))
	return true
}

// reassembledArrived counts a reassembled packet that another shard handed over.
func (sh *Shard) reassembledArrived() {
	sh.tasks.reassembled.Add(-1)
	sh.counters.Inc(counter.HandedIn)
	sh.counters.Inc(counter.ToNetstack)
}
