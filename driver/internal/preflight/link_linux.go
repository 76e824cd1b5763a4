package preflight

import (
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// Link is an interface as found.
type Link struct {
	Name    string
	Index   int
	Kind    string // of a virtual link: "veth", "bridge", ...; "device" for hardware
	MAC     net.HardwareAddr
	MTU     int
	Up      bool
	Queues  int    // pairs of an RX and a TX queue
	Program uint32 // id of the XDP program in place, or 0
}

// FindLink returns the interface of that name.
func FindLink(name string) (*Link, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		var notFound netlink.LinkNotFoundError
		if errors.As(err, &notFound) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
			return nil, fmt.Errorf("%w: %q (there are: %s)", ErrNoInterface, name, interfaces())
		}
		return nil, fmt.Errorf("look up interface %q: %w", name, err)
	}
	attrs := l.Attrs()
	if attrs.EncapType != "ether" || len(attrs.HardwareAddr) != 6 {
		return nil, fmt.Errorf("%w: %s is of type %s", ErrNotEthernet, name, attrs.EncapType)
	}
	link := &Link{
		Name:   attrs.Name,
		Index:  attrs.Index,
		Kind:   l.Type(),
		MAC:    attrs.HardwareAddr,
		MTU:    attrs.MTU,
		Up:     attrs.Flags&net.FlagUp != 0,
		Queues: max(1, min(attrs.NumRxQueues, attrs.NumTxQueues)),
	}
	if attrs.Xdp != nil && attrs.Xdp.Attached {
		link.Program = attrs.Xdp.ProgId
	}
	// The attributes say what the interface could have; the channels what it
	// has. Not every driver knows them.
	rx, tx, err := channels(name)
	switch {
	case err == nil && rx > 0 && tx > 0:
		link.Queues = min(rx, tx)
	case err != nil && !errors.Is(err, unix.EOPNOTSUPP):
		return nil, fmt.Errorf("ask %s for its channels: %w", name, err)
	}
	return link, nil
}

// Info is what the interface has to say of a device opened on it by the driver of that name.
// The rings, the frames' size and the addresses are the driver's to add.
func (l *Link) Info(name string, mode Mode) driver.Info {
	return driver.Info{
		Driver:    name,
		Interface: l.Name,
		Mode:      mode.String(),
		MAC:       l.MAC,
		MTU:       l.MTU,
		Queues:    l.Queues,
		Offloads:  driver.Offloads{RxChecksumPartial: l.checksumPartial()},
		RSS:       l.rss(),
	}
}

// interfaces lists the names of those there are.
func interfaces() string {
	links, err := netlink.LinkList()
	if err != nil {
		return err.Error()
	}
	names := make([]string, len(links))
	for i, l := range links {
		names[i] = l.Attrs().Name
	}
	return strings.Join(names, ", ")
}
