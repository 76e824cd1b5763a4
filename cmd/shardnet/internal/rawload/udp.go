package rawload

import (
	"math"

	"shardnet/driver/wire"
)

// udpSlot is one request that is, or can be, outstanding. Slots in use are linked
// in the order sent, which is that of their timeouts.
type udpSlot struct {
	due, sent  int64 // when it should have been sent, and when it was
	gen        uint32
	key        uint32
	flow       int32
	prev, next int32
	used, set  bool
}

// udpFlow is a source address and port.
type udpFlow struct {
	src  int
	port uint16
}

// datagrams is what the payloads of a UDP workload are.
type datagrams interface {
	// next chooses the request of s; false when there is none left.
	next(s *udpSlot) bool
	// encode writes the request of slot i to b, and returns its length.
	encode(b []byte, i int, s *udpSlot) int
	// identify says which slot an answer to a flow is for, and whether it answers
	// that slot's present request. It is -1 when the answer can't tell.
	identify(b []byte, flow int, slots []udpSlot) (slot int, current bool)
	// check returns what is wrong with an answer to s, "" if nothing.
	check(b []byte, i int, s *udpSlot) string
	// lost takes back a request that was not answered, or not rightly.
	lost(s *udpSlot)
}

// udpLoad is the workload of UDPEcho and MemcachedUDP.
type udpLoad struct {
	g         *Generator
	m         meter
	p         pacer
	d         datagrams
	templates []template
	flows     []udpFlow
	slots     []udpSlot
	free      []int32 // a ring, so that slots take turns
	freeHead  int
	freeLen   int
	oldest    int32 // of the slots in use; -1: none
	newest    int32
	used      int
	timeout   int64
	exhausted bool // d has no more requests
}

func (g *Generator) newUDPLoad(w *Work, flows []udpFlow, d datagrams) *udpLoad {
	u := &udpLoad{
		g: g, d: d, flows: flows,
		templates: g.templates(wire.ProtoUDP),
		slots:     make([]udpSlot, w.Window),
		free:      make([]int32, w.Window),
		freeLen:   w.Window,
		oldest:    -1, newest: -1,
		timeout: int64(w.Timeout),
	}
	for i := range u.slots {
		u.slots[i].flow = int32(i % len(flows))
		u.slots[i].gen = uint32(g.random())
		u.free[i] = int32(i)
	}
	return u
}

// runUDP runs UDPEcho or MemcachedUDP.
func (g *Generator) runUDP(w Work) error {
	flows := make([]udpFlow, w.Conns)
	for i := range flows {
		f := &flows[i]
		f.src, f.port, _ = g.ports.take(i) // there are enough: Work was checked
	}
	defer func() {
		for _, f := range flows {
			g.ports.give(f.src, f.port)
		}
	}()
	var d datagrams = &echoDatagrams{payload: w.Payload, pattern: pattern()}
	if w.Kind == MemcachedUDP {
		if err := g.fillUDP(w, flows); err != nil || g.stop.Load() {
			return err
		}
		d = &memDatagrams{keys: g.keys(&w), size: w.Value, flows: len(flows), local: idBits(w.Window, len(flows))}
	}
	u := g.newUDPLoad(&w, flows, d)
	u.m = g.measure(&w)
	u.p = newPacer(w.Rate, g.now)
	err := g.loop(u)
	g.result.Unsent = u.p.unsent(u.m.from, min(u.m.to, g.now))
	if g.stop.Load() {
		g.result.Elapsed = elapsed(g.now, u.m)
	}
	return err
}

// input implements workload.
func (u *udpLoad) input(p *packet, c class, src int) {
	flow := u.g.ports.find(src, p.DstPort)
	if c != isUDP || flow < 0 {
		return
	}
	i, current := u.d.identify(p.payload, flow, u.slots)
	if i < 0 || i >= len(u.slots) || int(u.slots[i].flow) != flow {
		u.m.wrong("answer to no request", p.payload)
		return
	}
	s := &u.slots[i]
	if !s.used || !current {
		u.m.r.Late++
		return
	}
	if what := u.d.check(p.payload, i, s); what != "" {
		u.m.wrong(what, p.payload)
		u.d.lost(s)
	} else {
		u.m.right(u.g.now, s.due)
	}
	u.retire(i)
}

