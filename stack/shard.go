package stack

import (
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"shardnet/driver"
	"shardnet/stack/internal/tcpinline"
)

const (
	// rxBudget bounds the frames of one turn, as NAPI's weight does.
	rxBudget = 64
	// stuckRetry is how soon the loop tries again when the TX ring was full.
	stuckRetry = time.Millisecond
	// linkRetry is how often it looks whether a link that was down is up again.
	linkRetry = 100 * time.Millisecond
	// idleYield is after how many turns without work a polling loop lets others run:
	// about a microsecond.
	idleYield = 8
	// stallLogEvery bounds what the log says of handlers that take too long.
	stallLogEvery = 10 * time.Second
	nicID         = tcpip.NICID(1)
)

// Shard is one queue, one netstack, and the goroutine that runs both.
//
// The loop's goroutine alone touches q, syn, rx, linkDown, retryLink and the local
// counters. Netstack's endpoints are used by the loop and by applications,
// under netstack's own locks. sleeping and tx are the two places where other
// goroutines meet the loop.
type Shard struct {
	index int
	st    *Stack
	q     driver.Queue
	ns    *stack.Stack
	// dispatcher is netstack's way to its transport protocols.
	dispatcher stack.TransportDispatcher
	bypass     bool         // TCP goes past netstack's IP: not in TCPStock
	plain      bool         // the loop is giving netstack a segment that is not the engine's
	wholes     atomic.Int32 // wholePackets that wait
	ipv4       stack.NetworkEndpoint
	ipv6       stack.NetworkEndpoint
	arp        stack.NetworkEndpoint
	tcp        *tcpinline.Drainer // nil in TCPStock
	fast       *fastTCP
	clock      *shardClock
	tx         *transmitter
	link       *link
	syn        *synFilter
	inbox      []*handover // from each other shard; nil at index
	rx         [rxBudget]driver.Frame

	tasks    tasks
	udp      udpTable
	datagram Datagram // the one being handled
	packet   packet   // the one being received
	gro      groRun   // segments of this batch that are being merged
	scratch  []byte   // for datagrams that came by way of netstack
	answerID uint16   // IPv4's identification of the last answer in place
	ran      any      // the last task or handler that ran this turn

	stallLogged int64 // when, by clock

	counters counters

	_        [64]byte
	sleeping atomic.Uint32 // 1 while the loop sleeps or is about to
	notified atomic.Uint32 // 1 when an application goroutine was woken this turn
	stopping atomic.Bool
	_        [64]byte

	linkDown  bool
	retryLink int64         // when to flush again while the link is down, by clock
	done      chan struct{} // closed when the loop has ended
}

// Index is the shard's number, and that of its queue.
func (sh *Shard) Index() int { return sh.index }

// run is the loop. Its steps are those of a packet's life: time, receive and
// steer, hand-over, TCP, tasks, transmit, and sleep when there was nothing.
func (sh *Shard) run() {
	defer close(sh.done)
	pinned, yield := false, true
	if cpus := sh.st.cfg.CPUs; len(cpus) > 0 {
		// To yield, a goroutine bound to its thread must change threads twice.
		// With a processor to spare, others run the goroutines it wakes.
		pinned, yield = true, runtime.GOMAXPROCS(0) <= len(cpus)
		sh.q.BlockThread(true)
		// The thread ends with the goroutine: it is not unlocked.
		runtime.LockOSThread()
		if err := pinThread(cpus[sh.index]); err != nil {
			sh.st.log.Warn("shard runs unpinned", "shard", sh.index, "cpu", cpus[sh.index], "error", err)
		}
	}
	now := sh.clock.refresh()
	poll := poller{max: int64(max(sh.st.cfg.Spin, 0)), last: now}
	for idle := 0; !sh.stopping.Load(); {
		before := now
		now = sh.clock.refresh()
		if sh.ran != nil { // last turn, which did not sleep then
			sh.checkStall(before, now)
		}
		timers := sh.clock.runTimers(now)
		sh.fast.begin(now)
		work := timers
		n, err := sh.receive()
		if err != nil {
			sh.st.fail(fmt.Errorf("receive on shard %d: %w", sh.index, err))
			break
		}
		work += n + sh.takeInbox() + sh.fast.takeLeft()
		if sh.tcp != nil {
			work += sh.tcp.Drain()
		}
		work += sh.runTasks()
		woken := sh.notified.Load() != 0
		if woken {
			sh.notified.Store(0)
			if yield {
				// Let the application goroutines that were woken run, here and now:
				// they are on this processor's run queue, and what they answer
				// leaves in this turn, in one packet with the acknowledgement.
				sh.counters.local[yields]++
				if sh.ran != nil {
					sh.checkStall(now, sh.clock.real())
				}
				runtime.Gosched()
			}
		}
		if sh.tcp != nil {
			sh.tcp.SendACKs()
		}
		segments, more := sh.fast.flush()
		if work += segments; more {
			work++
		}
		n, err = sh.tx.flush()
		if sh.linkDown && err == nil && n == 0 && now >= sh.retryLink {
			// Frames may lie in the TX ring that only a flush makes leave.
			sh.retryLink = now + int64(linkRetry)
			if err = sh.q.Flush(); err == nil {
				sh.noteLink(1, nil)
			}
		}
		sh.noteLink(n, err)
		work += n
		c := &sh.counters.local
		c[turns]++
		c[timersRun] += uint64(timers)
		c[acksSaved] = sh.tx.saved
		switch {
		case work > 0 || woken:
			poll.worked(now)
			sh.counters.publish()
			idle = 0
		case poll.poll(now):
			// To yield takes longer than a turn that finds nothing.
			if idle++; !pinned && idle%idleYield == 0 {
				runtime.Gosched()
			}
		default:
			sh.sleep()
			idle = 0
		}
	}
	sh.counters.publish()
	sh.tasks.close()
}

