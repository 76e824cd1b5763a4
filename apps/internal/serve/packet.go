package serve

import (
	"net"
	"net/netip"
)

// addrPortConn is what a packet connection has when it can name peers without
// allocating: *net.UDPConn does, and socketapi's.
type addrPortConn interface {
	ReadFromUDPAddrPort(p []byte) (n int, addr netip.AddrPort, err error)
	WriteToUDPAddrPort(p []byte, addr netip.AddrPort) (n int, err error)
}

// PacketConn reads and writes datagrams of a net.PacketConn, without
// allocations if the connection has the netip methods of *net.UDPConn. It is
// for one goroutine.
type PacketConn struct {
	pc    net.PacketConn
	fast  addrPortConn // nil when pc lacks the methods
	reads uint64
}

// Peer is where a datagram came from. It is good for a reply on the connection
// it was read from.
type Peer struct {
	addrPort netip.AddrPort
	addr     net.Addr
}

// NewPacketConn wraps pc, which stays its owner's to close.
func NewPacketConn(pc net.PacketConn) *PacketConn {
	fast, _ := pc.(addrPortConn)
	return &PacketConn{pc: pc, fast: fast}
}

// Read copies one datagram into b, as net.PacketConn.ReadFrom does.
func (p *PacketConn) Read(b []byte) (n int, from Peer, err error) {
	if p.fast != nil {
		n, from.addrPort, err = p.fast.ReadFromUDPAddrPort(b)
	} else {
		n, from.addr, err = p.pc.ReadFrom(b)
	}
	if err == nil {
		p.reads++
	}
	return n, from, err
}

// Write sends b as one datagram to the peer.
func (p *PacketConn) Write(b []byte, to Peer) error {
	var err error
	if p.fast != nil {
		_, err = p.fast.WriteToUDPAddrPort(b, to.addrPort)
	} else {
		_, err = p.pc.WriteTo(b, to.addr)
	}
	return err
}
