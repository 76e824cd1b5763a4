package flow

// Transport says which implementation of TCP serves a socket. Both run on the same
// shard, the same addresses and the same ports: one listener, or one connection,
// has the one or the other.
type Transport uint8

const (
	// TransportDefault is the stack's for a socket, and TransportFast for the stack.
	TransportDefault Transport = iota
	// TransportNetstack is gVisor's TCP.
	TransportNetstack
	// TransportFast is the shard's own engine, of package shardnet/stack/tcp.
	TransportFast
)

func (t Transport) String() string {
	switch t {
	case TransportFast:
		return "fast"
	case TransportNetstack:
		return "netstack"
	}
	return "default"
}

// Or is t, or d if t is the default.
func (t Transport) Or(d Transport) Transport {
	if t == TransportDefault {
		return d
	}
	return t
}