// checkStall counts and logs a turn, from start to end, in which tasks or handlers
// kept the loop from its queue for too long.
func (sh *Shard) checkStall(start, end int64) {
	ran := sh.ran
	sh.ran = nil
	took := time.Duration(end - start)
	if took <= sh.st.cfg.HandlerLimit {
		return
	}
	sh.counters.local[handlerStalls]++
	if start < sh.stallLogged+int64(stallLogEvery) {
		return
	}
	sh.stallLogged = start
	name := fmt.Sprintf("%T", ran)
	if s, ok := ran.(fmt.Stringer); ok {
		name = s.String()
	}
	sh.st.log.Warn("a handler kept its shard from the queue: work that takes long, or waits, belongs off the shard",
		"shard", sh.index, "handler", name, "took", took, "limit", sh.st.cfg.HandlerLimit, "stalls", sh.counters.local[handlerStalls])
}

// sleep parks the loop in the queue until a frame arrives, a timer is due, or
// somebody calls kick.
//
// No wake-up is lost: sleeping is set before the last look at what others may
// have left, and others leave their work before they look at sleeping.
func (sh *Shard) sleep() {
	sh.counters.publish()
	sh.sleeping.Store(1)
	d := sh.clock.park()
	if t := sh.fast.nextTimer(); t >= 0 {
		d = atMost(d, t)
	}
	if !sh.workLeft() {
		if sh.linkDown {
			d = atMost(d, linkRetry)
		}
		if sh.tx.stuck() || sh.fast.stuck() || sh.tcp != nil && sh.tcp.LeftToUser() {
			d = atMost(d, stuckRetry)
		}
		sh.counters.local[sleeps]++
		sh.counters.publish()
		if err := sh.q.Wait(d); err != nil {
			sh.st.fail(fmt.Errorf("wait on shard %d: %w", sh.index, err))
			sh.stopping.Store(true)
		}
	}
	sh.sleeping.Store(0)
}

// atMost bounds d, of which less than zero is for ever.
func atMost(d, limit time.Duration) time.Duration {
	if d < 0 || d > limit {
		return limit
	}
	return d
}

// workLeft reports whether other goroutines left something for the loop.
func (sh *Shard) workLeft() bool {
	if sh.stopping.Load() || sh.fast.left.Load() || sh.tx.queued.Load() && !sh.tx.stuck() {
		return true
	}
	if sh.tcp != nil && sh.tcp.Pending() {
		return true
	}
	for _, in := range sh.inbox {
		if in != nil && !in.empty() {
			return true
		}
	}
	return sh.tasks.pending()
}

// kick wakes the loop if it sleeps. Any goroutine may call it, after it has left
// its work where workLeft looks.
func (sh *Shard) kick() {
	if sh.sleeping.Load() == 1 && sh.sleeping.CompareAndSwap(1, 0) {
		sh.q.Wake()
	}
}

// noteWoken has the loop yield at the end of this turn: an application goroutine
// was made runnable. Any goroutine may call it.
func (sh *Shard) noteWoken() {
	if sh.notified.Load() == 0 {
		sh.notified.Store(1)
	}
}

// afterCall follows every call of an application goroutine on an endpoint:
// segments that arrived while it held the endpoint's lock are now queued, and
// if the loop sleeps nobody else will process them.
func (sh *Shard) afterCall() {
	if sh.tcp != nil && sh.sleeping.Load() == 1 && sh.tcp.Pending() {
		sh.kick()
	}
}

