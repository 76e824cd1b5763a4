package stack

import (
	"math/rand/v2"
	"net/netip"
)

// homePorts yields local ports of the shard's part of the ephemeral range, in
// random order, on which a connection from local to remote gets its answers on
// this shard's own queue, as the NIC's RSS will hash them.
func (sh *Shard) homePorts(local netip.Addr, remote netip.AddrPort) func(yield func(uint16) bool) {
	return func(yield func(uint16) bool) {
		lo, hi := sh.st.steering.portRange(sh.index)
		n := int(hi) - int(lo) + 1
		start := rand.IntN(n)
		for i := range n {
			port := lo + uint16((start+i)%n)
			if sh.st.home(remote, netip.AddrPortFrom(local, port)) == sh.index && !yield(port) {
				return
			}
		}
	}
}
