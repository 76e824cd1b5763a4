package stack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"shardnet/driver"
	"shardnet/driver/rss"
)

// TCPMode says which goroutines run netstack's TCP.
type TCPMode int

const (
	// TCPInline runs TCP to completion in the shard's loop. If netstack is not
	// laid out as expected, the stack falls back to TCPStock and logs it;
	// Stack.TCPMode tells.
	TCPInline TCPMode = iota
	// TCPStock is netstack as it comes: TCP on its own processor goroutines, its
	// own clock and timers, every ACK sent. For comparison.
	TCPStock
)

func (m TCPMode) String() string {
	if m == TCPStock {
		return "stock"
	}
	return "inline"
}

// Route sends packets for Destination by way of Gateway, a neighbour; the zero
// Gateway means that Destination is on the link itself.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// Config configures a Stack. The zero value of each field is its default.
type Config struct {
	// Addresses are the stack's own, each with the prefix length of its subnet.
	// At least one is needed.
	Addresses []netip.Prefix
	// Routes beyond the addresses' subnets. DefaultRoute makes the usual ones.
	Routes []Route
	// Shards is the number of shards; 0 is one for each queue of the device. It
	// can't differ from the number of queues yet.
	Shards int
	// CPUs pins shard i to CPU CPUs[i]. Empty leaves placement to the scheduler.
	CPUs []int
	// Spin is for how long an idle shard polls before it sleeps, at most: it does
	// so while packets come that soon after each other, and sleeps at once when they
	// are rarer. 0 is DefaultSpin; negative never polls.
	Spin time.Duration
	// Transport is the TCP of sockets that don't ask for one; TransportFast by
	// default.
	Transport Transport
	// TCPMemory bounds, in bytes, what the connections of TransportFast take, all
	// shards together: their buffers in full, from the moment they are promised to
	// the peer. 0 is a third of the machine's memory.
	TCPMemory int64
	// TCP says which goroutines run netstack's TCP.
	TCP TCPMode
	// PortRange is the range of ephemeral ports, inclusive, that the shards split
	// between them. Zero is 32768 to 60999, as Linux has it.
	PortRange [2]uint16
	// CloseTimeout bounds Close's wait for connections to finish. 0 is 3 s.
	CloseTimeout time.Duration
	// HandlerLimit is for how long tasks and handlers may run in one turn of a
	// shard's loop before that is counted (Stats.HandlerStalls) and logged. 0 is
	// DefaultHandlerLimit.
	HandlerLimit time.Duration
	// Logger gets changes of state: link down, device gone, fallbacks. nil
	// discards them.
	Logger *slog.Logger
}

// DefaultSpin is how long an idle shard polls before it sleeps: a few round trips
// of a busy connection.
const DefaultSpin = 50 * time.Microsecond

// DefaultHandlerLimit is very long for a turn of the loop, which takes tens of
// microseconds, and more than a loop is kept from its CPU on a busy machine.
const DefaultHandlerLimit = 100 * time.Millisecond

// minTCPMemory is the least that makes an engine of use.
const minTCPMemory = 1 << 20

// DefaultRoute returns the default route of gateway's address family.
func DefaultRoute(gateway netip.Addr) Route {
	if gateway.Is4() {
		return Route{netip.PrefixFrom(netip.IPv4Unspecified(), 0), gateway}
	}
	return Route{netip.PrefixFrom(netip.IPv6Unspecified(), 0), gateway}
}