// noteLink counts and logs the link's going down and coming up again, from what
// a flush returned.
func (sh *Shard) noteLink(sent int, err error) {
	switch {
	case err == nil:
		if sh.linkDown && sent > 0 {
			sh.linkDown = false
			sh.st.log.Info("link is up again", "shard", sh.index)
		}
	case errors.Is(err, driver.ErrLinkDown):
		if !sh.linkDown {
			sh.linkDown = true
			sh.counters.local[linkDowns]++
			sh.st.log.Warn("link is down: packets wait in the TX ring, and beyond it are dropped", "shard", sh.index)
		}
	default:
		sh.st.fail(fmt.Errorf("transmit on shard %d: %w", sh.index, err))
		sh.stopping.Store(true)
	}
}

// receive takes one batch from the queue and gives every frame of it to its
// owner. The frames go back to the queue before it returns, as netstack gets a
// copy, and so do other shards; but for those that became the answer in place,
// which go to the transmitter.
func (sh *Shard) receive() (int, error) {
	n, err := sh.q.Receive(sh.rx[:])
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, nil
	}
	sh.counters.local[rxPackets] += uint64(n)
	done := sh.rx[:0]
	for i := range sh.rx[:n] {
		f := &sh.rx[i] // not a copy: the compiler would put it on the heap
		if sh.input(f) {
			if sh.tx.reply(*f) {
				continue
			}
			sh.counters.local[replyDrops]++
		}
		done = append(done, *f)
	}
	sh.deliverRun()
	sh.fast.endBatch()
	sh.q.Release(done)
	return n, nil
}

// input verifies one frame from the queue, finds its owner, and delivers it or
// hands it over. It returns true if f holds an answer now, to be sent; otherwise
// f is not kept.
func (sh *Shard) input(f *driver.Frame) bool {
	c := &sh.counters.local
	p, frame := &sh.packet, f.Data
	if !p.parse(frame) {
		c[rxMalformed]++
		return false
	}
	if frame[0]&1 == 0 && [6]byte(frame[:6]) != sh.st.mac {
		c[rxOtherHost]++
		return false
	}
	if p.src == nil && p.etherType != etherTypeARP {
		c[rxUnknown]++
		return false
	}
	verified := sh.st.info.Offloads.RxChecksumVerified && !p.fragment
	if !verified && p.src != nil {
		switch p.verify(sh.st.info.Offloads.RxChecksumPartial) {
		case checksumBad:
			c[rxBadChecksum]++
			return false
		case checksumGood:
			verified = true
		}
	}
	plain := verified && (p.proto == protoTCP || p.proto == protoUDP) && sh.plainUnicast(p)
	fast := plain && p.proto == protoTCP && sh.fast.active.Load()
	several := sh.st.steering.shards > 1
	if fast && (!several || sh.fast.ownsHere(p)) && sh.fast.input(p) {
		return false
	}
	sh.fast.endBatch()
	owner := sh.st.steering.owner(p, sh.index)
	if p.proto == protoTCP && p.l4 != nil && several {
		owner = sh.flowShard(p, owner)
	}
	if owner == everyShard {
		for i := range sh.st.shards {
			if i != sh.index {
				sh.handTo(i, frame, verified)
			}
		}
		owner = sh.index
	}
	if owner != sh.index {
		sh.handTo(owner, frame, verified)
		return false
	}
	if plain && p.proto == protoUDP {
		if taken, replied := sh.takeDatagram(p, f); taken {
			return replied
		}
	}
	if fast && several {
		taken := sh.fast.input(p)
		sh.fast.endBatch()
		if taken {
			return false
		}
	}
	bypass := plain && p.proto == protoTCP && sh.bypass
	if bypass && sh.gro.add(p) {
		return false
	}
	if sh.gro.n > 0 {
		sh.deliverRun()
		if bypass && sh.gro.add(p) {
			return false
		}
	}
	if bypass {
		sh.deliverSegment(p, buffer.MakeWithData(frame[:etherHeaderLen+ipLen(p)]))
	} else {
		sh.deliver(frame, p.etherType, verified)
	}
	return false
}

// deliverRun delivers what gro holds, before anything that came later.
func (sh *Shard) deliverRun() {
	g := &sh.gro
	switch {
	case g.n == 1:
		sh.deliverSegment(&g.first, buffer.MakeWithData(g.frames[0]))
	case g.n > 1:
		sh.counters.local[groMerged] += uint64(g.n - 1)
		sh.deliverSegment(&g.first, g.merged())
	}
	g.n = 0
}

