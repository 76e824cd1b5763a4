// Package tcp is a TCP engine of one shard: a state machine that is given segments
// and the time, and gives back segments and readiness. It has no goroutine, lock,
// clock or I/O of its own, and imports the standard library and driver/wire alone. A caller
// that has frames and a loop makes a TCP of it:
//
//	Engine.Advance(now)        timers that are due
//	Engine.Input(now, seg)     for each segment of a batch; Config.OnData sees payload in place
//	Engine.NextReady()         connections with events: Accept, Read, Write, Close
//	Engine.Flush(now)          what is owed is sent, once for the whole batch
//	Engine.NextTimer()         how long the loop may sleep
//
// # The life of a segment
//
// ParseSegment reads it in place. [Engine.Input] looks its tuple up in flowTable: a
// connection (Conn.input), one in TIME-WAIT (timeWaitInput), or none (listenInput). Conn.input
// takes the steps of RFC 9293 section 3.10.7.4 in their order: checkTimestamp (PAWS), trim
// (the window), RST, SYN, inputAck, receive. inputAck moves SND.UNA (cumulative), marks
// what was SACKed (takeBlocks), and draws the consequences (react): what RACK finds
// lost, and how congestion control takes it. receive offers the payload to
// Config.OnData; what stays is copied to the receive buffer, what is early to the
// list of ranges (oooList).
//
// Nothing is sent meanwhile. A connection that has data, a retransmission or an ACK
// to send is put on Engine.pending, and [Engine.Flush] has each send in turn
// (Conn.output), straight into the frames that [Output] gives. So a batch costs a
// connection one ACK at most, and none if data goes the other way. When there is no
// frame, the connection stays on the list. What belongs to no connection (the
// RST of Reject, the ACK of TIME-WAIT, a SYN cookie) and the RST of Abort are
// sent at once or, without a frame, not at all: their peers ask again.
//
// # States
//
// A [Listener] is LISTEN. A [Conn] is made for a SYN, or by Dial, and goes through
// RFC 9293's states. At TIME-WAIT it is replaced in the table by a timeWait of 80
// bytes, and when it is CLOSED taken out; the Conn itself stays with the application, for
// what can still be read of it, until Close.
//
// # Timers
//
// A connection has four deadlines and one place in the wheel, for the earliest:
//
//	lossAt   retransmission (RFC 6298), SYN, or persist, never two of them
//	soonAt   tail loss probe or reordering timer (RFC 8985), before lossAt
//	ackAt    delayed ACK (RFC 1122)
//	keepAt   keep-alive, or the end of FIN-WAIT-2 once closed
//
// A deadline that is pushed back is only written down: the wheel fires at the old
// time, and the connection is armed again. TIME-WAIT has a list of its own, as all
// wait equally long.
//
// # Sequence space
//
// SND.NXT is never taken back. What is in flight is a list of sentSegments, from
// SND.UNA to SND.NXT without a gap, each in flight, SACKed, or lost and not yet sent
// again; each knows its place in the send queue. The receiver keeps the right edge
// it has ever promised (rcvAdv) and takes what lies before it.
//
// # Memory
//
// Connections, segments in flight, ranges, TIME-WAIT entries and chunks of buffers come from
// slabs of the engine (pool), by 32-bit references: the garbage collector sees few
// objects, and few pointers in them. Send and receive queues are lists of chunks
// of 256 bytes to 16 KiB, and an idle connection has none: it is a Conn of 512 bytes and 11
// to 21 bytes of table. Config.Memory bounds what all connections take, with
// receive buffers counted in full from when they are promised, 16 KiB until more is
// of use: see budget.go. The
// backlog bounds handshakes, beyond which cookies answer; reassembly has at most 256
// ranges a connection; challenge ACKs and RSTs have a rate.
//
// # Ownership
//
// An Engine and all that is of it belongs to one goroutine. A Conn is the
// application's between Accept or Dial and Close or Abort. Payload is lent to Input
// and to OnData for the call; what Peek returns is valid until the next call that
// reads. Frames are the caller's, before and after.
//
// # What is followed
//
// RFC 9293; 7323 (window scale, timestamps, PAWS); 2018, 2883 and 6675's pipe (SACK, D-SACK);
// 8985 (RACK-TLP); 6298 (RTO; least 200 ms as is usual, not 1 s); 5681, 9438, 9406 (Reno, CUBIC, HyStart++),
// 6582 (NewReno, without SACK); 6937 (rate reduction); 3522 (Eifel detection); 6928; 5961; 6528;
// 4987 (cookies); 1122; 1337 and 6191 (TIME-WAIT); 1191, 8201 and 5927 (path MTU, ICMP). Each
// rule names its section where it stands.
//
// # What is not implemented
//
//   - ECN (RFC 3168, 9768), Fast Open (RFC 7413): data on a SYN is left to be sent again.
//   - Urgent data is delivered in line; there is no urgent pointer (RFC 6093).
//   - Pacing, segmentation offload, and sending without a copy.
//   - A path MTU that has become larger is not noticed (RFC 4821, RFC 8899).
//   - A half-written record (SetLinger with a time): Close does not wait; what is
//     unacknowledged is sent in the background.
package tcp
