package runner

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"shardnet/driver/fault"
	"shardnet/stack/flow"
)

// Drivers are the names of what an app can be served on.
var Drivers = []string{"afxdp", "asavie", "mem", "kernel"}

// Modes are the names of the ways to drive a NIC by AF_XDP.
var Modes = []string{"auto", "zero-copy", "copy", "generic"}

// APIs are the names of what an app is served by.
var APIs = []string{apiHandler, apiConn}

const (
	apiHandler = "handler" // callbacks on the shards' loops
	apiConn    = "conn"    // net.Listener, net.Conn and net.PacketConn, with goroutines
)

// Transports are the names of the implementations of TCP.
var Transports = []string{transportFast, transportNetstack}

const (
	transportNetstack = "netstack"
	transportFast     = "fast"
)

// Config says how to serve an app. The zero value of a field is its default
// unless said otherwise.
type Config struct {
	Driver    string // one of Drivers; "" is "afxdp"
	Mode      string // one of Modes; "" is "auto"; for a NIC only
	BusyPoll  bool   // as afxdp.Config has it
	Interface string
	Addresses []netip.Prefix
	Gateways  []netip.Addr // at most one of each family
	Port      int          // must be set
	Shards    int          // 0 is one for each of the NIC's queues
	CPUs      []int
	Spin      time.Duration // as stack.Config.Spin
	API       string        // one of APIs; "" is "handler", and "conn" on the kernel's sockets
	Transport string        // one of Transports; "" is "fast", and the kernel's on its sockets
	TCPMemory int64         // bytes, as stack.Config has it; for "fast" only
	Capture   string        // file to record the traffic in; "" is none
	Faults    *fault.Config // what befalls the frames of an app's stack; nil is nothing

	// What an app on a cable is asked: for how long each workload, and over how
	// many connections.
	CheckTime                    time.Duration // 0 is 500 ms
	CheckTCPConns, CheckUDPConns int           // 0 is 32

	JSON   bool // the start-up line and the summary as JSON
	Output io.Writer
	Logger *slog.Logger // nil discards
}

// cableAddresses are what an app is served on if none are given and nobody can
// see: those set aside for documentation and benchmarks.
var cableAddresses = []netip.Prefix{netip.MustParsePrefix("198.18.0.2/24"), netip.MustParsePrefix("2001:db8::2/64")}

// Validate fills in the defaults, and finds what is wrong without opening
// anything.
func (c *Config) Validate() error {
	setDefault(&c.Driver, Drivers[0])
	setDefault(&c.Mode, Modes[0])
	if !slices.Contains(Drivers, c.Driver) {
		return fmt.Errorf("driver %q is not known: give --driver one of %s", c.Driver, strings.Join(Drivers, ", "))
	}
	if !slices.Contains(Modes, c.Mode) {
		return fmt.Errorf("mode %q is not known: give --mode one of %s", c.Mode, strings.Join(Modes, ", "))
	}
	if c.Mode != Modes[0] && !c.onNIC() {
		return fmt.Errorf("mode %s is for a NIC: leave out --mode with --driver %s", c.Mode, c.Driver)
	}
	if c.BusyPoll && c.Driver != "afxdp" {
		return fmt.Errorf("busy polling is for a NIC on driver afxdp: leave out --busy-poll with --driver %s", c.Driver)
	}
	if err := c.checkAPI(); err != nil {
		return err
	}
	if err := c.checkFaults(); err != nil {
		return err
	}
	setDefault(&c.CheckTime, 500*time.Millisecond)
	setDefault(&c.CheckTCPConns, 32)
	setDefault(&c.CheckUDPConns, 32)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port %d does not exist: give --port one from 1 to 65535", c.Port)
	case c.Shards < 0:
		return fmt.Errorf("%d shards can't be: give --shards how many, or leave it out for one on each queue", c.Shards)
	case c.Interface == "" && c.onNIC():
		return errors.New("no interface is named: give one with --interface, or try --driver mem, which needs none")
	case c.Interface != "" && !c.onNIC():
		return fmt.Errorf("driver %s has no interface: leave out --interface", c.Driver)
	case len(c.Addresses) == 0 && c.Driver == "mem":
		c.Addresses = slices.Clone(cableAddresses)
	case len(c.Addresses) == 0:
		return errors.New("no address is given: give at least one with --address, such as 198.18.0.2/24")
	}
	if c.Driver == "kernel" {
		switch {
		case c.Capture != "":
			return errors.New("the kernel's traffic can't be captured here: leave out --pcap, and use tcpdump")
		case len(c.Gateways) > 0:
			return errors.New("the kernel has its own routes: leave out --gateway")
		case len(c.CPUs) > 0:
			return errors.New("with --driver kernel there are no shards to pin: leave out --cpus, and use taskset")
		}
	}
	for i, a := range c.Addresses {
		if err := c.checkAddress(i, a); err != nil {
			return err
		}
	}
	return c.checkGateways()
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// transport is the stack's TCP.
func (c *Config) transport() flow.Transport {
	if c.Transport == transportFast {
		return flow.TransportFast
	}
	return flow.TransportNetstack
}

