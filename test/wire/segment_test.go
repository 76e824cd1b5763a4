//go:build linux

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Flags of TCP, in the order of their bits.
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
	flagURG
)

const flagNames = "FSRPAUEC"

// options of a segment. Negative numbers are options that are not there.
type options struct {
	mss, scale int
	sackOK     bool
	sack       [][2]uint32
	stamp      bool
	val, ecr   uint32
}

// segment is one of the target's.
type segment struct {
	at       time.Time
	src, dst netip.AddrPort
	flags    uint8
	seq, ack uint32
	win, urg uint16
	options
	payload []byte
}

// pattern is byte i of the stream of either direction. Its period is prime, so
// that bytes at the wrong place are noticed.
func pattern(i int) byte { return byte(i % 251) }

func patterned(at, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = pattern(at + i)
	}
	return b
}

// outgoing is a segment as the peer makes it, to be wrong in any way.
type outgoing struct {
	src, dst netip.AddrPort
	flags    uint8
	seq, ack uint32
	win, urg uint16
	options  []byte // padded to whole words by marshal
	doff     int    // in words; 0 is what is right
	badSum   bool
	payload  []byte
	ip       map[string]bool // what is odd about the packet: see packets
}

// marshal makes the TCP header and payload.
func (o *outgoing) marshal() []byte {
	opts := o.options
	for len(opts)%4 != 0 {
		opts = append(opts, 0)
	}
	doff := o.doff
	if doff == 0 {
		doff = 5 + len(opts)/4
	}
	b := make([]byte, 20, 20+len(opts)+len(o.payload))
	binary.BigEndian.PutUint16(b[0:], o.src.Port())
	binary.BigEndian.PutUint16(b[2:], o.dst.Port())
	binary.BigEndian.PutUint32(b[4:], o.seq)
	binary.BigEndian.PutUint32(b[8:], o.ack)
	b[12], b[13] = byte(doff<<4), o.flags
	binary.BigEndian.PutUint16(b[14:], o.win)
	binary.BigEndian.PutUint16(b[18:], o.urg)
	b = append(append(b, opts...), o.payload...)
	sum := ^checksum(o.src.Addr(), o.dst.Addr(), b)
	if o.badSum {
		sum ^= 0x0101
	}
	binary.BigEndian.PutUint16(b[16:], sum)
	return b
}

// checksum is the sum of RFC 9293, section 3.1, over pseudo-header and segment:
// 0xffff for one that is right.
func checksum(src, dst netip.Addr, tcp []byte) uint16 {
	sum := uint32(6 + len(tcp))
	for _, b := range [][]byte{src.AsSlice(), dst.AsSlice(), tcp} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// ipLayer is the IP header of a packet between two addresses.
func ipLayer(src, dst netip.Addr, proto layers.IPProtocol) (layers.EthernetType, gopacket.SerializableLayer) {
	if src.Is4() {
		return layers.EthernetTypeIPv4, &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment,
			Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	return layers.EthernetTypeIPv6, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto,
		SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
}

// packets are the IPv4 packets that a segment is sent in: one, with a header as odd as
// asked for, or two fragments, in order or not.
func (o *outgoing) packets() (ps [][]gopacket.SerializableLayer) {
	tcp := o.marshal()
	packet := func(off int, more bool, data []byte) {
		_, l := ipLayer(o.src.Addr(), o.dst.Addr(), layers.IPProtocolTCP)
		if ip, ok := l.(*layers.IPv4); ok {
			if more || off > 0 {
				ip.Flags, ip.Id, ip.FragOffset = 0, uint16(o.seq), uint16(off/8)
			}
			if more {
				ip.Flags = layers.IPv4MoreFragments
			}
			if o.ip["ipopt"] {
				ip.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 0}}
			}
			if o.ip["badip"] {
				l = wrongSum{ip}
			}
		}
		ps = append(ps, []gopacket.SerializableLayer{l, gopacket.Payload(data)})
	}
	if !o.ip["frags"] && !o.ip["sgarf"] {
		packet(0, false, tcp)
		return ps
	}
	const cut = 24 // within the header and options, or a little beyond
	packet(0, true, tcp[:cut])
	packet(cut, false, tcp[cut:])
	if o.ip["sgarf"] {
		slices.Reverse(ps)
	}
	return ps
}

// wrongSum is an IPv4 header with a wrong checksum.
type wrongSum struct{ *layers.IPv4 }

func (w wrongSum) SerializeTo(b gopacket.SerializeBuffer, opts gopacket.SerializeOptions) error {
	if err := w.IPv4.SerializeTo(b, opts); err != nil {
		return err
	}
	b.Bytes()[10] ^= 0xff
	return nil
}

var serialize = gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}

// icmpKinds are types and codes: ICMP's and ICMPv6's.
var icmpKinds = map[string][2]uint16{
	"net":    {0x300, 0x100},
	"host":   {0x301, 0x103},
	"proto":  {0x302, 0x401},
	"port":   {0x303, 0x104},
	"toobig": {0x304, 0x200},
	"admin":  {0x30d, 0x101},
}

