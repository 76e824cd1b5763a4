package netstack

import (
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/time/rate"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"shardnet/driver/wire"
	"shardnet/stack/internal/clock"
	"shardnet/stack/internal/counter"
	"shardnet/stack/internal/loop"
	"shardnet/stack/internal/netstack/tcpinline"
	"shardnet/stack/internal/steer"
	"shardnet/stack/internal/txq"
)

const nicID = tcpip.NICID(1)

// Route sends packets for Destination by way of Gateway, a neighbor; the zero Gateway means
// that Destination is on the link itself.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// Config is what a Netstack stands on. All of it is needed.
type Config struct {
	Shard     loop.Shard
	Running   *loop.Running
	Clock     *clock.Clock
	Counters  *counter.Set
	Tx        *txq.Queue
	Steering  *steer.Table
	Own       steer.Addresses
	Addresses []netip.Prefix
	Routes    []Route
	MAC       [6]byte
	MTU       int
	Logger    *slog.Logger
	Engine    Engine
	// SteerReassembled hands r to the shard that owns p, and returns false if that is this
	// one. It is called on the loop.
	SteerReassembled func(p *wire.Packet, r *Reassembled) bool
	// ReassembledArrived is called on the loop for each packet that came so.
	ReassembledArrived func()
}

// Netstack is one shard's.
type Netstack struct {
	cfg  Config
	ns   *stack.Stack
	link *link
	ipv4 stack.NetworkEndpoint
	ipv6 stack.NetworkEndpoint
	arp  stack.NetworkEndpoint
	tcp  *tcpinline.Drainer // nil: TCP runs on netstack's own goroutines
	// transport is netstack's way to its transport protocols.
	transport stack.TransportDispatcher

	// The loop's own.
	gro        groRun // segments of this batch that are being merged
	skipEngine bool   // set while netstack is given a segment that the engine was asked for
}

// netstackClock is the shard's clock as netstack wants it.
type netstackClock struct{ *clock.Clock }

// Now implements tcpip.Clock.
func (c netstackClock) Now() time.Time { return time.Now() }

// NowMonotonic implements tcpip.Clock.
func (c netstackClock) NowMonotonic() tcpip.MonotonicTime {
	return tcpip.MonotonicTime{}.Add(time.Duration(c.Unique()))
}

// AfterFunc implements tcpip.Clock.
func (c netstackClock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	return c.Clock.AfterFunc(d, f)
}

// New starts a netstack with its NIC, addresses and routes. There must be no traffic yet.
// After an error, Close frees what was made.
func New(cfg Config) (*Netstack, error) {
	n := &Netstack{cfg: cfg}
	n.ns = stack.New(n.options())
	n.ns.SetICMPLimit(rate.Limit(1000))
	n.ns.SetTransportProtocolHandler(header.TCPProtocolNumber, n.inputUnclaimed)
	lo, hi := cfg.Steering.PortRange(cfg.Shard.Index())
	if err := n.ns.SetPortRange(lo, hi); err != nil {
		return n, fmt.Errorf("set port range %d-%d: %w", lo, hi, goError(err))
	}
	if err := setBuffers(n.ns); err != nil {
		return n, err
	}
	q := newQdisc(cfg.Tx)
	n.link = &link{mtu: uint32(cfg.MTU), addr: tcpip.LinkAddress(cfg.MAC[:]), qdisc: q}
	d, err := tcpinline.New(n.ns)
	if err == nil {
		n.tcp = d
	} else if cfg.Shard.Index() == 0 {
		cfg.Logger.Warn("netstack's TCP runs on goroutines of its own", "reason", err)
	}
	if err := n.ns.CreateNICWithOptions(nicID, n.link, stack.NICOptions{Name: "shard", QDisc: q}); err != nil {
		return n, fmt.Errorf("create NIC: %w", goError(err))
	}
	for _, a := range cfg.Addresses {
		if err := addAddress(n.ns, a); err != nil {
			return n, fmt.Errorf("add address %v: %w", a, err)
		}
	}
	var ok bool
	if n.transport, ok = n.link.dispatcher.(stack.TransportDispatcher); !ok {
		return n, fmt.Errorf("netstack's NIC is a %T, which delivers no transport packets", n.link.dispatcher)
	}
	table, err := routeTable(cfg.Addresses, cfg.Routes)
	if err != nil {
		return n, err
	}
	n.ns.SetRouteTable(table)
	for proto, ep := range map[tcpip.NetworkProtocolNumber]*stack.NetworkEndpoint{
		header.IPv4ProtocolNumber: &n.ipv4, header.IPv6ProtocolNumber: &n.ipv6, header.ARPProtocolNumber: &n.arp,
	} {
		e, err := n.ns.GetNetworkEndpoint(nicID, proto)
		if err != nil {
			return n, fmt.Errorf("find network protocol %#x: %w", proto, goError(err))
		}
		*ep = e
	}
	cfg.Tx.Attach(n.resolve, q.drain)
	return n, nil
}

