package stack

import (
	"sync/atomic"

	"shardnet/driver"
)

// counter names one of a shard's counters.
type counter int

const (
	rxPackets counter = iota
	rxMalformed
	rxOtherHost
	rxUnknown
	rxBadChecksum
	rxWrongShard
	handedOut
	handedIn
	handoverDrops
	turns
	sleeps
	yields
	timersRun
	linkDowns
	acksSaved
	groMerged
	udpFast
	udpFastReplies
	udpQueueFull
	replyDrops
	handlerStalls
	tcpFast
	numCounters
)

// counters are a shard's. The loop counts in local, without atomics, and
// publishes once a turn; anyone may read what was published.
type counters struct {
	local     [numCounters]uint64
	last      [numCounters]uint64
	_         [64]byte
	published [numCounters]atomic.Uint64
	_         [64]byte
}

func (c *counters) publish() {
	for i, v := range c.local {
		if v != c.last[i] {
			c.last[i] = v
			c.published[i].Store(v)
		}
	}
}

func (c *counters) get(i counter) uint64 { return c.published[i].Load() }

// Stats are the counters of a shard, or the sum over a stack's shards. All are
// cumulative but the gauges named so.
type Stats struct {
	Queue driver.Stats // the driver's side

	RxPackets     uint64 // frames received from the queue
	RxMalformed   uint64 // dropped: shorter than their headers say, or impossible
	RxOtherHost   uint64 // dropped: for another MAC address
	RxUnknown     uint64 // dropped: neither IP nor ARP
	RxBadChecksum uint64 // dropped: IPv4 header, TCP or UDP checksum wrong

	// WrongShard counts TCP segments of a connection to a listening port that
	// came in on a queue other than their connection's. They are handed over. It
	// stays zero on a NIC whose RSS keeps flows on a queue.
	WrongShard uint64
	HandedOut  uint64 // frames given to other shards, for any reason
	HandedIn   uint64 // frames got from other shards
	HandDrops  uint64 // frames lost because another shard's ring was full
	Merged     uint64 // TCP segments received that were merged with the one before
	ACKsSaved  uint64 // pure ACKs not sent, as a later segment of the turn said the same
	TxDropped  uint64 // packets lost for want of a frame: the TX ring was full for long

	Turns     uint64 // of the loop
	Sleeps    uint64 // times the loop slept
	Yields    uint64 // times the loop let other goroutines run
	Timers    uint64 // timers run
	LinkDowns uint64 // times the link was found down

	TCPBypassed uint64 // TCP segments received by the shards' own TCP, in their frames
	Connections uint64 // TCP connections accepted
	Dialed      uint64 // TCP connections opened from here
	Established uint64 // gauge: TCP connections established now
	Retransmits uint64 // TCP segments sent again
	TCPMemory   uint64 // gauge: bytes of Config.TCPMemory in use
	UDPReceived uint64 // datagrams delivered to sockets
	UDPSent     uint64
	UDPDropped  uint64 // datagrams lost because a socket's buffer was full
	UDPBypassed uint64 // datagrams received, of UDPReceived, that never met netstack
	UDPAnswered uint64 // datagrams sent, of UDPSent, in the frame the request came in

	// HandlerStalls counts the turns in which tasks and handlers kept a shard from
	// its queue for longer than Config.HandlerLimit.
	HandlerStalls uint64
}

// Add adds o to s, field by field.
func (s *Stats) Add(o Stats) {
	s.Queue.Add(o.Queue)
	s.RxPackets += o.RxPackets
	s.RxMalformed += o.RxMalformed
	s.RxOtherHost += o.RxOtherHost
	s.RxUnknown += o.RxUnknown
	s.RxBadChecksum += o.RxBadChecksum
	s.WrongShard += o.WrongShard
	s.HandedOut += o.HandedOut
	s.HandedIn += o.HandedIn
	s.HandDrops += o.HandDrops
	s.Merged += o.Merged
	s.ACKsSaved += o.ACKsSaved
	s.TxDropped += o.TxDropped
	s.Turns += o.Turns
	s.Sleeps += o.Sleeps
	s.Yields += o.Yields
	s.Timers += o.Timers
	s.LinkDowns += o.LinkDowns
	s.TCPBypassed += o.TCPBypassed
	s.Connections += o.Connections
	s.Dialed += o.Dialed
	s.Established += o.Established
	s.Retransmits += o.Retransmits
	s.TCPMemory += o.TCPMemory
	s.UDPReceived += o.UDPReceived
	s.UDPSent += o.UDPSent
	s.UDPDropped += o.UDPDropped
	s.UDPBypassed += o.UDPBypassed
	s.UDPAnswered += o.UDPAnswered
	s.HandlerStalls += o.HandlerStalls
}

// Stats returns the shard's counters. It may be called from any goroutine.
func (sh *Shard) Stats() Stats {
	c := &sh.counters
	ns := sh.ns.Stats()
	txDropped, udpSent := sh.tx.counts()
	fast, opened := sh.fast.stats()
	return Stats{
		Queue:         sh.q.Stats(),
		RxPackets:     c.get(rxPackets),
		RxMalformed:   c.get(rxMalformed),
		RxOtherHost:   c.get(rxOtherHost),
		RxUnknown:     c.get(rxUnknown),
		RxBadChecksum: c.get(rxBadChecksum),
		WrongShard:    c.get(rxWrongShard),
		HandedOut:     c.get(handedOut),
		HandedIn:      c.get(handedIn),
		HandDrops:     c.get(handoverDrops),
		Merged:        c.get(groMerged),
		ACKsSaved:     c.get(acksSaved),
		TxDropped:     txDropped + c.get(replyDrops) + opened.dropped,
		Turns:         c.get(turns),
		Sleeps:        c.get(sleeps),
		Yields:        c.get(yields),
		Timers:        c.get(timersRun),
		LinkDowns:     c.get(linkDowns),
		TCPBypassed:   c.get(tcpFast),
		Connections:   ns.TCP.PassiveConnectionOpenings.Value() + opened.accepted,
		Dialed:        ns.TCP.ActiveConnectionOpenings.Value() + opened.dialed,
		Established:   ns.TCP.CurrentEstablished.Value() + uint64(fast.Conns-fast.HalfOpen),
		Retransmits:   ns.TCP.Retransmits.Value() + fast.Retransmitted,
		TCPMemory:     uint64(fast.Memory),
		UDPReceived:   ns.UDP.PacketsReceived.Value() + c.get(udpFast),
		UDPSent:       ns.UDP.PacketsSent.Value() + udpSent + c.get(udpFastReplies),
		UDPDropped:    ns.UDP.ReceiveBufferErrors.Value() + c.get(udpQueueFull),
		UDPBypassed:   c.get(udpFast),
		UDPAnswered:   c.get(udpFastReplies),
		HandlerStalls: c.get(handlerStalls),
	}
}
