// Package wire reads and writes the headers of Ethernet, ARP, IPv4, IPv6, TCP, UDP and
// ICMP, and computes their checksums. Drivers, the stack and the load generator use it;
// test oracles do not, so that a fault here can't hide itself.
//
// [Packet] is the reader: Parse takes a received frame apart and Verify checks its sums.
// The Put functions write headers into a frame that is long enough; the Set functions
// write a checksum once everything else is in place. Nothing here allocates, keeps a
// slice it was given, or knows of sockets. All functions may be called from any
// goroutine. Multi-byte fields are big-endian on the wire and host integers here.
package wire
