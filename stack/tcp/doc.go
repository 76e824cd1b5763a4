// Package tcp is the TCP engine of one shard: a state machine. Its input is segments and the
// time; its output is segments and events. It has no goroutine, lock, clock or I/O of its own,
// and imports only the standard library, driver/wire and stack/flow. A caller with frames and a
// loop drives it:
//
//	Engine.Advance(now)        runs the timers that are due
//	Engine.Input(now, seg)     for each segment of a batch; Config.OnData gets the payload
//	Engine.NextReady()         returns connections with events: call Accept, Read, Write, Close
//	Engine.Flush(now)          sends what is due, once for the whole batch
//	Engine.NextTimer()         returns how long the loop may sleep
//
// # The life of a segment
//
// ParseSegment parses it in place. [Engine.Input] looks its tuple up in flowTable, and finds a
// connection (Conn.input), a connection in TIME-WAIT (timeWaitInput), or none (listenInput).
// Conn.input takes the steps of RFC 9293 section 3.10.7.4 in their order: checkTimestamp
// (PAWS), trim (the window), RST, SYN, processAck, receive. processAck moves SND.UNA
// (advanceUna), marks what was SACKed (processSACK), finds losses and updates the congestion
// window (onAck). receive passes the payload to Config.OnData. The rest is copied to the
// receive queue, or, ahead of RCV.NXT, to the list of ranges (oooList).
//
// Input never sends on a live connection; Flush does. A connection with data, a
// retransmission or an ACK to send is put on Engine.pending, and [Engine.Flush] sends for
// each (Conn.output), straight into the frames of [Output]. So a batch causes one ACK for a
// connection at most, and none if data is sent the other way. Without a frame the connection
// stays on the list. Segments without a live connection are sent at once, or not at all
// without a frame, as their peers ask again: the RST of Reject, the ACK of TIME-WAIT, a SYN
// cookie. So is the RST of Abort.
//
// # States
//
// A [Listener] is LISTEN. A [Conn] is made for a SYN or by Dial, and goes through the states
// of RFC 9293. In TIME-WAIT a timeWait of 80 bytes replaces it in the table. A closed Conn
// leaves the table but stays readable until Close.
//
// # Timers
//
// A connection has four deadlines and one node in the wheel, for the earliest:
//
//	lossAt   retransmission (RFC 6298), SYN, or persist: only one of them at a time
//	probeAt  tail loss probe or reordering timer (RFC 8985), before lossAt
//	ackAt    delayed ACK (RFC 1122)
//	keepAt   keep-alive, or the end of FIN-WAIT-2 once closed
//
// A deadline that moves to a later time is only written down: the wheel fires at the old
// time, and the connection is armed again. TIME-WAIT entries are in a list of their own, as
// all wait equally long.
//
// # Sequence space
//
// SND.NXT never moves back. What is in flight is a list of sentSegments, from SND.UNA to
// SND.NXT without a gap. Each is in flight, SACKed, or lost and not yet retransmitted, and
// has its position in the send queue. The receiver remembers the right edge that it has
// advertised (receiver.adv), and accepts data up to it.
//
// # Congestion control
//
// An algorithm is a congestionControl: reno and cubic, which share lossBased. It has no state.
// The state of a connection is a union of 48 bytes in Conn (ccState). Config.Congestion
// selects the algorithm by its name in congestionControls.
//
// # Memory
//
// Connections, segments in flight, ranges, TIME-WAIT entries and chunks of buffers are
// allocated from slabs (pool), with 32-bit references. So the garbage collector sees few
// objects and few pointers. Send and receive queues are lists of chunks of 256 bytes to 16
// KiB. An idle connection has none: it takes a Conn of 512 bytes and 11 to 21 bytes of table.
// Config.Memory bounds the memory of all connections. It counts receive buffers in full from
// when they are offered, 16 KiB until a connection makes use of more: see budget.go. The
// backlog bounds handshakes, and cookies answer beyond it. A connection has at most 256
// ranges. Challenge ACKs and RSTs are limited per second.
//
// # Ownership
//
// An Engine with all its objects belongs to one goroutine. The application holds a Conn from
// Accept or Dial until Close or Abort. Payload is lent to Input and to OnData for the call.
// The result of Peek is valid until the next call that reads. Frames belong to the caller,
// except between Output.Frame and Output.Send.
//
// # What is implemented
//
// RFC 9293; 7323 (window scale, timestamps, PAWS); 2018, 2883 and 6675's pipe (SACK, D-SACK);
// 8985 (RACK-TLP); 6298 (RTO; 200 ms at least, as is usual, not 1 s); 5681, 9438, 9406 (Reno,
// CUBIC, HyStart++), 6582 (NewReno, without SACK); 6937 (rate reduction); 3522 (Eifel
// detection); 6928; 5961; 6528; 4987 (cookies); 1122; 1337 and 6191 (TIME-WAIT); 1191, 8201
// and 5927 (path MTU, ICMP). The code refers to the section of each rule.
//
// # What is not implemented
//
//   - ECN (RFC 3168, 9768). Fast Open (RFC 7413): data on a SYN is dropped, and sent again.
//   - The urgent pointer (RFC 6093): urgent data is delivered in line.
//   - Pacing, segmentation offload, and sending without a copy.
//   - Discovery of a larger path MTU (RFC 4821, RFC 8899).
//   - SetLinger with a time: Close does not wait. Unacknowledged data is sent in the
//     background.
package tcp
