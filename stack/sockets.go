package stack

import (
	"net"
	"net/netip"
	"syscall"

	"shardnet/stack/flow"
	"shardnet/stack/internal/udp"
)

// ListenTCP listens on this shard for connections to local. The zero or an unspecified
// address takes every address of the stack; IPv6's takes IPv4 too unless opt.V6Only. Port 0
// picks a free one of the shard's ephemeral range.
//
// Connections come in on whichever shard the NIC chooses: listen on all shards, as
// socketapi.Listen does, or those that come in elsewhere are refused.
func (sh *Shard) ListenTCP(local netip.AddrPort, opt flow.SocketOptions) (flow.Listener, error) {
	if sh.transport(opt) == flow.TransportFast {
		return sh.engine.Listen(local, opt)
	}
	return sh.netstack.ListenTCP(local, opt)
}

// DialTCP begins to connect to remote and returns at once: the flow becomes Writable when
// the attempt has ended, and ConnectError tells how. The zero local address lets the stack
// choose; a local port of 0 chooses one whose replies come back to this shard.
func (sh *Shard) DialTCP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.Flow, error) {
	done, err := sh.beginDial(remote)
	if err != nil {
		return nil, err
	}
	defer done()
	if sh.transport(opt) == flow.TransportFast {
		return sh.engine.Dial(local, remote, opt)
	}
	return sh.netstack.DialTCP(local, remote, opt)
}

// ListenUDP opens a socket on this shard for datagrams to local; see ListenTCP for the
// address. Datagrams come in on whichever shard the NIC chooses: open one on all shards, as
// socketapi.ListenPacket does, or some are refused.
func (sh *Shard) ListenUDP(local netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error) {
	return packetFlow(sh.udp.Listen(local, opt))
}

// DialUDP opens a socket on this shard that exchanges datagrams with remote alone. The zero
// local address lets the stack choose, as in DialTCP.
func (sh *Shard) DialUDP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error) {
	done, err := sh.beginDial(remote)
	if err != nil {
		return nil, err
	}
	defer done()
	return packetFlow(sh.udp.Dial(local, remote, opt))
}

// packetFlow keeps a nil socket from becoming an interface that is not nil.
func packetFlow(s *udp.Socket, err error) (flow.PacketFlow, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (sh *Shard) transport(opt flow.SocketOptions) flow.Transport {
	return opt.Transport.Or(sh.stack.cfg.Transport)
}

// beginDial refuses what netstack would take for something else. done must be called when the
// attempt has begun: until then Stack.Close waits.
func (sh *Shard) beginDial(remote netip.AddrPort) (done func(), err error) {
	if !remote.Addr().IsValid() || remote.Port() == 0 {
		return nil, syscall.EADDRNOTAVAIL
	}
	st := sh.stack
	st.dialing.RLock()
	select {
	case <-st.closing:
		st.dialing.RUnlock()
		return nil, net.ErrClosed
	default:
		return st.dialing.RUnlock, nil
	}
}