// withDefaults validates cfg against the device and returns a copy with the
// defaults filled in.
func (cfg *Config) withDefaults(info driver.Info) (*Config, error) {
	c := Config{}
	if cfg != nil {
		c = *cfg
	}
	if len(c.Addresses) == 0 {
		return nil, errors.New("stack has no address: give Config.Addresses at least one, such as 198.18.0.2/24")
	}
	c.Addresses = slices.Clone(c.Addresses)
	for i, a := range c.Addresses {
		if !a.IsValid() || a.Addr().IsUnspecified() || a.Addr().IsMulticast() || a.Addr().IsLoopback() {
			return nil, fmt.Errorf("address %v can't be the stack's own: give a unicast address with its prefix length", a)
		}
		if a.Addr().Zone() != "" || a.Addr().Is4In6() {
			return nil, fmt.Errorf("address %v: write it without a zone and not as IPv4 in IPv6", a)
		}
		if slices.ContainsFunc(c.Addresses[:i], func(b netip.Prefix) bool { return a.Addr() == b.Addr() }) {
			return nil, fmt.Errorf("address %v is given twice", a.Addr())
		}
	}
	for _, r := range c.Routes {
		if !r.Destination.IsValid() {
			return nil, errors.New("route has no destination")
		}
		if !r.Gateway.IsValid() {
			continue
		}
		if !slices.ContainsFunc(c.Addresses, func(a netip.Prefix) bool { return a.Masked().Contains(r.Gateway) }) {
			return nil, fmt.Errorf("gateway %v is in the subnet of no address of the stack (%v)", r.Gateway, c.Addresses)
		}
		if slices.ContainsFunc(c.Addresses, func(a netip.Prefix) bool { return a.Addr() == r.Gateway }) {
			return nil, fmt.Errorf("gateway %v is the stack's own address", r.Gateway)
		}
	}
	if c.Shards == 0 {
		c.Shards = info.Queues
	}
	if c.Shards > info.Queues {
		return nil, fmt.Errorf("%d shards need %d queues and %s has %d: ask for fewer shards, or give it more queues (ethtool -L)",
			c.Shards, c.Shards, info.Interface, info.Queues)
	}
	if c.Shards < info.Queues {
		return nil, fmt.Errorf("%d shards leave %d of %s's %d queues unread: ask for %d shards, or give it fewer queues (ethtool -L)",
			c.Shards, info.Queues-c.Shards, info.Interface, info.Queues, info.Queues)
	}
	if n := len(c.CPUs); n != 0 && n != c.Shards {
		return nil, fmt.Errorf("%d CPUs are listed for %d shards: list one for each", n, c.Shards)
	}
	for _, cpu := range c.CPUs {
		if cpu < 0 || cpu >= max(runtime.NumCPU(), maxCPU()) {
			return nil, fmt.Errorf("CPU %d does not exist", cpu)
		}
	}
	if c.Spin == 0 {
		c.Spin = DefaultSpin
	}
	if c.PortRange == [2]uint16{} {
		c.PortRange = [2]uint16{32768, 60999}
	}
	if c.Transport > TransportFast {
		return nil, fmt.Errorf("transport %d is not known", c.Transport)
	}
	c.Transport = c.Transport.or(TransportFast)
	if c.TCPMemory < 0 || c.TCPMemory > 0 && c.TCPMemory < int64(c.Shards)*minTCPMemory {
		return nil, fmt.Errorf("%d bytes for TCP: give Config.TCPMemory at least %d for each shard, or 0", c.TCPMemory, minTCPMemory)
	}
	if c.TCPMemory == 0 {
		c.TCPMemory = max(totalMemory()/3, int64(c.Shards)*minTCPMemory)
	}
	if c.HandlerLimit == 0 {
		c.HandlerLimit = DefaultHandlerLimit
	}
	if c.CloseTimeout == 0 {
		c.CloseTimeout = 3 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &c, nil
}

// Stack is a TCP/IP stack over one device: a shard for each of its queues, with
// the same addresses and routes. Its methods may be called from any goroutine.
type Stack struct {
	cfg      *Config
	dev      driver.Device
	info     driver.Info
	mac      [6]byte
	log      *slog.Logger
	local    []localAddr
	steering *steering
	shards   []*Shard
	home     func(src, dst netip.AddrPort) int // queue of a TCP or UDP packet by RSS; nil if not known

	closing   chan struct{} // closed when Close begins
	dialing   sync.RWMutex  // read-locked while a dial begins; Close waits for it
	closeOnce sync.Once
	closed    chan struct{} // closed when Close has ended

	mu    sync.Mutex
	err   error               // why the stack failed
	socks map[closer]struct{} // listeners and UDP sockets, closed first
}

// localAddr is one of the stack's addresses, and the broadcast address of its
// subnet if it has one.
type localAddr struct {
	addr, broadcast netip.Addr
}

func localAddrs(prefixes []netip.Prefix) (local []localAddr) {
	for _, p := range prefixes {
		l := localAddr{addr: p.Addr()}
		if l.addr.Is4() && p.Bits() < 31 {
			b := l.addr.As4()
			host := ^uint32(0) >> p.Bits()
			binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])|host)
			l.broadcast = netip.AddrFrom4(b)
		}
		local = append(local, l)
	}
	return local
}