// handTo copies frame into shard i's inbox.
func (sh *Shard) handTo(i int, frame []byte, verified bool) {
	peer := sh.st.shards[i]
	if !peer.inbox[sh.index].push(frame, verified) {
		sh.counters.local[handoverDrops]++
		return
	}
	sh.counters.local[handedOut]++
	peer.kick()
}

// takeInbox delivers what other shards handed over, a batch from each.
func (sh *Shard) takeInbox() int {
	n := 0
	for _, in := range sh.inbox {
		if in == nil {
			continue
		}
		for range rxBudget {
			s := in.peek()
			if s == nil {
				break
			}
			if p := &sh.packet; p.parse(s.frame) { // as it did on the shard it came in on
				taken := false
				plain := s.verified && (p.proto == protoTCP || p.proto == protoUDP) && sh.plainUnicast(p)
				switch {
				case !plain:
				case p.proto == protoUDP:
					taken, _ = sh.takeDatagram(p, nil)
				case sh.fast.active.Load():
					taken = sh.fast.input(p)
					sh.fast.endBatch()
				}
				switch {
				case taken:
				case plain && p.proto == protoTCP && sh.bypass:
					sh.deliverSegment(p, buffer.MakeWithData(s.frame[:etherHeaderLen+ipLen(p)]))
				default:
					sh.deliver(s.frame, p.etherType, s.verified)
				}
			}
			in.pop()
			n++
		}
	}
	sh.counters.local[handedIn] += uint64(n)
	return n
}

// deliver copies frame into a netstack packet and runs it through netstack's
// network and transport layers, here. UDP and ICMP end in a socket's queue or an
// answer; a TCP segment ends on its endpoint's queue, for tcp.Drain.
func (sh *Shard) deliver(frame []byte, etherType uint16, verified bool) {
	var ep stack.NetworkEndpoint
	switch etherType {
	case etherTypeIPv4:
		ep = sh.ipv4
	case etherTypeIPv6:
		ep = sh.ipv6
	case etherTypeARP:
		ep = sh.arp
	}
	pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(frame)})
	pkt.LinkHeader().Consume(etherHeaderLen)
	pkt.NetworkProtocolNumber = tcpip.NetworkProtocolNumber(etherType)
	pkt.RXChecksumValidated = verified
	switch {
	case frame[0]&1 == 0:
		pkt.PktType = tcpip.PacketHost
	case [6]byte(frame[:6]) == broadcastMAC:
		pkt.PktType = tcpip.PacketBroadcast
	default:
		pkt.PktType = tcpip.PacketMulticast
	}
	ep.HandlePacket(pkt)
	pkt.DecRef()
	if etherType == etherTypeARP {
		sh.forgetMoved(frame[etherHeaderLen:])
	}
	if neighbourNews(frame, etherType) {
		sh.tx.neighboursChanged()
	}
}

// neighbourNews reports whether frame may have changed what netstack knows of its
// neighbours: ARP, and the NDP messages.
func neighbourNews(frame []byte, etherType uint16) bool {
	if etherType == etherTypeARP {
		return true
	}
	const next, icmpType = etherHeaderLen + 6, etherHeaderLen + ipv6HeaderLen
	return etherType == etherTypeIPv6 && frame[next] == protoICMPv6 && len(frame) > icmpType &&
		frame[icmpType] >= 133 && frame[icmpType] <= 137
}

var broadcastMAC = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// flowShard finds the shard of a TCP segment that came in here, given what the
// rule says. Where the NIC keeps a flow on its queue, and the rule says that the
// segment belongs here, that stands if the port alone says so, for a SYN, and for a
// segment whose SYN was seen here. Everything else is looked up: where the rule
// says, here, and on the other shards, so that connections go on
//
//   - whose packets moved to another queue (and a SYN sent again, or for a
//     connection in TIME_WAIT, does not start a second one beside the first);
//   - whose listener, or whose claim to a port, is gone before they are.
//
// A segment of no connection goes where the rule says.
func (sh *Shard) flowShard(p *packet, owner int) int {
	byPort := sh.st.steering.ownedByPort(p)
	syn := p.tcpFlags&(tcpFlagSYN|tcpFlagACK) == tcpFlagSYN
	if owner == sh.index && sh.st.home != nil {
		switch {
		case byPort:
			return owner
		case syn:
			sh.syn.add(p)
			return owner
		case sh.syn.has(p):
			return owner
		}
	}
	found := sh.findFlow(p, owner)
	if found < 0 {
		return owner
	}
	switch {
	case found != sh.index && !byPort:
		sh.counters.local[rxWrongShard]++
	case found == sh.index && sh.st.home != nil: // elsewhere the filter is not asked
		sh.syn.add(p)
	}
	return found
}

