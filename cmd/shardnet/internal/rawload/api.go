package rawload

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// Config describes the generator's end of the link.
type Config struct {
	// Queue is used by Run and Close alone while they run. It is not closed.
	Queue driver.Queue
	// Info is that of Queue's device: MAC, MTU, offloads.
	Info driver.Info
	// Sources are the clients' addresses, all of Target's family. ARP and NDP
	// for them are answered while Run runs.
	Sources []netip.Addr
	// Target is the server, on the same link.
	Target netip.AddrPort
	Seed   uint64
	// Spin is for how long the loop polls after its last work before it waits in
	// the queue. 0 is 50 µs; negative never waits, for a generator with a CPU of
	// its own: a wait's end adds to the latency that is measured.
	Spin time.Duration
}

// Kind is a workload.
type Kind int

// The workloads.
const (
	UDPEcho      Kind = iota // payload is sent back by the server
	MemcachedUDP             // get and set of memcached's text protocol in UDP frames
	MemcachedTCP
	TCPEcho     // request and response on Conns connections
	TCPConnect  // connect, one request and response, close; Conns at once
	BulkReceive // the server streams RFC 864's pattern as soon as it is connected (see Chargen)
	BulkSend    // the server discards, RFC 863
	Idle        // open Conns connections, hold them, then one echo request on each
)

var kindNames = [...]string{"UDPEcho", "MemcachedUDP", "MemcachedTCP", "TCPEcho", "TCPConnect", "BulkReceive", "BulkSend", "Idle"}

// String returns the kind's name.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindNames[k]
}

// Work is what Run does.
type Work struct {
	Kind   Kind
	Target netip.AddrPort // in place of Config.Target when valid
	Conns  int            // TCP connections; for UDP the number of source ports; 0 is 1
	// Window is how many requests are outstanding: UDP in all; TCP for each
	// connection. 0 is 1 for TCP and Conns for UDP. In an open loop it is the
	// most there can be.
	Window int
	// Rate makes an open loop: requests (TCPConnect: connections) a second over
	// all, evenly spaced, their latency counted from when they were due, sent or
	// not. 0 is a closed loop. Idle opens so many connections a second; 0 is
	// 50 000.
	Rate    float64
	Payload int // bytes of an echo request; 0 is 64. UDP needs 8.

	Keys  int     // memcached: size of the key space, filled before the measurement; 0 is 1
	Zipf  float64 // more than 1: exponent of the key choice, key 0 the commonest; 0 is uniform
	Value int     // memcached value in bytes, up to 64 KiB, or what a datagram holds; 0 is 64
	Sets  float64 // fraction of sets, 0 to 1

	Warmup, Duration time.Duration // Duration 0 is a second
	// Hold is for how long Idle holds all connections before it asks them.
	Hold time.Duration

	// Planned is called, unless nil, as soon as it is known when the measured part
	// begins and ends; for Idle, when all connections are held and until when. It
	// is called by Run, so it must not take long: to look at the server meanwhile,
	// start a goroutine.
	Planned func(from, to time.Time)
	// Timeout is when a UDP request counts as lost, and its slot is used again; 0
	// is 200 ms. TCP retransmits instead.
	Timeout time.Duration
}

// Result is what a Run saw. The measured part is what lies between warm-up and
// the end of Duration; for Idle, the asking.
type Result struct {
	Elapsed  time.Duration // of the measured part
	Requests uint64        // answered, and rightly, in the measured part
	Bytes    uint64        // bulk: payload received, or acknowledged, in the measured part

	// Lost counts requests of the measured part that were never answered.
	Lost uint64
	// Wrong counts answers that are not what they should be, at any time.
	Wrong uint64
	// Retransmits counts TCP segments sent again, Resets the connections that the
	// server reset, Failed those that it refused, closed early, or let time out.
	Retransmits, Resets, Failed uint64
	// FirstWrong says what was wrong about the first wrong answer.
	FirstWrong string
	Connected  int // connections established, over the whole run
	// Latency is in nanoseconds, of what Requests counts.
	Latency *hdrhistogram.Histogram

	// Late counts UDP answers to what had been counted as lost or answered, Unsent
	// the requests of an open loop that were due but never sent for want of
	// window, OutOfOrder the TCP segments dropped for being ahead, Damaged the
	// frames with a bad checksum or a header that can't be.
	Late, Unsent, OutOfOrder, Damaged uint64
}

// ErrNoNeighbor is wrapped by what Run returns when the target's MAC address can't
// be resolved.
var ErrNoNeighbor = errors.New("target does not answer on the link")

