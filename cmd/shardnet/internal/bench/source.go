package bench

import (
	"net"

	"shardnet/cmd/shardnet/internal/rawload"
)

// source streams what RFC 864 has a character generator stream, until the peer has
// had enough.
func source(c net.Conn) {
	buf := chunks.Get().(*[chunk]byte)
	defer chunks.Put(buf)
	for at := uint64(0); ; {
		rawload.Chargen(buf[:], at)
		n, err := c.Write(buf[:])
		if err != nil {
			return
		}
		at += uint64(n)
	}
}
