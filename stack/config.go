package stack

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"shardnet/driver"
	"shardnet/stack/flow"
)

// Route sends packets for Destination by way of Gateway, a neighbor; the zero
// Gateway means that Destination is on the link itself.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// Config configures a Stack. The zero value of each field is its default.
type Config struct {
	// Addresses are the stack's own, each with the prefix length of its subnet. Empty is
	// all that the device redirects (driver.Info.Addresses); each must be one of those. On
	// a device that delivers everything at least one is needed.
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
	// Transport is the TCP of sockets that don't ask for one; flow.TransportFast by
	// default.
	Transport flow.Transport
	// TCPMemory bounds, in bytes, what the connections of TransportFast take, all
	// shards together: their buffers in full, from the moment they are promised to
	// the peer. 0 is a third of the machine's memory.
	TCPMemory int64
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
		c.Addresses = info.Addresses
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
		if len(info.Addresses) > 0 && !slices.ContainsFunc(info.Addresses, func(b netip.Prefix) bool { return a.Addr() == b.Addr() }) {
			return nil, fmt.Errorf("%s does not redirect address %v, only %v: give it to the device, or leave Config.Addresses empty", info.Interface, a.Addr(), info.Addresses)
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
	if c.Transport > flow.TransportFast {
		return nil, fmt.Errorf("transport %d is not known", c.Transport)
	}
	c.Transport = c.Transport.Or(flow.TransportFast)
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
