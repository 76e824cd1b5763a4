package netlab

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkConfig is what both ends of a link share. The zero value is one queue and
// an MTU of 1500.
type LinkConfig struct {
	Queues int  // TX and RX queues of each end; 0 is 1
	MTU    int  // bytes, without the Ethernet header; 0 is 1500
	Down   bool // leave both ends down
}

// End is one end of a link.
type End struct {
	Host      *Host
	Name      string           // of the interface; "" is v0, v1, ... in order
	MAC       net.HardwareAddr // nil: the kernel picks one
	Addresses []netip.Prefix   // added without duplicate address detection

	// NoTxChecksum makes the kernel fill in the checksums of what it sends (and
	// turns off segmentation offload with it). A veth end otherwise leaves them
	// to an offload that never runs: the receiver sees CHECKSUM_PARTIAL.
	NoTxChecksum bool
	// NoSegmentation turns TSO, GSO and GRO off, so that no frame is longer than
	// the MTU. With native XDP on the other end the kernel does so itself.
	NoSegmentation bool
}

// Interface is one end of a veth pair.
type Interface struct {
	Host  *Host
	Name  string
	Index int
	MAC   net.HardwareAddr
}

// linkTimeout bounds the wait for the carrier. It takes milliseconds.
const linkTimeout = 5 * time.Second

// Connect makes a veth pair between two hosts of the lab. When it returns, both
// ends are up and pass frames.
func (l *Lab) Connect(a, b End, cfg LinkConfig) (ia, ib *Interface, err error) {
	if cfg.Queues == 0 {
		cfg.Queues = 1
	}
	if cfg.MTU == 0 {
		cfg.MTU = 1500
	}
	a.Name, b.Name = a.Host.linkName(a.Name), b.Host.linkName(b.Name)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = a.Name
	attrs.MTU = cfg.MTU
	attrs.HardwareAddr = a.MAC
	attrs.NumTxQueues, attrs.NumRxQueues = cfg.Queues, cfg.Queues
	veth := netlink.NewVeth(attrs)
	veth.PeerName = b.Name
	veth.PeerHardwareAddr = b.MAC
	veth.PeerNamespace = netlink.NsFd(b.Host.ns)
	veth.PeerNumTxQueues, veth.PeerNumRxQueues = uint32(cfg.Queues), uint32(cfg.Queues)
	veth.PeerMTU = uint32(cfg.MTU)
	if err := a.Host.nl.LinkAdd(veth); err != nil {
		return nil, nil, fmt.Errorf("add veth pair %s-%s: %w", a.Name, b.Name, err)
	}
	defer func() {
		if err != nil {
			_ = a.Host.nl.LinkDel(veth)
		}
	}()
	if ia, err = configure(a, cfg); err != nil {
		return nil, nil, fmt.Errorf("configure %s: %w", a.Name, err)
	}
	if ib, err = configure(b, cfg); err != nil {
		return nil, nil, fmt.Errorf("configure %s: %w", b.Name, err)
	}
	if !cfg.Down {
		// Carrier changes are worked off in the background; until then frames
		// are dropped for want of a queue discipline.
		for _, i := range []*Interface{ia, ib} {
			if err := i.WaitUp(linkTimeout); err != nil {
				return nil, nil, err
			}
		}
	}
	return ia, ib, nil
}

func (h *Host) linkName(name string) string {
	if name != "" {
		return name
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.links++
	return fmt.Sprintf("v%d", h.links-1)
}

func configure(e End, cfg LinkConfig) (*Interface, error) {
	link, err := e.Host.nl.LinkByName(e.Name)
	if err != nil {
		return nil, err
	}
	i := &Interface{Host: e.Host, Name: e.Name, Index: link.Attrs().Index, MAC: link.Attrs().HardwareAddr}
	if e.NoTxChecksum {
		if err := i.SetOffload(TxChecksum, false); err != nil {
			return nil, err
		}
	}
	if e.NoSegmentation {
		for _, o := range []Offload{TSO, GSO, GRO} {
			if err := i.SetOffload(o, false); err != nil {
				return nil, err
			}
		}
	}
	if !cfg.Down {
		if err := i.SetUp(); err != nil {
			return nil, err
		}
	}
	for _, p := range e.Addresses {
		if err := i.AddAddress(p); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (i *Interface) link() netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: i.Name, Index: i.Index}}
}

// SetUp sets the interface up. It does not wait for the carrier: WaitUp does.
func (i *Interface) SetUp() error { return i.Host.nl.LinkSetUp(i.link()) }

// SetDown sets the interface down; the other end loses its carrier.
func (i *Interface) SetDown() error { return i.Host.nl.LinkSetDown(i.link()) }

// SetMTU changes the MTU in bytes.
func (i *Interface) SetMTU(mtu int) error { return i.Host.nl.LinkSetMTU(i.link(), mtu) }

// Delete removes the interface, and with it the other end.
func (i *Interface) Delete() error { return i.Host.nl.LinkDel(i.link()) }

// AddAddress adds an address without duplicate address detection.
func (i *Interface) AddAddress(p netip.Prefix) error {
	addr := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		addr.Flags = unix.IFA_F_NODAD
	}
	if err := i.Host.nl.AddrAdd(i.link(), addr); err != nil {
		return fmt.Errorf("add address %s to %s: %w", p, i.Name, err)
	}
	return nil
}

// WaitUp waits until the interface is up with a carrier and its queue discipline
// in place, which is when it passes frames.
func (i *Interface) WaitUp(timeout time.Duration) error {
	deadline := time.Now().Add(timeout)
	for {
		link, err := i.Host.nl.LinkByIndex(i.Index)
		if err != nil {
			return fmt.Errorf("look at %s: %w", i.Name, err)
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: still %s after %v", i.Name, link.Attrs().OperState, timeout)
		}
		time.Sleep(time.Millisecond)
	}
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
