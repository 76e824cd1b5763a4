package preflight

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"shardnet/driver"
)

// Of linux/ethtool.h.
const (
	rxfhHeader   = 24 // struct ethtool_rxfh up to rss_config
	maxIndir     = 1 << 16
	maxKey       = 1 << 12
	hashToeplitz = 1 << 0 // ETH_RSS_HASH_TOP
	toeplitzKey  = 40     // what the longest input, an IPv6 4-tuple, uses of a key

	tcpV4Flow, udpV4Flow = 0x01, 0x02
	tcpV6Flow, udpV6Flow = 0x05, 0x06
	// Addresses and ports: RXH_IP_SRC | RXH_IP_DST | RXH_L4_B_0_1 | RXH_L4_B_2_3.
	hash4Tuple = 1<<4 | 1<<5 | 1<<6 | 1<<7

	// rxnfcSize is at least sizeof(struct ethtool_rxnfc), which differs between
	// architectures.
	rxnfcSize = 256
)

// rss returns how the interface spreads received flows over the queues of l, or
// nil when it does not tell, does so by something other than Toeplitz over the
// 4-tuple, or uses queues beyond those.
func (l *Link) rss() *driver.RSS {
	// The first call tells the sizes, the second fills them.
	buf := make([]byte, rxfhHeader)
	binary.NativeEndian.PutUint32(buf, unix.ETHTOOL_GRSSH)
	if ethtool(l.Name, buf) != nil {
		return nil
	}
	indir, key := binary.NativeEndian.Uint32(buf[8:]), binary.NativeEndian.Uint32(buf[12:])
	if indir > maxIndir || key > maxKey {
		return nil
	}
	buf = make([]byte, rxfhHeader+4*int(indir)+int(key))
	binary.NativeEndian.PutUint32(buf, unix.ETHTOOL_GRSSH)
	binary.NativeEndian.PutUint32(buf[8:], indir)
	binary.NativeEndian.PutUint32(buf[12:], key)
	if ethtool(l.Name, buf) != nil {
		return nil
	}
	for _, flow := range []uint32{tcpV4Flow, tcpV6Flow, udpV4Flow, udpV6Flow} {
		if !hashes4Tuple(l.Name, flow) {
			return nil
		}
	}
	return parseRSS(buf, l.Queues)
}

// hashes4Tuple says whether the hash of a kind of flow is over addresses and
// ports. Many NICs leave the ports of UDP out by default.
func hashes4Tuple(name string, flow uint32) bool {
	buf := make([]byte, rxnfcSize)
	binary.NativeEndian.PutUint32(buf, unix.ETHTOOL_GRXFH)
	binary.NativeEndian.PutUint32(buf[4:], flow)
	return ethtool(name, buf) == nil && binary.NativeEndian.Uint64(buf[8:]) == hash4Tuple
}

// parseRSS reads a filled struct ethtool_rxfh of an interface of which the first
// queues queues are in use.
func parseRSS(buf []byte, queues int) *driver.RSS {
	indir, key := int(binary.NativeEndian.Uint32(buf[8:])), int(binary.NativeEndian.Uint32(buf[12:]))
	hfunc, transform := buf[16], buf[17]
	if hfunc != hashToeplitz || transform != 0 || key < toeplitzKey || indir == 0 || indir&(indir-1) != 0 ||
		len(buf) < rxfhHeader+4*indir+key {
		return nil
	}
	rss := &driver.RSS{Table: make([]uint16, indir)}
	for j := range rss.Table {
		q := binary.NativeEndian.Uint32(buf[rxfhHeader+4*j:])
		if q >= uint32(queues) {
			return nil
		}
		rss.Table[j] = uint16(q)
	}
	rss.Key = append(rss.Key, buf[rxfhHeader+4*indir:][:toeplitzKey]...)
	return rss
}

// checksumPartial says whether packets received from the interface may come with
// checksums that their sender left to an offload: those of this very host, or of
// another guest of the same machine, that never were on a wire.
func (l *Link) checksumPartial() bool {
	if l.Kind != "device" && l.Kind != "" {
		return true
	}
	switch driverName(l.Name) {
	case "virtio_net", "xen_netfront", "vif", "tun":
		return true
	}
	return false
}
