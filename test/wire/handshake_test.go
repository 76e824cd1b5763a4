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
		< S 0(0) mss 1000 sackok
		> SA 0(0) ack 1 sackok
		< A 1(0) ack 1
		accept
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
		< A 1(0) ack 1
		accept`},
	{name: "SYN to ESTABLISHED", rfc: "5961 4.2", text: accepted + `
		< S 100(0) mss 1460
		> A 1(0) ack 1
		< PA 1(10) ack 1
		> A 1(0) ack 11
		read 10`},
	{name: "RST to SYN-SENT", rfc: "9293 3.10.7.3", text: `
		dial
		> S 0(0)
		< RA 0(0) ack 1
		dialerror ECONNREFUSED`},
	{name: "SYN to a closed port", rfc: "9293 3.10.7.1", text: `
		< S 0(0) mss 1460
		> RA 0(0) ack 1`},
}