// closer is a socket that Close must close.
type closer interface{ Close() error }

// New starts a stack on dev: from here on its shards run. The stack owns dev and
// closes it in Close, and when New fails.
func New(dev driver.Device, cfg *Config) (*Stack, error) {
	st, err := newStack(dev, cfg)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	for _, sh := range st.shards {
		go sh.run()
	}
	return st, nil
}

func newStack(dev driver.Device, cfg *Config) (*Stack, error) {
	info := dev.Info()
	c, err := cfg.withDefaults(info)
	if err != nil {
		return nil, err
	}
	if len(info.MAC) != 6 {
		return nil, fmt.Errorf("device %s has MAC address %v, not one of 6 bytes", info.Interface, info.MAC)
	}
	if info.FrameSize < info.MTU+etherHeaderLen {
		return nil, fmt.Errorf("device %s has frames of %d bytes, too short for MTU %d", info.Interface, info.FrameSize, info.MTU)
	}
	redirectNetstackLog(c.Logger)
	st := &Stack{
		cfg: c, dev: dev, info: info, mac: [6]byte(info.MAC), log: c.Logger,
		closing: make(chan struct{}), closed: make(chan struct{}),
		socks: make(map[closer]struct{}),
		local: localAddrs(c.Addresses),
	}
	if st.steering, err = newSteering(c.Shards, c.PortRange[0], c.PortRange[1]); err != nil {
		return nil, err
	}
	if info.RSS != nil && c.Shards > 1 {
		r, err := rss.New(info.RSS.Key, info.RSS.Table)
		if err != nil {
			return nil, fmt.Errorf("read the RSS of %s: %w", info.Interface, err)
		}
		st.home = r.QueueOfFlow
	}
	secret, err := newSecret()
	if err != nil {
		return nil, err
	}
	for i := range c.Shards {
		sh := &Shard{index: i, st: st, q: dev.Queue(i), syn: newSYNFilter(), done: make(chan struct{})}
		sh.clock = newShardClock(sh.kick)
		sh.tx = newTransmitter(sh.q, sh.kick)
		if sh.fast, err = newFastTCP(sh, c.TCPMemory/int64(c.Shards), secret); err != nil {
			return nil, err
		}
		for j := range c.Shards {
			var in *handover
			if j != i {
				in = new(handover)
			}
			sh.inbox = append(sh.inbox, in)
		}
		st.shards = append(st.shards, sh)
		if err := sh.newNetstack(); err != nil {
			for _, sh := range st.shards {
				if sh.ns != nil {
					sh.destroy()
				}
			}
			return nil, fmt.Errorf("start shard %d: %w", i, err)
		}
	}
	return st, nil
}

// Shards is the number of shards.
func (st *Stack) Shards() int { return len(st.shards) }

// Shard returns shard i.
func (st *Stack) Shard(i int) *Shard { return st.shards[i] }

// Info describes the device.
func (st *Stack) Info() driver.Info { return st.info }

// Addresses are the stack's own addresses.
func (st *Stack) Addresses() []netip.Prefix { return slices.Clone(st.cfg.Addresses) }

// Transport is the TCP of sockets that don't ask for one.
func (st *Stack) Transport() Transport { return st.cfg.Transport }

// TCPMode is the mode in force, which is TCPStock if TCPInline was not possible.
func (st *Stack) TCPMode() TCPMode {
	if st.shards[0].tcp == nil {
		return TCPStock
	}
	return TCPInline
}

// Steering says in a few words how packets find their shard, for a start-up line.
func (st *Stack) Steering() string {
	switch {
	case len(st.shards) == 1:
		return "one shard"
	case st.info.RSS != nil:
		return "NIC RSS (Toeplitz)"
	}
	return "arrival queue, hand-over by port"
}

// Stats is the sum over the shards.
func (st *Stack) Stats() Stats {
	var s Stats
	for _, sh := range st.shards {
		s.Add(sh.Stats())
	}
	return s
}

// Done is closed when the stack begins to close, by Close or because its device
// failed.
func (st *Stack) Done() <-chan struct{} { return st.closing }

// Err is why the stack failed, or nil.
func (st *Stack) Err() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.err
}

