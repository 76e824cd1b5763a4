package drop

// Reason is why a packet was dropped.
type Reason uint8

const (
	// Received frames that no stage beyond the parser sees.
	Malformed       Reason = iota // shorter than the headers say, or impossible
	OtherHost                     // for another MAC address
	UnknownProtocol               // neither IP nor ARP
	BadChecksum                   // IPv4 header, TCP or UDP checksum wrong

	// Received packets that were steered and had no place.
	HandoverFull     // another shard's ring, or its list of reassembled packets, was full
	SocketBufferFull // UDP socket's receive buffer
	SlowPathFull     // after delivery to netstack: segments that wait for the TCP engine

	// Packets to send.
	ReplyBacklog  // replies in place: the TX ring was full for long
	TxBacklog     // netstack's packets that wait for a frame
	TooLong       // longer than a frame
	NoNeighbor    // enough datagrams wait for a neighbor to be resolved already
	NeighborQueue // a segment that netstack did not take while a neighbor is resolved

	NumReasons
)

var names = [NumReasons]string{
	Malformed:        "malformed",
	OtherHost:        "other-host",
	UnknownProtocol:  "unknown-protocol",
	BadChecksum:      "bad-checksum",
	HandoverFull:     "handover-full",
	SocketBufferFull: "socket-buffer-full",
	SlowPathFull:     "slow-path-full",
	ReplyBacklog:     "reply-backlog-full",
	TxBacklog:        "tx-backlog-full",
	TooLong:          "too-long",
	NoNeighbor:       "neighbor-unresolved",
	NeighborQueue:    "neighbor-queue-full",
}

// String is the reason's name: lower-case words with hyphens, the same everywhere.
func (r Reason) String() string {
	if r < NumReasons {
		return names[r]
	}
	return "unknown"
}

// Counts is how many packets were dropped, by reason.
type Counts [NumReasons]uint64

// Add adds o to c, reason by reason.
func (c *Counts) Add(o *Counts) {
	for r, n := range o {
		c[r] += n
	}
}

// Received is how many received frames were dropped before a socket, the TCP engine or
// netstack had them.
func (c *Counts) Received() (n uint64) {
	for _, r := range c[:SocketBufferFull+1] {
		n += r
	}
	return n
}

// Sent is how many packets to send were dropped.
func (c *Counts) Sent() (n uint64) {
	for _, r := range c[ReplyBacklog:] {
		n += r
	}
	return n
}
