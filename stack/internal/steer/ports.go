package steer

import (
	"math/rand/v2"
	"net/netip"
)

// PortsForQueue yields local ports of the shard's part of the ephemeral range, in random
// order, for a connection from local to remote whose replies the NIC's RSS puts on the
// shard's own queue. RSS is known.
func (t *Table) PortsForQueue(shard int, local netip.Addr, remote netip.AddrPort) func(yield func(uint16) bool) {
	return func(yield func(uint16) bool) {
		lo, hi := t.PortRange(shard)
		n := int(hi) - int(lo) + 1
		start := rand.IntN(n)
		for i := range n {
			port := lo + uint16((start+i)%n)
			if t.rssQueue(remote, netip.AddrPortFrom(local, port)) == shard && !yield(port) {
				return
			}
		}
	}
}