// ErrNotConnected is wrapped by what Run returns when a workload's connections
// can't be established.
var ErrNotConnected = errors.New("connections can't be established")

// maxPayload bounds requests and values: what pattern gives in one piece.
const maxPayload = 64 << 10

// withDefaults fills in what was left zero, and checks the rest.
func (w Work) withDefaults(g *Generator) (Work, error) {
	if !w.Target.IsValid() {
		w.Target = g.cfg.Target
	}
	udp := w.Kind == UDPEcho || w.Kind == MemcachedUDP
	setDefault(&w.Conns, 1)
	if udp {
		setDefault(&w.Window, w.Conns)
	}
	setDefault(&w.Window, 1)
	setDefault(&w.Payload, 64)
	setDefault(&w.Keys, 1)
	setDefault(&w.Value, 64)
	setDefault(&w.Duration, time.Second)
	setDefault(&w.Timeout, 200*time.Millisecond)
	room := g.cfg.Info.MTU - g.headerLen() - wire.UDPLen
	switch {
	case w.Kind < 0 || int(w.Kind) >= len(kindNames):
		return w, fmt.Errorf("unknown workload %v", w.Kind)
	case w.Target.Addr().Is4() != g.v4:
		return w, fmt.Errorf("target %v is not of the sources' family", w.Target)
	case w.Conns < 0 || w.Window < 0 || w.Rate < 0 || w.Payload < 0 || w.Keys < 0 || w.Value < 0 || w.Warmup < 0 || w.Duration < 0 || w.Hold < 0 || w.Timeout < 0:
		return w, errors.New("a negative value")
	case w.Conns > g.ports.size():
		return w, fmt.Errorf("%d connections from %d addresses: there are ports for %d", w.Conns, len(g.cfg.Sources), g.ports.size())
	case w.Sets < 0 || w.Sets > 1:
		return w, fmt.Errorf("fraction of sets %v is not from 0 to 1", w.Sets)
	case w.Zipf != 0 && w.Zipf <= 1:
		return w, fmt.Errorf("zipf exponent %v is not above 1", w.Zipf)
	case w.Payload > maxPayload || w.Value > maxPayload:
		return w, fmt.Errorf("payload of %d and value of %d bytes: at most %d", w.Payload, w.Value, maxPayload)
	case w.Kind == UDPEcho && (w.Payload < echoHeaderLen || w.Payload > room):
		return w, fmt.Errorf("UDP payload of %d bytes: need %d to %d", w.Payload, echoHeaderLen, room)
	case w.Kind == MemcachedUDP && w.Value > min(room, memDatagram)-memFrameLen-valueOverhead:
		return w, fmt.Errorf("value of %d bytes: a datagram has room for %d", w.Value, min(room, memDatagram)-memFrameLen-valueOverhead)
	case udp && w.Window > 1<<16:
		return w, fmt.Errorf("window of %d requests: at most %d", w.Window, 1<<16)
	case w.Window*w.Conns > 1<<26:
		return w, fmt.Errorf("window of %d requests on each of %d connections is too much", w.Window, w.Conns)
	}
	return w, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// Run does w and reports what it saw. One Run at a time; the generator may be used
// again afterwards. When ctx ends first, what was seen so far is returned with
// ctx's error. Whatever connections are left open are reset before Run returns.
func (g *Generator) Run(ctx context.Context, w Work) (*Result, error) {
	if g.closed {
		return nil, errors.New("run load: generator is closed")
	}
	w, err := w.withDefaults(g)
	if err != nil {
		return nil, fmt.Errorf("run load: %w", err)
	}
	g.stop.Store(false)
	g.ending = false
	defer context.AfterFunc(ctx, func() {
		g.stop.Store(true)
		g.link.q.Wake()
	})()
	defer g.link.release()
	r, err := g.run(w)
	if err == nil && g.stop.Load() {
		err = ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("run load: %w", err)
	}
	return r, err
}

func (g *Generator) run(w Work) (*Result, error) {
	g.result = newResult()
	if err := g.resolve(w.Target); err != nil {
		return g.result, err
	}
	g.setTarget(w.Target)
	switch w.Kind {
	case UDPEcho, MemcachedUDP:
		return g.result, g.runUDP(w)
	}
	return g.result, g.runTCP(w)
}

func newResult() *Result {
	return &Result{Latency: hdrhistogram.New(1, int64(time.Hour), 3)}
}

// Close gives back what frames the generator holds. Run has reset what it opened.
func (g *Generator) Close() error {
	g.closed = true
	g.link.release()
	return nil
}
