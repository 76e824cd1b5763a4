package memnic

import (
	"fmt"
	"net"

	"shardnet/driver"
	"shardnet/driver/rss"
	"shardnet/driver/wire"
)

// Defaults of Config and End.
const (
	DefaultMTU    = 1500
	DefaultQueues = 1
	DefaultRxRing = 1024
	DefaultTxRing = 512
)

// maxMTU is the largest packet a length field of 16 bits can tell.
const maxMTU = 65535

// Config describes the cable and its two ends. The zero value, and nil, give two
// ends of one queue each.
type Config struct {
	MTU  int // of both ends, in bytes without the Ethernet header; 0 is 1500
	A, B End
}

// End describes one end of the cable.
type End struct {
	Name   string           // Info().Interface; "" is "mem-a" and "mem-b"
	MAC    net.HardwareAddr // nil is 02:00:00:00:00:0a and :0b
	Queues int              // 0 is 1

	// RxRing and TxRing are the entries of each queue's rings, powers of two; 0
	// is DefaultRxRing and DefaultTxRing.
	RxRing, TxRing int
	// Frames is how many frames a queue owns, more than RxRing: up to RxRing are
	// posted for receiving, the rest are for the caller and for sending. 0 is
	// 2 * (RxRing + TxRing).
	Frames int

	// Key is the Toeplitz key, 40 bytes; nil is Microsoft's.
	Key []byte
	// Table is the indirection table, its length a power of two; nil is 128
	// entries that take the queues in turn.
	Table []uint16
}

// resolved is an End with its defaults in place.
type resolved struct {
	End
	info     driver.Info
	stride   int // bytes from frame to frame
	steering *rss.Steering
}

func (c *Config) resolve() (a, b resolved, err error) {
	if c == nil {
		c = new(Config)
	}
	mtu := c.MTU
	if mtu == 0 {
		mtu = DefaultMTU
	}
	if mtu < 68 || mtu > maxMTU { // RFC 791: every internet module must forward 68 octets
		return a, b, fmt.Errorf("MTU %d is outside 68 to %d", mtu, maxMTU)
	}
	if a, err = c.A.resolve(mtu, "mem-a", 0x0a); err != nil {
		return a, b, fmt.Errorf("end A: %w", err)
	}
	if b, err = c.B.resolve(mtu, "mem-b", 0x0b); err != nil {
		return a, b, fmt.Errorf("end B: %w", err)
	}
	return a, b, nil
}

func (e End) resolve(mtu int, name string, mac byte) (resolved, error) {
	r := resolved{End: e}
	setDefault(&r.Name, name)
	setDefault(&r.Queues, DefaultQueues)
	setDefault(&r.RxRing, DefaultRxRing)
	setDefault(&r.TxRing, DefaultTxRing)
	setDefault(&r.Frames, 2*(r.RxRing+r.TxRing))
	if r.MAC == nil {
		r.MAC = net.HardwareAddr{2, 0, 0, 0, 0, mac}
	}
	if r.Key == nil {
		r.Key = rss.MicrosoftKey()
	}
	switch {
	case r.Queues < 1 || r.Queues > 1<<15:
		return r, fmt.Errorf("%d queues, want 1 to %d", r.Queues, 1<<15)
	case !isRingSize(r.RxRing):
		return r, fmt.Errorf("RX ring of %d entries, want a power of two up to %d", r.RxRing, maxRing)
	case !isRingSize(r.TxRing):
		return r, fmt.Errorf("TX ring of %d entries, want a power of two up to %d", r.TxRing, maxRing)
	case r.Frames <= r.RxRing || r.Frames > 4*maxRing:
		return r, fmt.Errorf("%d frames a queue, want more than the RX ring's %d, up to %d", r.Frames, r.RxRing, 4*maxRing)
	case len(r.MAC) != 6:
		return r, fmt.Errorf("MAC address %v has %d bytes, want 6", r.MAC, len(r.MAC))
	}
	if r.Table == nil {
		size := rss.DefaultTableSize
		for size < r.Queues {
			size *= 2
		}
		table, err := rss.NewTable(size, r.Queues)
		if err != nil {
			return r, err
		}
		r.Table = table
	}
	if err := rss.Table(r.Table).Validate(r.Queues); err != nil {
		return r, fmt.Errorf("indirection %w", err)
	}
	steering, err := rss.New(r.Key, r.Table)
	if err != nil {
		return r, err
	}
	r.steering = steering
	// A frame starts on a cache line of its own.
	r.stride = (wire.EthernetLen + wire.VLANLen + mtu + cacheLine - 1) &^ (cacheLine - 1)
	r.info = driver.Info{
		Driver:    "mem",
		Interface: r.Name,
		Mode:      "memory",
		MAC:       append(net.HardwareAddr(nil), r.MAC...),
		MTU:       mtu,
		Queues:    r.Queues,
		FrameSize: r.stride,
		RxRing:    r.RxRing,
		TxRing:    r.TxRing,
		RSS: &driver.RSS{
			Key:   append([]byte(nil), r.Key...),
			Table: append([]uint16(nil), r.Table...),
		},
	}
	return r, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// maxRing bounds the rings, to keep a slip of the pen from taking all memory.
const maxRing = 1 << 16

func isRingSize(n int) bool { return n > 0 && n <= maxRing && n&(n-1) == 0 }