func (c *Config) checkAPI() error {
	kernel := c.Driver == "kernel"
	switch {
	case kernel && c.API == apiHandler:
		return errors.New("the kernel's sockets have no event handlers: give --api conn with --driver kernel, or leave it out")
	case kernel && c.Transport != "":
		return errors.New("with --driver kernel TCP is the kernel's: leave out --tcp")
	case c.TCPMemory != 0 && (kernel || c.Transport == transportNetstack):
		return errors.New("what memory TCP may take can be set for the fast one only: leave out --tcp-memory, or give --tcp fast")
	case kernel:
		setDefault(&c.API, apiConn)
	}
	setDefault(&c.API, apiHandler)
	setDefault(&c.Transport, transportFast)
	if !slices.Contains(APIs, c.API) {
		return fmt.Errorf("API %q is not known: give --api one of %s", c.API, strings.Join(APIs, ", "))
	}
	if !slices.Contains(Transports, c.Transport) {
		return fmt.Errorf("TCP %q is not known: give --tcp one of %s", c.Transport, strings.Join(Transports, ", "))
	}
	return nil
}

// onNIC reports whether the app is served on an interface of the host's.
func (c *Config) onNIC() bool { return c.Driver == "afxdp" || c.Driver == "asavie" }

func (c *Config) checkAddress(i int, a netip.Prefix) error {
	ip := a.Addr()
	switch {
	case slices.ContainsFunc(c.Addresses[:i], func(b netip.Prefix) bool { return ip == b.Addr() }):
		return fmt.Errorf("address %v is given twice: give it once", ip)
	case c.Driver == "kernel":
		return nil // the kernel knows its own addresses
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLoopback(), ip.Is4In6(),
		ip.Is4() && a.Bits() < 31 && (ip == a.Masked().Addr() || ip == broadcast(a)):
		return fmt.Errorf("address %v can't be a host's: give a unicast address of the subnet", a)
	case ip.IsLinkLocalUnicast() && ip.Is6():
		return fmt.Errorf("address %v is link-local, which is not supported: give a global or unique local address", a)
	}
	return nil
}

// broadcast is the last address of an IPv4 subnet.
func broadcast(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

func (c *Config) checkGateways() error {
	for i, g := range c.Gateways {
		if slices.ContainsFunc(c.Gateways[:i], func(h netip.Addr) bool { return g.Is4() == h.Is4() }) {
			return fmt.Errorf("gateways %v and %v are of one family: give one for IPv4 and one for IPv6", c.Gateways[0], g)
		}
		if !slices.ContainsFunc(c.Addresses, func(a netip.Prefix) bool { return a.Masked().Contains(g) }) {
			return fmt.Errorf("gateway %v is in the subnet of no --address: give the gateway of one of %v", g, c.Addresses)
		}
		if slices.ContainsFunc(c.Addresses, func(a netip.Prefix) bool { return a.Addr() == g }) {
			return fmt.Errorf("gateway %v is an --address itself: give the neighbour that routes", g)
		}
	}
	return nil
}
