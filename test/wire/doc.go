// Package wire holds conversations of TCP, written down segment by segment in the
// manner of packetdrill, and tests that hold them against three implementations:
// the Linux kernel, netstack's TCP on a shard, and the shard's own engine. A raw peer
// speaks them: a packet socket on the other end of a veth pair, on an interface
// without addresses, so that the kernel there says nothing. It needs root and network
// namespaces, and skips, by name, without.
//
// A script states what the RFCs ask for and is run as it stands against every
// target. Where a target does otherwise, the script says so in lines that are for that
// target alone, and the difference is listed with the RFC's word on it; DIFFERENCES.md is
// made of those. A target must do what its lines say, and must fail the script
// as it stands for the others: a difference that is not listed fails, and so does
// one that is gone.
//
//	go test ./test/wire -run TestWire/fast/window
//	go test ./test/wire -run TestDifferences -update
//	SHARDNET_SOAK=1 go test ./test/wire   # and the conversations that take minutes
//
// # The language
//
// One line is one thing done or expected; '#' begins a comment. Sequence numbers are
// relative to the initial ones of either side, and the peer's are such that they wrap
// soon.
//
//	< FLAGS SEQ(LEN) ack N win N ...   the peer sends; flags of FSRPAUEC
//	> FLAGS SEQ(LEN) ack N ...         the target sends, with at least these fields
//	> ... or FLAGS SEQ(LEN) ...        the one or the other; a SEQ of * is any number
//	quiet 100ms                        and nothing for that long
//	peer N                             the peer's Nth port speaks from now on; 0 at first
//	+20ms                              time passes
//	icmp KIND [mtu N] SEQ [stranger]   the peer quotes the target's segment SEQ in an ICMP error
//	flood N                            SYNs from N other ports, never completed
//	fill LEN                           the peer sends segments of LEN until the window is zero,
//	probe LEN                          and LEN bytes more; readall reads what fill has sent
//	remember                           the target's last timestamp is what "ecr remembered" echoes
//
// KIND is toobig, port, host, net, proto or admin; stranger quotes a connection that is not there.
//
// A line may end in xN: that many segments one after the other, of consecutive
// numbers. Options are mss N, ws N, sackok, sack A-B,C-D, ts VAL, ecr VAL; once the peer's
// SYN had ts its segments carry a timestamp that counts milliseconds from there,
// unless they name one, or say nots. An MSS of N+ makes full segments of N bytes, also of a target
// that keeps room for SACK in each. What the peer can do beyond: opt HEX (bytes of
// options as they are), doff N (a data offset in words), urg N, junk (a payload other
// than the stream's), badsum; and over IPv4, frags and sgarf (two fragments, in order or not), ipopt
// (a header with options), badip (a wrong checksum of the header) and broadcast. What can be asked of the target beyond: after D and
// within D (time since the last thing that was done or seen), win 0, win >0, nots, nosack, nows,
// nomss. PSH is not compared, and payload always is.
//
// The application on the target:
//
//	listen [backlog N] [rcvbuf N] | accept | noaccept | dial | connected | dialerror NAME|NAME
//	write N | read N | unreadable | eof | error NAME | writeerror NAME
//	closewrite | closeread | close | abort | nagle | keepalive IDLE INTERVAL COUNT
//
// A pure ACK that only opens the window is passed over, and so are those that
// acknowledge less than the segment that is expected: when to send them is for
// a receiver to choose (RFC 9293 section 3.8.6.3). All else must be expected.
//
// A line that begins with names of targets, as in "kernel,fast: quiet 50ms", is for those, and one
// that begins with "else:" for all that the script lists no difference of.
package wire