// options configures netstack. Its timers fire on the shard's clock. Addresses are static,
// so duplicate address detection, router solicitation and link-local addresses are off: a
// stack whose address is a neighbor's already is the operator's error, and the link-local
// address derived from the MAC is the kernel's. Reports of group membership (MLD), which
// snooping switches want for NDP, come from the first shard alone.
func (n *Netstack) options() stack.Options {
	opts6 := ipv6.Options{
		NDPConfigs: ipv6.NDPConfigurations{MaxRtrSolicitations: 0},
		DADConfigs: stack.DADConfigurations{DupAddrDetectTransmits: 0},
		MLD:        ipv6.MLDOptions{Enabled: n.cfg.Shard.Index() == 0},
	}
	return stack.Options{
		NetworkProtocols: []stack.NetworkProtocolFactory{n.newIPv4, n.newIPv6(opts6), arp.NewProtocol},
		TransportProtocols: []stack.TransportProtocolFactory{
			tcp.NewProtocolCUBIC, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6,
		},
		Clock:       netstackClock{n.cfg.Clock},
		HandleLocal: true,
	}
}

// Inline reports whether TCP runs on the loop. If not, netstack was not laid out as
// package tcpinline knows it, and the log said so.
func (n *Netstack) Inline() bool { return n.tcp != nil }

// Drain processes the TCP endpoints that got segments and returns how many there were. Loop
// only.
func (n *Netstack) Drain() int {
	if n.tcp == nil {
		return 0
	}
	return n.tcp.Drain()
}

// SendACKs acknowledges what a turn received, where no reply did so. Loop only.
func (n *Netstack) SendACKs() {
	if n.tcp != nil {
		n.tcp.SendACKs()
	}
}

// Pending reports whether an endpoint waits for Drain. Any goroutine may call it.
func (n *Netstack) Pending() bool { return n.tcp != nil && n.tcp.Pending() }

// LeftToUser reports, once, whether Drain left segments to an application that held their
// endpoint: the loop is not to sleep for long. Loop only.
func (n *Netstack) LeftToUser() bool { return n.tcp != nil && n.tcp.LeftToUser() }

// afterCall follows every call of an application on an endpoint: segments that arrived
// while it held the endpoint's lock are now queued, and if the loop sleeps nobody else will
// process them.
func (n *Netstack) afterCall() {
	if n.cfg.Shard.Sleeping() && n.Pending() {
		n.cfg.Shard.Kick()
	}
}

// Counts are netstack's own.
type Counts struct {
	Accepted, Dialed, Established, Retransmits uint64 // TCP
	UDPReceived, UDPSent, UDPDropped           uint64
}

// Counts returns the counters. Any goroutine may call it.
func (n *Netstack) Counts() Counts {
	s := n.ns.Stats()
	return Counts{
		Accepted:    s.TCP.PassiveConnectionOpenings.Value(),
		Dialed:      s.TCP.ActiveConnectionOpenings.Value(),
		Established: s.TCP.CurrentEstablished.Value(),
		Retransmits: s.TCP.Retransmits.Value(),
		UDPReceived: s.UDP.PacketsReceived.Value(),
		UDPSent:     s.UDP.PacketsSent.Value(),
		UDPDropped:  s.UDP.ReceiveBufferErrors.Value(),
	}
}

// connections yields the TCP endpoints that are connected or connecting.
func (n *Netstack) connections(yield func(*tcp.Endpoint) bool) {
	for _, list := range [][]stack.TransportEndpoint{n.ns.RegisteredEndpoints(), n.ns.CleanupEndpoints()} {
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

// CloseConnections closes every TCP connection in order.
func (n *Netstack) CloseConnections() {
	for e := range n.connections {
		e.Close()
	}
}

// Connections is how many TCP connections have not ended, those in TIME-WAIT aside.
func (n *Netstack) Connections() (open int) {
	for e := range n.connections {
		if e.EndpointState() != tcp.StateTimeWait {
			open++
		}
	}
	return open
}

// AbortConnections resets what is left.
func (n *Netstack) AbortConnections() {
	for e := range n.connections {
		if e.EndpointState() != tcp.StateTimeWait {
			e.Abort()
		}
	}
}

// Close frees netstack, after the loop has ended.
func (n *Netstack) Close() {
	if n.tcp != nil {
		n.tcp.Close()
	}
	n.ns.Close()
	n.ns.Wait()
}
