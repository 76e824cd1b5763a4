//go:build linux

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"shardnet/driver/netlab"
)

// rawPeer is a packet socket that stands for all hosts of the link but the target: it
// answers ARP and NDP for whatever address it is asked, and gives segments to
// the conversation that speaks from the address they are for.
type rawPeer struct {
	fd     int
	mac    net.HardwareAddr // ours
	target net.HardwareAddr
	closed atomic.Bool
	done   chan struct{}

	mu   sync.Mutex
	subs map[netip.Addr]chan<- *segment
	bad  map[netip.Addr]error // segments that could not be read
	buf  gopacket.SerializeBuffer
}

// pollInterval bounds how long close waits for the reader.
const pollInterval = 50 * time.Millisecond

func newRawPeer(end *netlab.Interface, target net.HardwareAddr) (*rawPeer, error) {
	p := &rawPeer{mac: end.MAC, target: target, done: make(chan struct{}),
		subs: make(map[netip.Addr]chan<- *segment), bad: make(map[netip.Addr]error), buf: gopacket.NewSerializeBuffer()}
	// Without an address of its own the kernel there would still make a link-local one.
	if err := end.Host.Sysctl("net/ipv6/conf/"+end.Name+"/disable_ipv6", "1"); err != nil {
		return nil, fmt.Errorf("keep the peer's interface without addresses: %w", err)
	}
	err := end.Host.Do(func() (err error) {
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket: %w", err)
	}
	timeout := unix.NsecToTimeval(int64(pollInterval))
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	err = errors.Join(
		unix.SetsockoptTimeval(p.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20),
		unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: end.Index}))
	if err != nil {
		_ = unix.Close(p.fd)
		return nil, fmt.Errorf("set up packet socket: %w", err)
	}
	go p.read()
	return p, nil
}

func (p *rawPeer) close() error {
	p.closed.Store(true)
	<-p.done
	return unix.Close(p.fd)
}

// subscribe gives what the target sends to addr to ch, until unsubscribe.
func (p *rawPeer) subscribe(addr netip.Addr, ch chan<- *segment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs[addr] = ch
}

// unsubscribe returns what was wrong with segments to addr.
func (p *rawPeer) unsubscribe(addr netip.Addr) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subs, addr)
	return p.bad[addr]
}

func (p *rawPeer) read() {
	defer close(p.done)
	frame := make([]byte, 1<<16)
	for !p.closed.Load() {
		n, from, err := unix.Recvfrom(p.fd, frame, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			return
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		p.take(time.Now(), append([]byte(nil), frame[:n]...))
	}
}

func (p *rawPeer) take(at time.Time, frame []byte) {
	if p.neighbor(frame) {
		return
	}
	s, err := decode(frame)
	if s == nil {
		return
	}
	s.at = at
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.bad[s.dst.Addr()] == nil {
		p.bad[s.dst.Addr()] = fmt.Errorf("%w: %x", err, frame)
	}
	if ch := p.subs[s.dst.Addr()]; ch != nil {
		select {
		case ch <- s:
		default:
			p.bad[s.dst.Addr()] = errors.New("more segments than a script can mean")
		}
	}
}

// neighbor answers ARP and NDP.
func (p *rawPeer) neighbor(frame []byte) bool {
	pkt := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if l := pkt.Layer(layers.LayerTypeARP); l != nil {
		if arp := l.(*layers.ARP); arp.Operation == layers.ARPRequest && len(arp.DstProtAddress) == 4 {
			_ = p.send(layers.EthernetTypeARP, &layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4,
				HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
				SourceHwAddress: p.mac, SourceProtAddress: arp.DstProtAddress,
				DstHwAddress: arp.SourceHwAddress, DstProtAddress: arp.SourceProtAddress})
		}
		return true
	}
	l := pkt.Layer(layers.LayerTypeICMPv6NeighborSolicitation)
	if l == nil {
		return false
	}
	asked, from := l.(*layers.ICMPv6NeighborSolicitation), pkt.NetworkLayer().(*layers.IPv6)
	if from.SrcIP.IsUnspecified() {
		return true // duplicate address detection
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6, SrcIP: asked.TargetAddress, DstIP: from.SrcIP}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)}
	if icmp.SetNetworkLayerForChecksum(ip) == nil {
		_ = p.send(layers.EthernetTypeIPv6, ip, icmp, &layers.ICMPv6NeighborAdvertisement{Flags: 0x60, TargetAddress: asked.TargetAddress,
			Options: layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: p.mac}}})
	}
	return true
}

// send puts layers into a frame to the target.
func (p *rawPeer) send(et layers.EthernetType, ls ...gopacket.SerializableLayer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	eth := &layers.Ethernet{SrcMAC: p.mac, DstMAC: p.target, EthernetType: et}
	if err := gopacket.SerializeLayers(p.buf, serialize, append([]gopacket.SerializableLayer{eth}, ls...)...); err != nil {
		return err
	}
	for {
		if _, err := unix.Write(p.fd, p.buf.Bytes()); !errors.Is(err, unix.EINTR) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
}

// sendSegment sends o as it is.
func (p *rawPeer) sendSegment(o *outgoing) error {
	et, _ := ipLayer(o.src.Addr(), o.dst.Addr(), layers.IPProtocolTCP)
	for _, packet := range o.packets() {
		if err := p.send(et, packet...); err != nil {
			return err
		}
	}
	return nil
}