// findFlow returns the shard on which p's connection lives, or -1. It looks on
// shard first first, then here.
func (sh *Shard) findFlow(p *packet, first int) int {
	if sh.st.shards[first].hasFlow(p) {
		return first
	}
	if first != sh.index && sh.hasFlow(p) {
		return sh.index
	}
	for i, other := range sh.st.shards {
		if i != sh.index && i != first && other.hasFlow(p) {
			return i
		}
	}
	return -1
}

// hasFlow reports whether p's connection, not merely a listener for it, lives on
// this shard. It may be called from any goroutine.
func (sh *Shard) hasFlow(p *packet) bool {
	if sh.fast.owns(p) {
		return true
	}
	id := stack.TransportEndpointID{
		LocalPort: p.dstPort, LocalAddress: tcpip.AddrFromSlice(p.dst),
		RemotePort: p.srcPort, RemoteAddress: tcpip.AddrFromSlice(p.src),
	}
	te := sh.ns.FindTransportEndpoint(tcpip.NetworkProtocolNumber(p.etherType), header.TCPProtocolNumber, id, nicID)
	e, ok := te.(*tcp.Endpoint)
	return ok && e.EndpointState() != tcp.StateListen
}

// newNetstack creates the shard's netstack with its NIC, addresses and routes.
func (sh *Shard) newNetstack() error {
	st := sh.st
	var clock tcpip.Clock = sh.clock
	if st.cfg.TCP == TCPStock {
		clock = tcpip.NewStdClock()
	}
	sh.ns = stack.New(sh.netstackOptions(clock))
	sh.ns.SetICMPLimit(rate.Limit(1000))
	sh.ns.SetTransportProtocolHandler(header.TCPProtocolNumber, sh.fast.inputWhole)
	lo, hi := st.steering.portRange(sh.index)
	if err := sh.ns.SetPortRange(lo, hi); err != nil {
		return fmt.Errorf("set port range %d-%d: %w", lo, hi, goError(err))
	}
	if err := setNetstackBuffers(sh.ns); err != nil {
		return err
	}
	sh.link = &link{mtu: uint32(st.info.MTU), addr: tcpip.LinkAddress(st.mac[:]), tx: sh.tx}
	if st.cfg.TCP == TCPStock {
		sh.tx.acks = nil
	} else {
		sh.link.gso = stack.HostGSOSupported
		d, err := tcpinline.New(sh.ns)
		if err != nil {
			if sh.index == 0 {
				st.log.Warn("TCP runs on netstack's own goroutines", "reason", err)
			}
		} else {
			sh.tcp = d
		}
	}
	if err := sh.ns.CreateNICWithOptions(nicID, sh.link, stack.NICOptions{Name: "shard", QDisc: sh.tx}); err != nil {
		return fmt.Errorf("create NIC: %w", goError(err))
	}
	for _, a := range st.cfg.Addresses {
		if err := addAddress(sh.ns, a); err != nil {
			return fmt.Errorf("add address %v: %w", a, err)
		}
	}
	d, ok := sh.link.dispatcher.(stack.TransportDispatcher)
	if !ok {
		return fmt.Errorf("netstack's NIC is a %T, which delivers no transport packets", sh.link.dispatcher)
	}
	sh.dispatcher, sh.bypass = d, st.cfg.TCP != TCPStock
	table, err := routeTable(st.cfg)
	if err != nil {
		return err
	}
	sh.ns.SetRouteTable(table)
	for proto, ep := range map[tcpip.NetworkProtocolNumber]*stack.NetworkEndpoint{
		header.IPv4ProtocolNumber: &sh.ipv4, header.IPv6ProtocolNumber: &sh.ipv6, header.ARPProtocolNumber: &sh.arp,
	} {
		e, err := sh.ns.GetNetworkEndpoint(nicID, proto)
		if err != nil {
			return fmt.Errorf("find network protocol %#x: %w", proto, goError(err))
		}
		*ep = e
	}
	return nil
}

// stop ends the loop and waits for it. It must not be called on the loop.
func (sh *Shard) stop() {
	sh.stopping.Store(true)
	sh.sleeping.Store(0)
	sh.q.Wake()
	<-sh.done
}

// destroy frees what the shard holds, after its loop has ended.
func (sh *Shard) destroy() {
	sh.fast.destroy()
	sh.tx.Close()
	if sh.tcp != nil {
		sh.tcp.Close()
	}
	sh.ns.Close()
	sh.ns.Wait()
}
