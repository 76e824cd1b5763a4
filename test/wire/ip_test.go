//go:build linux

package wire

// ipScripts are about packets that segments come in, where they are not plain.
var ipScripts = []script{
	{name: "a segment in fragments", rfc: "791 3.2", text: accepted + `
		< PA 1(100) ack 1 frags
		> A 1(0) ack 101
		read 100
		< PA 101(100) ack 1 sgarf
		> A 1(0) ack 201
		read 100`},
	{name: "a SYN in fragments", rfc: "791 3.2", text: `
		listen
		< S 0(0) mss 1460 sackok ws 7 ts 1000 frags
		> SA 0(0) ack 1 sackok ecr 1000
		< A 1(0) ack 1
		accept`},
	{name: "the last ACK of a handshake in fragments", rfc: "791 3.2", text: `
		listen
		< S 0(0) mss 1460 ts 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 frags
		accept
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "fragments between segments", rfc: "791 3.2", text: acceptedSack + `
		< PA 101(100) ack 1 frags
		> A 1(0) ack 1 sack 101-201
		< PA 1(100) ack 1
		> A 1(0) ack 201 nosack
		< PA 201(100) ack 1 sgarf
		> A 1(0) ack 301
		read 300`},
	{name: "a FIN in fragments", rfc: "791 3.2", text: accepted + `
		< FPA 1(100) ack 1 frags
		> A 1(0) ack 102
		read 100
		eof`},
	{name: "a RST in fragments", rfc: "791 3.2", text: acceptedAll + `
		< R 1(0) frags
		error ECONNRESET`},
	{name: "fragments with a wrong checksum", rfc: "9293 3.1", text: accepted + `
		< PA 1(100) ack 1 frags badsum
		quiet 100ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "IP options", rfc: "9293 3.9.2.1", text: `
		listen
		< S 0(0) mss 1460 ipopt
		> SA 0(0) ack 1
		< A 1(0) ack 1 ipopt
		accept
		< PA 1(100) ack 1 ipopt
		> A 1(0) ack 101
		read 100`},
	{name: "a wrong checksum of the IP header", rfc: "791 3.1", text: accepted + `
		< PA 1(100) ack 1 badip
		quiet 100ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "a SYN to everybody", rfc: "9293 3.9.2.3", text: `
		listen
		< S 0(0) mss 1460 broadcast
		quiet 100ms
		< S 0(0) mss 1460
		> SA 0(0) ack 1`},
	{name: "a SYN to everybody, closed port", rfc: "9293 3.9.2.3", text: `
		< S 0(0) mss 1460 broadcast
		quiet 100ms`},
	{name: "a segment of a connection, to everybody", rfc: "9293 3.9.2.3", text: accepted + `
		< PA 1(100) ack 1 broadcast
		quiet 100ms
		unreadable`},
}
