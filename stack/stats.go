package stack

import (
	"shardnet/driver"
	"shardnet/stack/drop"
	"shardnet/stack/internal/counter"
)

// Stats are the counters of a shard, or the sum over a stack's shards. All are
// cumulative but the gauges named so.
type Stats struct {
	Queue driver.Stats // the driver's side

	RxPackets uint64      // frames received from the queue
	Drops     drop.Counts // packets dropped, by reason

	// Every packet is accounted for, at rest (counters are published once a turn):
	// RxPackets + HandedIn + Copies = ToEngine + ToUDP + ToNetstack + HandedOut + Drops.Received().
	ToEngine   uint64 // packets delivered to the TCP engine, in their frames
	ToUDP      uint64 // datagrams delivered to sockets past netstack
	ToNetstack uint64 // packets delivered to netstack
	Copies     uint64 // packets for every shard, or reassembled here, that were given to others

	// WrongShard counts TCP segments of a connection to a listening port that
	// came in on a queue other than their connection's. They are handed over. It
	// stays zero on a NIC whose RSS keeps flows on a queue.
	WrongShard uint64
	HandedOut  uint64 // frames given to other shards, for any reason
	HandedIn   uint64 // frames got from other shards
	Merged     uint64 // TCP segments received that were merged with the one before
	ACKsSaved  uint64 // pure ACKs not sent, as a later segment of the turn said the same

	Turns     uint64 // of the loop
	Sleeps    uint64 // times the loop slept
	Yields    uint64 // times the loop let other goroutines run
	Timers    uint64 // timers run
	LinkDowns uint64 // times the link was found down

	Connections    uint64 // TCP connections accepted
	Dialed         uint64 // TCP connections opened from here
	Established    uint64 // gauge: TCP connections established now
	Retransmits    uint64 // TCP segments sent again
	TCPMemory      uint64 // gauge: bytes of Config.TCPMemory in use
	UDPReceived    uint64 // datagrams delivered to sockets
	UDPSent        uint64
	UDPDropped     uint64 // datagrams lost because a socket's buffer was full
	RepliesInPlace uint64 // datagrams sent, of UDPSent, in the frame the request came in

	// HandlerStalls counts the turns in which tasks and handlers kept a shard from
	// its queue for longer than Config.HandlerLimit.
	HandlerStalls uint64
}

// Add adds o to s, field by field.
func (s *Stats) Add(o Stats) {
	s.Queue.Add(o.Queue)
	s.RxPackets += o.RxPackets
	s.Drops.Add(&o.Drops)
	s.ToEngine += o.ToEngine
	s.ToUDP += o.ToUDP
	s.ToNetstack += o.ToNetstack
	s.Copies += o.Copies
	s.WrongShard += o.WrongShard
	s.HandedOut += o.HandedOut
	s.HandedIn += o.HandedIn
	s.Merged += o.Merged
	s.ACKsSaved += o.ACKsSaved
	s.Turns += o.Turns
	s.Sleeps += o.Sleeps
	s.Yields += o.Yields
	s.Timers += o.Timers
	s.LinkDowns += o.LinkDowns
	s.Connections += o.Connections
	s.Dialed += o.Dialed
	s.Established += o.Established
	s.Retransmits += o.Retransmits
	s.TCPMemory += o.TCPMemory
	s.UDPReceived += o.UDPReceived
	s.UDPSent += o.UDPSent
	s.UDPDropped += o.UDPDropped
	s.RepliesInPlace += o.RepliesInPlace
	s.HandlerStalls += o.HandlerStalls
}

// Stats returns the shard's counters. It may be called from any goroutine.
func (sh *Shard) Stats() Stats {
	s := Stats{
		Queue:          sh.q.Stats(),
		RxPackets:      sh.counters.Get(counter.RxPackets),
		ToEngine:       sh.counters.Get(counter.ToEngine),
		ToUDP:          sh.counters.Get(counter.ToUDP),
		ToNetstack:     sh.counters.Get(counter.ToNetstack),
		Copies:         sh.counters.Get(counter.Copies),
		WrongShard:     sh.counters.Get(counter.WrongShard),
		HandedOut:      sh.counters.Get(counter.HandedOut),
		HandedIn:       sh.counters.Get(counter.HandedIn),
		Merged:         sh.counters.Get(counter.Merged),
		ACKsSaved:      sh.counters.Get(counter.ACKsSaved),
		Turns:          sh.counters.Get(counter.Turns),
		Sleeps:         sh.counters.Get(counter.Sleeps),
		Yields:         sh.counters.Get(counter.Yields),
		Timers:         sh.counters.Get(counter.Timers),
		LinkDowns:      sh.counters.Get(counter.LinkDowns),
		RepliesInPlace: sh.counters.Get(counter.RepliesInPlace),
		HandlerStalls:  sh.counters.Get(counter.HandlerStalls),
	}
	sh.counters.Drops(&s.Drops)
	s.UDPDropped = s.Drops[drop.SocketBufferFull]
	sentUDP := sh.tx.Counts(&s.Drops)
	engine, ns := sh.engine.Counts(&s.Drops), sh.netstack.Counts()
	s.Connections = ns.Accepted + engine.Accepted
	s.Dialed = ns.Dialed + engine.Dialed
	s.Established = ns.Established + uint64(engine.Conns-engine.HalfOpen)
	s.Retransmits = ns.Retransmits + engine.Retransmitted
	s.TCPMemory = uint64(engine.Memory)
	s.UDPReceived = ns.UDPReceived + s.ToUDP
	s.UDPSent = ns.UDPSent + sentUDP + s.RepliesInPlace
	s.UDPDropped += ns.UDPDropped
	return s
}
