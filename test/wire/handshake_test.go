//go:build linux

package wire

// Openings of a script: the target accepts a connection without options, with an MSS
// of 1000, with SACK, and with all options; or connects.
const (
	accepted = `
		listen
		< S 0(0) win 65535 mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
	`
	acceptedSmall = `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
	`
	acceptedSack = `
		listen
		< S 0(0) mss 1000+ sackok
		> SA 0(0) ack 1 sackok
		< A 1(0) ack 1
		accept
	`
	// The same, with a round trip of 60 ms, measured twice: no tail loss probe comes
	// between what the target sends and what the peer says to it.
	acceptedSlow = `
		listen
		< S 0(0) mss 1000+ sackok
		> SA 0(0) ack 1 sackok
		+60ms
		< A 1(0) ack 1
		accept
		write 1000
		> A 1(1000) ack 1
		+60ms
		< A 1(0) ack 1001
	`
	acceptedAll = `
		listen
		< S 0(0) mss 1460 sackok ts 1000 ws 7
		> SA 0(0) ack 1 sackok ecr 1000
		< A 1(0) ack 1
		accept
	`
	connected = `
		dial
		> S 0(0)
		< SA 0(0) ack 1 mss 1460
		> A 1(0) ack 1
		connected
	`
)

const ofOtherSYN = "to LISTEN, without a word; a peer that has begun anew comes back either way, and what forged SYNs do to a handshake is not considered"

const ofSYNAgain = "send the RST; when to send a SYN again is another matter"

