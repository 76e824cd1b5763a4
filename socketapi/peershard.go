package socketapi

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"
)

// peerShardCache remembers on which shard a peer was last heard. It has a fixed size
// and no locks. A slot holds the last peer whose hash selected it. After a wrong or
// lost entry a datagram leaves from another shard, and nothing worse happens: so
// neither many peers nor hostile ones do harm.
type peerShardCache struct {
	slots [1 << peerShardBits]atomic.Uint32 // 0, or 16 bits of hash and the shard + 1
}

const peerShardBits = 10

// set notes that a was heard on shard.
func (c *peerShardCache) set(a netip.AddrPort, shard int) {
	hash := hashAddr(a)
	v := uint32(hash)&^0xffff | uint32(shard+1)&0xffff
	if s := &c.slots[hash>>(64-peerShardBits)]; s.Load() != v {
		s.Store(v)
	}
}

// get returns where a was last heard, or a choice that is always the same for a.
func (c *peerShardCache) get(a netip.AddrPort, shards int) int {
	hash := hashAddr(a)
	v := c.slots[hash>>(64-peerShardBits)].Load()
	if i := int(v&0xffff) - 1; i >= 0 && i < shards && v>>16 == uint32(hash)>>16 {
		return i
	}
	return int(uint32(hash>>16) % uint32(shards))
}

// hashAddr mixes address and port by multiplication, as in xxHash; the zone is
// left out.
func hashAddr(a netip.AddrPort) uint64 {
	const p1, p2, p3 = 0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9
	ip := a.Addr().As16()
	h := binary.LittleEndian.Uint64(ip[:8])*p1 + binary.LittleEndian.Uint64(ip[8:])*p2 + uint64(a.Port())*p3
	h = (h ^ h>>33) * p2
	h = (h ^ h>>29) * p3
	return h ^ h>>32
}
