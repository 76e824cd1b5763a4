package rawload

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"shardnet/driver"
	"shardnet/driver/wire"
)

// Generator makes load. It belongs to one goroutine.
type Generator struct {
	cfg  Config
	v4   bool
	spin time.Duration
	link link
	rx   [batch]driver.Frame
	in   packet // of the frame at hand
	rng  *rand.PCG

	epoch time.Time
	now   int64 // nanoseconds since epoch, read once a turn
	stop  atomic.Bool
	// ending is set while a run cleans up, which stop does not end.
	ending bool

	sources sources
	ports   ports
	target  target
	result  *Result
	closed  bool
}

// target is the server of the present Run.
type target struct {
	addr     netip.Addr
	ip       []byte
	port     uint16
	mac      [6]byte
	resolved bool
	heard    []bool // by source: the target has answered, and so knows us
	missing  int    // of heard
}

// New makes a generator. It uses the queue only in Run and Close.
func New(cfg Config) (*Generator, error) {
	g := &Generator{cfg: cfg, epoch: time.Now(), spin: cfg.Spin}
	setDefault(&g.spin, 50*time.Microsecond)
	g.rng = rand.NewPCG(cfg.Seed, 0x9e3779b97f4a7c15)
	g.cfg.Sources = slices.Clone(cfg.Sources)
	g.v4 = cfg.Target.Addr().Is4()
	switch {
	case cfg.Queue == nil:
		return nil, errors.New("make load generator: no queue")
	case len(cfg.Info.MAC) != 6:
		return nil, fmt.Errorf("make load generator: MAC address %v has not 6 bytes", cfg.Info.MAC)
	case cfg.Info.MTU < 576:
		return nil, fmt.Errorf("make load generator: MTU of %d bytes is below 576", cfg.Info.MTU)
	case !cfg.Target.IsValid() || cfg.Target.Addr().Is4In6() || cfg.Target.Addr().Zone() != "":
		return nil, fmt.Errorf("make load generator: bad target %v", cfg.Target)
	case len(cfg.Sources) == 0 || len(cfg.Sources) > maxSources:
		return nil, fmt.Errorf("make load generator: %d source addresses, want 1 to %d", len(cfg.Sources), maxSources)
	}
	for i, a := range cfg.Sources {
		if a.Is4() != g.v4 || a.Is4In6() || a.Zone() != "" || a == cfg.Target.Addr() || slices.Contains(cfg.Sources[:i], a) {
			return nil, fmt.Errorf("make load generator: bad source address %v: not of the target's family, or not unique", a)
		}
	}
	g.link.q = cfg.Queue
	g.sources.init(g.cfg.Sources)
	g.ports.init(len(cfg.Sources), g.random())
	return g, nil
}

// random is a random number, of the seed's sequence.
func (g *Generator) random() uint64 { return g.rng.Uint64() }

// headerLen is that of the network header.
func (g *Generator) headerLen() int {
	if g.v4 {
		return wire.IPv4Len
	}
	return wire.IPv6Len
}

// workload is what the loop runs. Its methods may use g.now, and g.link to send.
type workload interface {
	// input takes a UDP or TCP packet of the target's to source address src.
	input(p *packet, c class, src int)
	// turn sends what is due.
	turn()
	// wake is when turn has something to do if nothing is received before.
	wake() int64
	// done is asked once a turn.
	done() bool
}

// maxWait bounds a wait, so that a wrong wake costs a little time and no more.
const maxWait = 10 * time.Millisecond

// A wait is for this much less than it could be, and not worth it below twice
// that: timers are late.
const timerSlack = 100 * time.Microsecond

func (g *Generator) tick() { g.now = int64(time.Since(g.epoch)) }

// loop runs w until it is done, the context ends, or the queue fails.
func (g *Generator) loop(w workload) error {
	g.tick()
	busy := g.now
	for !w.done() && (!g.stop.Load() || g.ending) {
		n, err := g.link.q.Receive(g.rx[:])
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		g.tick()
		if n > 0 {
			for i := range g.rx[:n] {
				g.input(w, g.rx[i].Data)
			}
			g.link.q.Release(g.rx[:n])
		}
		w.turn()
		if n > 0 || g.link.sent {
			busy = g.now
		}
		g.link.flush()
		if g.link.err != nil {
			return fmt.Errorf("send: %w", g.link.err)
		}
		if g.spin < 0 || g.now-busy < int64(g.spin) {
			continue
		}
		if d := min(time.Duration(w.wake()-g.now), maxWait); d > 2*timerSlack {
			if err := g.link.q.Wait(d - timerSlack); err != nil {
				return fmt.Errorf("wait: %w", err)
			}
		}
	}
	g.link.flush()
	return nil
}

// input answers what is asked of the host, and gives the rest to w.
func (g *Generator) input(w workload, frame []byte) {
	p := &g.in // not a local: what is handed to an interface's method is allocated
	c := p.parse(frame, g.cfg.Info.Offloads.RxChecksumPartial)
	switch c {
	case isUDP, isTCP:
		if src := g.sources.find(p.Dst); src >= 0 && p.SrcPort == g.target.port && string(p.Src) == string(g.target.ip) {
			w.input(p, c, src)
		}
	case isARP:
		g.arp(p)
	case isICMPv6:
		g.ndp(p)
	case damaged:
		g.result.Damaged++
	}
}

// until is a workload that does nothing but answer ARP and NDP.
type until struct {
	g    *Generator
	end  int64
	cond func() bool // nil: never before end
	each func()      // nil: nothing; called once a turn
}

func (u *until) input(*packet, class, int) {}
func (u *until) wake() int64               { return u.end }
func (u *until) done() bool {
	return u.g.now >= u.end || u.cond != nil && u.cond()
}
func (u *until) turn() {
	if u.each != nil {
		u.each()
	}
}