var handshakeScripts = []script{
	{name: "passive open", rfc: "9293 3.5", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100
		write 50
		> A 1(50) ack 101
		< A 101(0) ack 51
		quiet 250ms`},
	{name: "passive open, IPv6", rfc: "9293 3.5", v6: true, text: `
		listen
		< S 0(0) mss 1440
		> SA 0(0) ack 1 mss 1440
		< A 1(0) ack 1
		accept
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100
		write 50
		> A 1(50) ack 101
		< A 101(0) ack 51
		quiet 250ms`},
	{name: "active open", rfc: "9293 3.5", text: `
		dial
		> S 0(0) mss 1460 sackok
		< SA 0(0) ack 1 mss 1460
		> A 1(0) ack 1
		connected
		write 50
		> A 1(50) ack 1
		< PA 1(10) ack 51
		> A 51(0) ack 11
		read 10`},
	{name: "active open, IPv6", rfc: "9293 3.5", v6: true, text: `
		dial
		> S 0(0) mss 1440 sackok
		< SA 0(0) ack 1 mss 1440
		> A 1(0) ack 1
		connected
		write 50
		> A 1(50) ack 1
		< A 1(0) ack 51`},
	{name: "simultaneous open", rfc: "9293 3.5", text: `
		dial
		> S 0(0)
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		connected
		write 10
		> A 1(10) ack 1
		< A 1(0) ack 11`},
	{name: "SYN with data", rfc: "9293 3.10.7.2", text: `
		listen
		< S 0(100) mss 1460
		> SA 0(0) ack 1
		< PA 1(100) ack 1
		accept
		> A 1(0) ack 101
		read 100
		unreadable`},
	{name: "SYN-ACK sent again", rfc: "6298 5.5", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		> SA 0(0) ack 1 after 800ms within 1500ms
		> SA 0(0) ack 1 after 1700ms within 2500ms
		< A 1(0) ack 1
		accept`},
	{name: "SYN sent again", rfc: "6298 5.5", text: `
		dial
		> S 0(0)
		> S 0(0) after 800ms within 1500ms
		> S 0(0) after 1700ms within 2500ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`},
	{name: "SYN again to SYN-RECEIVED", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< S 0(0) mss 1460
		> SA 0(0) ack 1 or A 1(0) ack 1
		< A 1(0) ack 1
		accept`},
	{name: "other SYN to SYN-RECEIVED", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< S 100(0) mss 1460
		kernel,netstack: > RA *(0) ack 101
		fast: > SA 0(0) ack 1
		else: quiet 50ms
		< A 1(0) ack 1
		fast: accept
		kernel,netstack: > R 1(0)
		else: > R 1(0)`,
		differs: []difference{
			{kernel, "RST and ACK, to LISTEN", ofOtherSYN},
			{netstack, "RST and ACK, to LISTEN", ofOtherSYN},
			{fast, "SYN-ACK again; the first handshake goes on", ofOtherSYN},
		}},
	{name: "RST to SYN-RECEIVED", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< R 1(0)
		noaccept
		< A 1(0) ack 1
		> R 1(0)
		noaccept`},
	{name: "RST outside of the window to SYN-RECEIVED", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< R 1000000(0)
		quiet 50ms
		< A 1(0) ack 1
		accept`},
	{name: "bad ACK to SYN-RECEIVED", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1000
		> R 1000(0)
		< A 1(0) ack 1
		accept`},
	{name: "data with the third segment", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< PA 1(100) ack 1
		accept
		> A 1(0) ack 101
		read 100`},
	{name: "data before the third segment", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< PA 101(100) ack 1
		accept
		> A 1(0) ack 1
		< A 1(100) ack 1
		> A 1(0) ack 201
		read 200`},
	{name: "FIN with the third segment", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< FA 1(0) ack 1
		> A 1(0) ack 2
		accept
		eof`},
	{name: "bad ACK to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< SA 0(0) ack 1000
		> R 1000(0)
		kernel,netstack: > S 0(0) within 50ms
		else: quiet 50ms
		else,kernel: < SA 0(0) ack 1
		else,kernel: > A 1(0) ack 1
		else,kernel: connected`,
		differs: []difference{
			{kernel, "and sends its SYN again, at once", ofSYNAgain},
			{netstack, "and sends its SYN again, at once and more than once", ofSYNAgain}}},
	{name: "ACK without SYN to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< A 0(0) ack 1
		quiet 50ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`},
	{name: "bad ACK without SYN to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< A 0(0) ack 1000
		> R 1000(0)
		kernel,netstack: > S 0(0) within 50ms
		else: quiet 50ms
		else,kernel: < SA 0(0) ack 1
		else,kernel: > A 1(0) ack 1
		else,kernel: connected`,
		differs: []difference{
			{kernel, "and sends its SYN again, at once", ofSYNAgain},
			{netstack, "and sends its SYN again, at once and more than once", ofSYNAgain}}},
	{name: "RST to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< RA 0(0) ack 1
		dialerror ECONNREFUSED`},
	{name: "RST without ACK to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< R 0(0)
		quiet 50ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`},
	{name: "RST with a bad ACK to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< RA 0(0) ack 1000
		kernel: > S 0(0) within 50ms
		else: quiet 50ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`,
		differs: []difference{{kernel, "SYN again, at once", "drop the segment; when to send a SYN again is another matter"}}},
	{name: "FIN to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< F 0(0)
		quiet 50ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`},
	{name: "data with the SYN-ACK", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< SA 0(10) ack 1
		> A 1(0) ack 1 or A 1(0) ack 11
		connected
		< PA 1(10) ack 1
		> A 1(0) ack 11
		read 10`},
	{name: "SYN to ESTABLISHED", rfc: "5961 4.2", text: accepted + `
		< S 100(0) mss 1460
		> A 1(0) ack 1
		< PA 1(10) ack 1
		> A 1(0) ack 11
		read 10`},
	{name: "SYN outside of the window to ESTABLISHED", rfc: "5961 4.2", text: accepted + `
		< S 1000000(0) mss 1460
		> A 1(0) ack 1
		< PA 1(10) ack 1
		> A 1(0) ack 11
		read 10`},
	{name: "SYN-ACK again to ESTABLISHED", rfc: "9293 3.10.7.4", text: connected + `
		< SA 0(0) ack 1 mss 1460
		> A 1(0) ack 1
		write 10
		> A 1(10) ack 1`},
	{name: "simultaneous open with SYN-ACK", rfc: "9293 3.5", text: `
		dial
		> S 0(0)
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< SA 0(0) ack 1 mss 1460
		kernel: > A 1(0) ack 1
		netstack: > A 1(0) ack 1
		else: connected
		kernel: connected
		else: < PA 1(10) ack 1
		kernel: < PA 1(10) ack 1
		else: > A 1(0) ack 11
		kernel: > A 1(0) ack 11`,
		differs: []difference{
			{kernel, "connects, and acknowledges the SYN again", "ESTABLISHED; the SYN's number is old, and an old segment is acknowledged"},
			{netstack, "does not connect", "ESTABLISHED: figure 8 opens with such a segment"},
		}},
}