// turn implements workload.
func (u *udpLoad) turn() {
	now := u.g.now
	for u.oldest >= 0 && now-u.slots[u.oldest].sent >= u.timeout {
		i := int(u.oldest)
		u.m.lost(u.slots[i].sent)
		u.d.lost(&u.slots[i])
		u.retire(i)
	}
	if now >= u.m.to {
		return
	}
	for u.freeLen > 0 {
		due := u.p.due(now)
		if due > now || due >= u.m.to || !u.send(due) {
			return
		}
		u.p.take()
	}
}

// send sends a request that was due then; false if it can't.
func (u *udpLoad) send(due int64) bool {
	b := u.g.link.buffer()
	if b == nil {
		return false
	}
	i := int(u.free[u.freeHead])
	s := &u.slots[i]
	if u.exhausted = !u.d.next(s); u.exhausted {
		return false
	}
	s.gen++
	f := &u.flows[s.flow]
	t := &u.templates[f.src]
	n := u.d.encode(b[len(t.l3)+wire.UDPLen:], i, s)
	u.g.link.send(t.udp(b, f.port, u.g.target.port, n))

	if u.freeHead++; u.freeHead == len(u.free) {
		u.freeHead = 0
	}
	u.freeLen--
	s.used, s.due, s.sent = true, due, u.g.now
	s.prev, s.next = u.newest, -1
	if u.newest >= 0 {
		u.slots[u.newest].next = int32(i)
	} else {
		u.oldest = int32(i)
	}
	u.newest = int32(i)
	u.used++
	return true
}

// retire makes slot i free.
func (u *udpLoad) retire(i int) {
	s := &u.slots[i]
	s.used = false
	if s.prev >= 0 {
		u.slots[s.prev].next = s.next
	} else {
		u.oldest = s.next
	}
	if s.next >= 0 {
		u.slots[s.next].prev = s.prev
	} else {
		u.newest = s.prev
	}
	u.used--
	at := u.freeHead + u.freeLen
	if at >= len(u.free) {
		at -= len(u.free)
	}
	u.free[at] = int32(i)
	u.freeLen++
}

// wake implements workload.
func (u *udpLoad) wake() int64 {
	at := int64(math.MaxInt64)
	if u.oldest >= 0 {
		at = u.slots[u.oldest].sent + u.timeout
	}
	if u.freeLen > 0 && !u.exhausted && u.g.now < u.m.to {
		at = min(at, u.p.due(u.g.now))
	}
	return at
}

// done implements workload: the last requests are waited for.
func (u *udpLoad) done() bool {
	return u.used == 0 && (u.exhausted || u.g.now >= u.m.to)
}

// echoHeaderLen is the part of a UDP echo request that tells it from all others:
// the slot's generation and number.
const echoHeaderLen = 8

// echoDatagrams is UDPEcho's.
type echoDatagrams struct {
	payload int
	pattern []byte
}

func (d *echoDatagrams) next(*udpSlot) bool { return true }

func (d *echoDatagrams) encode(b []byte, i int, s *udpSlot) int {
	be.PutUint32(b, s.gen)
	be.PutUint32(b[4:], uint32(i))
	copy(b[echoHeaderLen:d.payload], d.rest(i, s))
	return d.payload
}

// rest is what follows the header.
func (d *echoDatagrams) rest(i int, s *udpSlot) []byte {
	return d.pattern[(s.gen*0x9e3779b1+uint32(i)*0x85ebca6b)>>16:][:d.payload-echoHeaderLen]
}

func (d *echoDatagrams) identify(b []byte, _ int, slots []udpSlot) (int, bool) {
	if len(b) < echoHeaderLen {
		return -1, false
	}
	i := be.Uint32(b[4:])
	if i >= uint32(len(slots)) {
		return -1, false
	}
	if age := slots[i].gen - be.Uint32(b); age != 0 {
		// Of long ago, or of the future, is of never.
		if age > 1<<24 {
			return -1, false
		}
		return int(i), false
	}
	return int(i), true
}

func (d *echoDatagrams) check(b []byte, i int, s *udpSlot) string {
	if len(b) != d.payload || string(b[echoHeaderLen:]) != string(d.rest(i, s)) {
		return "echo differs from the request"
	}
	return ""
}

func (d *echoDatagrams) lost(*udpSlot) {}