// icmpError is an ICMP error about a segment from src to dst, as the host at dst
// would send it: the layers above Ethernet.
func icmpError(kind string, mtu int, src, dst netip.AddrPort, seq uint32) (layers.EthernetType, []gopacket.SerializableLayer, error) {
	// What is quoted: the IP header and the segment's, without its payload.
	_, quotedIP := ipLayer(src.Addr(), dst.Addr(), layers.IPProtocolTCP)
	quoted := outgoing{src: src, dst: dst, seq: seq, flags: flagACK, win: 1000}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, serialize, quotedIP, gopacket.Payload(quoted.marshal())); err != nil {
		return 0, nil, err
	}
	quote := buf.Bytes()
	if src.Addr().Is4() {
		et, ip := ipLayer(dst.Addr(), src.Addr(), layers.IPProtocolICMPv4)
		icmp := &layers.ICMPv4{TypeCode: layers.ICMPv4TypeCode(icmpKinds[kind][0]), Seq: uint16(mtu)}
		return et, []gopacket.SerializableLayer{ip, icmp, gopacket.Payload(quote)}, nil
	}
	et, ip := ipLayer(dst.Addr(), src.Addr(), layers.IPProtocolICMPv6)
	icmp := &layers.ICMPv6{TypeCode: layers.ICMPv6TypeCode(icmpKinds[kind][1])}
	if err := icmp.SetNetworkLayerForChecksum(ip.(*layers.IPv6)); err != nil {
		return 0, nil, err
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(mtu))
	return et, []gopacket.SerializableLayer{ip, icmp, gopacket.Payload(append(head, quote...))}, nil
}

var errNotTCP = errors.New("not a segment")

// decode reads a frame of the target's.
func decode(frame []byte) (*segment, error) {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true})
	var src, dst netip.Addr
	var body []byte
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
		body = ip.Payload
	case *layers.IPv6:
		src, _ = netip.AddrFromSlice(ip.SrcIP)
		dst, _ = netip.AddrFromSlice(ip.DstIP)
		body = ip.Payload
	default:
		return nil, errNotTCP
	}
	tcp, ok := p.TransportLayer().(*layers.TCP)
	if !ok {
		return nil, errNotTCP
	}
	s := &segment{
		src: netip.AddrPortFrom(src.Unmap(), uint16(tcp.SrcPort)), dst: netip.AddrPortFrom(dst.Unmap(), uint16(tcp.DstPort)),
		flags: body[13], seq: tcp.Seq, ack: tcp.Ack, win: tcp.Window, urg: tcp.Urgent,
		options: options{mss: -1, scale: -1}, payload: tcp.Payload,
	}
	if checksum(s.src.Addr(), s.dst.Addr(), body) != 0xffff {
		return s, errors.New("a segment with a wrong checksum")
	}
	for _, o := range tcp.Options {
		d := o.OptionData
		switch {
		case o.OptionType == layers.TCPOptionKindMSS && len(d) == 2:
			s.mss = int(binary.BigEndian.Uint16(d))
		case o.OptionType == layers.TCPOptionKindWindowScale && len(d) == 1:
			s.scale = int(d[0])
		case o.OptionType == layers.TCPOptionKindSACKPermitted && len(d) == 0:
			s.sackOK = true
		case o.OptionType == layers.TCPOptionKindTimestamps && len(d) == 8:
			s.stamp, s.val, s.ecr = true, binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])
		case o.OptionType == layers.TCPOptionKindSACK && len(d)%8 == 0:
			for ; len(d) > 0; d = d[8:] {
				s.sack = append(s.sack, [2]uint32{binary.BigEndian.Uint32(d), binary.BigEndian.Uint32(d[4:])})
			}
		case o.OptionType == layers.TCPOptionKindNop, o.OptionType == layers.TCPOptionKindEndList:
		default:
			return s, fmt.Errorf("an option %d of %d bytes", o.OptionType, len(d))
		}
	}
	return s, nil
}

// appendOptions writes options as the peer sends them, each after the NOPs that
// align it.
func appendOptions(b []byte, o *options) []byte {
	if o.mss >= 0 {
		b = binary.BigEndian.AppendUint16(append(b, 2, 4), uint16(o.mss))
	}
	if o.sackOK {
		b = append(b, 1, 1, 4, 2)
	}
	if o.stamp {
		b = append(b, 1, 1, 8, 10)
		b = binary.BigEndian.AppendUint32(b, o.val)
		b = binary.BigEndian.AppendUint32(b, o.ecr)
	}
	if o.scale >= 0 {
		b = append(b, 1, 3, 3, byte(o.scale))
	}
	if len(o.sack) > 0 {
		b = append(b, 1, 1, 5, byte(2+8*len(o.sack)))
		for _, bl := range o.sack {
			b = binary.BigEndian.AppendUint32(b, bl[0])
			b = binary.BigEndian.AppendUint32(b, bl[1])
		}
	}
	return b
}

// show writes a segment as a script would, with numbers relative to the initial
// ones.
func (s *segment) show(iss, irs uint32) string {
	var b strings.Builder
	for i, r := range flagNames {
		if s.flags&(1<<i) != 0 {
			b.WriteRune(r)
		}
	}
	fmt.Fprintf(&b, " %d(%d)", int32(s.seq-iss), len(s.payload))
	if s.flags&flagACK != 0 {
		fmt.Fprintf(&b, " ack %d", int32(s.ack-irs))
	}
	fmt.Fprintf(&b, " win %d", s.win)
	if s.mss >= 0 {
		fmt.Fprintf(&b, " mss %d", s.mss)
	}
	if s.scale >= 0 {
		fmt.Fprintf(&b, " ws %d", s.scale)
	}
	if s.sackOK {
		b.WriteString(" sackok")
	}
	if s.stamp {
		fmt.Fprintf(&b, " ts %d ecr %d", s.val, s.ecr)
	}
	for i, bl := range s.sack {
		fmt.Fprintf(&b, "%s%d-%d", []string{" sack ", ","}[min(i, 1)], int32(bl[0]-irs), int32(bl[1]-irs))
	}
	if s.urg != 0 {
		fmt.Fprintf(&b, " urg %d", s.urg)
	}
	return b.String()
}
