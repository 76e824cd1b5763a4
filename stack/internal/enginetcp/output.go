package enginetcp

import (
	"encoding/binary"
	"net/netip"

	"shardnet/driver"
	"shardnet/driver/wire"
	"shardnet/stack/tcp"
)

const (
	// minFree is how many empty frames the engine has at hand between turns. In a flush it
	// takes more from the queue.
	minFree = 64
	// cachedNeighbors is the size of the table of neighbors, a power of two.
	cachedNeighbors = 256
)

// output is the engine's tcp.Output: segments are written straight into TX frames, behind the
// headers of link and IP. A segment whose neighbor is not known, or is this host, goes
// through netstack's IP, which resolves it.
//
// Frames in free, queued and current are on loan from the queue. TCP.mu guards it all.
type output struct {
	f       *TCP
	free    []driver.Frame // empty
	queued  []driver.Frame // to be sent, oldest first
	current driver.Frame   // between Frame and Send
	short   bool           // the last flush was short of frames
	closed  bool
	dropped uint64 // segments that netstack did not take
	now     int64  // of the loop's turn: calls of applications send, too

	neighbors [cachedNeighbors]neighbor

	scratch     []byte    // a segment for netstack
	viaNetstack bool      // between Frame and Send: it is in scratch
	to          tcp.Tuple // and of this connection
}

// neighbor is a copy of an entry of the transmit queue's cache.
type neighbor struct {
	addr       [16]byte
	mac        [6]byte
	generation uint32
	expires    int64
}

func (o *output) init(f *TCP) {
	o.f = f
	o.free = make([]driver.Frame, 0, 4*minFree)
	o.queued = make([]driver.Frame, 0, 4*minFree)
	o.scratch = make([]byte, f.cfg.MTU)
}

// refill takes empty frames from the queue. Loop only.
func (o *output) refill() {
	if n := len(o.free); n < minFree/2 {
		o.free = o.free[:n+o.f.cfg.Queue.Alloc(o.free[n:minFree])]
	}
}

// flush sends what connections owe, and reports whether there is more, for which
// there are frames. Loop only.
func (o *output) flush(now int64) (more bool) {
	o.short = false
	return o.f.engine.Flush(now) && !o.short
}

// Frame implements tcp.Output.
func (o *output) Frame(_ *tcp.Conn, t *tcp.Tuple, n int) []byte {
	mac := o.neighbor(t)
	if mac == nil {
		if o.closed || n > len(o.scratch) {
			return nil
		}
		o.viaNetstack, o.to = true, *t
		return o.scratch[:n]
	}
	if len(o.free) == 0 && !o.takeMore() {
		return nil
	}
	f := o.free[len(o.free)-1]
	l4 := wire.EthernetLen + wire.IPLen(t.Is4())
	if l4+n > cap(f.Data) {
		return nil
	}
	o.free = o.free[:len(o.free)-1]
	f.Data = f.Data[:l4+n]
	putHeaders(f.Data, mac, &o.f.cfg.MAC, t, n)
	o.current = f
	return f.Data[l4:]
}

// takeMore takes frames while the loop has the engine: what it answers at once, such
// as the FINs of a whole batch, may be more than minFree.
func (o *output) takeMore() bool {
	if o.f.locked {
		o.free = o.free[:o.f.cfg.Queue.Alloc(o.free[:cap(o.free)])]
	}
	if len(o.free) == 0 {
		o.short = true
	}
	return len(o.free) > 0
}

// Send implements tcp.Output.
func (o *output) Send(_ *tcp.Conn, seg []byte) {
	if o.viaNetstack {
		if !o.route(&o.to, seg) {
			o.dropped++
		}
		o.viaNetstack = false
		return
	}
	o.queued = append(o.queued, o.current)
	o.current = driver.Frame{}
}

// putHeaders writes the Ethernet and IP headers of a segment of n bytes. It may not
// be fragmented (RFC 8900): the path's MTU is learned from ICMP.
func putHeaders(b []byte, to, from *[6]byte, t *tcp.Tuple, n int) {
	ip := b[wire.EthernetLen:]
	if t.Is4() {
		// The id of an atomic datagram means nothing (RFC 6864 section 4.1).
		wire.PutEthernet(b, to, from, wire.EtherTypeIPv4)
		wire.PutIPv4(ip, 0, wire.IPv4Len+n, 0, wire.DontFragment, wire.DefaultTTL, wire.ProtoTCP, t.Local[12:], t.Remote[12:])
		return
	}
	wire.PutEthernet(b, to, from, wire.EtherTypeIPv6)
	wire.PutIPv6(ip, 0, n, wire.ProtoTCP, wire.DefaultTTL, t.Local[:], t.Remote[:])
}

// neighbor returns the MAC address to which packets of t leave, or nil if it is not known.
// It follows the transmit queue's cache, and so the neighbors, without its lock.
func (o *output) neighbor(t *tcp.Tuple) *[6]byte {
	i := binary.LittleEndian.Uint32(t.Remote[12:]) ^ binary.LittleEndian.Uint32(t.Remote[4:])
	n := &o.neighbors[i*0x9e3779b1>>24%cachedNeighbors]
	tx := o.f.cfg.Tx
	if n.addr == t.Remote && n.generation == tx.NeighborGeneration() && n.expires > o.now {
		return &n.mac
	}
	known := tx.LockNeighbor(netip.AddrFrom16(t.Remote).Unmap(), o.f.cfg.Clock.Nanos())
	defer tx.Unlock()
	if known == nil {
		return nil
	}
	*n = neighbor{addr: t.Remote, mac: known.MAC, generation: known.Generation, expires: known.Expires}
	return &n.mac
}

// route sends a segment through netstack's IP. It returns false if the segment is lost.
func (o *output) route(t *tcp.Tuple, seg []byte) bool {
	src, dst := t.LocalAddr().Addr(), t.RemoteAddr().Addr()
	tx := o.f.cfg.Tx
	tx.Lock()
	ok := tx.MayWait(dst, o.f.cfg.Clock.Nanos())
	tx.Unlock()
	return ok && o.f.ns.WriteSegment(src, dst, seg)
}