// fail records the first fatal error of a shard and begins to close the stack.
// It does not wait.
func (st *Stack) fail(err error) {
	select {
	case <-st.closing:
		return // a queue closed by Close is no failure
	default:
	}
	st.mu.Lock()
	first := st.err == nil
	if first {
		st.err = err
	}
	st.mu.Unlock()
	if first {
		st.log.Error("stack failed and closes", "error", err)
		go st.Close()
	}
}

// register adds s to what Close closes. It returns false when the stack is
// closing; s must then be closed by the caller.
func (st *Stack) register(s closer) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	select {
	case <-st.closing:
		return false
	default:
	}
	st.socks[s] = struct{}{}
	return true
}

func (st *Stack) unregister(s closer) {
	st.mu.Lock()
	delete(st.socks, s)
	st.mu.Unlock()
}

// Close ends the stack in order: sockets that listen are closed, connections get
// their FIN and up to Config.CloseTimeout to finish, what is left is reset, the
// loops end, the device is closed. It returns the device's error, or why the
// stack had failed. Later and concurrent calls wait for the first and return nil.
func (st *Stack) Close() error {
	first := false
	st.closeOnce.Do(func() { first = true })
	if !first {
		<-st.closed
		return nil
	}
	defer close(st.closed)
	st.mu.Lock()
	close(st.closing)
	socks := st.socks
	st.socks = nil
	failed := st.err
	st.mu.Unlock()
	st.dialing.Lock() // no dial that began before is left
	//lint:ignore SA2001 later ones see closing
	st.dialing.Unlock()
	for s := range socks {
		s.Close()
	}
	if failed == nil {
		st.finishConnections()
	}
	for _, sh := range st.shards {
		sh.abortConnections()
	}
	if failed == nil {
		st.fallSilent()
	}
	for _, sh := range st.shards {
		sh.stop()
	}
	for _, sh := range st.shards {
		sh.destroy()
	}
	return errors.Join(failed, st.dev.Close())
}

// finishConnections closes every connection and waits until their peers have
// closed too, or CloseTimeout.
func (st *Stack) finishConnections() {
	for _, sh := range st.shards {
		for e := range sh.connections() {
			e.Close()
		}
		sh.fast.closeAll()
		sh.kick()
	}
	deadline := time.Now().Add(st.cfg.CloseTimeout)
	for pause := time.Millisecond; time.Now().Before(deadline); pause = min(2*pause, 20*time.Millisecond) {
		open := 0
		for _, sh := range st.shards {
			for e := range sh.connections() {
				if e.EndpointState() != tcp.StateTimeWait {
					open++
				}
			}
			open += sh.fast.open()
		}
		if open == 0 {
			return
		}
		time.Sleep(pause)
	}
}

// connections yields the TCP endpoints of the shard that are connected or
// connecting.
func (sh *Shard) connections() func(yield func(*tcp.Endpoint) bool) {
	return func(yield func(*tcp.Endpoint) bool) {
		for _, list := range [][]stack.TransportEndpoint{sh.ns.RegisteredEndpoints(), sh.ns.CleanupEndpoints()} {
			for _, te := range list {
				e, ok := te.(*tcp.Endpoint)
				if !ok {
					continue
				}
				switch e.EndpointState() {
				case tcp.StateListen, tcp.StateClose, tcp.StateError, tcp.StateBound, tcp.StateInitial:
					continue
				}
				if !yield(e) {
					return
				}
			}
		}
	}
}

// abortConnections resets what is left.
func (sh *Shard) abortConnections() {
	for e := range sh.connections() {
		if e.EndpointState() != tcp.StateTimeWait {
			e.Abort()
		}
	}
	sh.fast.abortAll()
	sh.kick()
}

// Until the peers have been silent for silence, or for mostSilence in all, a stack
// that closes goes on refusing what they still send: a peer whose handshake was
// under way, or whose last segment was, is told that nobody is here any more.
const (
	silence     = 30 * time.Millisecond
	mostSilence = 500 * time.Millisecond
)

func (st *Stack) fallSilent() {
	deadline := time.Now().Add(mostSilence)
	heard, since := st.Stats().RxPackets, time.Now()
	for time.Since(since) < silence && time.Now().Before(deadline) {
		time.Sleep(silence / 10)
		busy := slices.ContainsFunc(st.shards, func(sh *Shard) bool { return sh.tx.queued.Load() || sh.fast.left.Load() })
		if n := st.Stats().RxPackets; n != heard || busy {
			heard, since = n, time.Now()
		}
	}
}
