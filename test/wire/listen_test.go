//go:build linux

package wire

const ofSynFin = "take the SYN, and the FIN after it; scanners send it, nobody else does"

// listenScripts are about what comes to a port without a connection: LISTEN, CLOSED,
// and more handshakes than there is room for.
var listenScripts = []script{
	{name: "ACK to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< A 1(0) ack 1000
		> R 1000(0)`},
	{name: "SYN-ACK to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< SA 0(0) ack 1000
		> R 1000(0)`},
	{name: "RST to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< R 1(0)
		< RA 1(0) ack 1
		quiet 50ms
		< S 0(0) mss 1460
		> SA 0(0) ack 1`},
	{name: "FIN to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< F 1(0)
		quiet 50ms
		< S 0(0) mss 1460
		> SA 0(0) ack 1`},
	{name: "SYN and FIN to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< SF 0(0) mss 1460
		kernel,fast: quiet 100ms
		else: > SA 0(0) ack 1`,
		differs: []difference{
			{kernel, "drops it", ofSynFin}, {fast, "drops it", ofSynFin}}},
	{name: "no flags to LISTEN", rfc: "9293 3.10.7.2", text: `
		listen
		< U 1(0)
		quiet 50ms`},
	{name: "SYN to a closed port", rfc: "9293 3.10.7.1", text: `
		< S 0(0) mss 1460
		> RA 0(0) ack 1`},
	{name: "SYN to a closed port, IPv6", rfc: "9293 3.10.7.1", v6: true, text: `
		< S 0(0) mss 1460
		> RA 0(0) ack 1`},
	{name: "SYN with data to a closed port", rfc: "9293 3.10.7.1", text: `
		< S 0(100) mss 1460
		> RA 0(0) ack 101`},
	{name: "ACK to a closed port", rfc: "9293 3.10.7.1", text: `
		< A 1(100) ack 1000
		> R 1000(0)`},
	{name: "FIN without ACK to a closed port", rfc: "9293 3.10.7.1", text: `
		< F 1(10)
		> RA 0(0) ack 12`},
	{name: "RST to a closed port", rfc: "9293 3.10.7.1", text: `
		< R 1(0)
		< RA 1(0) ack 1
		quiet 50ms`},
	{name: "listener closed during a handshake", rfc: "9293 3.10.5", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		unlisten
		< A 1(0) ack 1
		> R 1(0) or RA 1(0) ack 1`},
	{name: "listener closed before accept", rfc: "9293 3.10.5", text: `
		listen
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		quiet 50ms
		unlisten
		> R 1(0) or RA 1(0) ack 1`},
	{name: "backlog", rfc: "9293 3.9.1.1", text: `
		listen backlog 1
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		kernel: peer 1
		kernel: < S 0(0) mss 1460
		kernel: > SA 0(0) ack 1
		kernel: < A 1(0) ack 1
		peer 2
		< S 0(0) mss 1460
		quiet 300ms
		accept
		kernel: accept
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< PA 1(10) ack 1
		accept
		> A 1(0) ack 11
		read 10`,
		differs: []difference{{kernel, "takes one connection more than was asked for", "nothing"}}},
	{name: "SYN cookie", rfc: "4987 3.6", text: `
		listen backlog 4
		flood 64
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		quiet 1500ms
		< PA 1(10) ack 1
		accept
		> A 1(0) ack 11
		read 10
		write 10
		> A 1(10) ack 11`},
	{name: "SYN cookie keeps what was negotiated", rfc: "4987 3.6", text: `
		listen backlog 4
		flood 64
		< S 0(0) mss 1460 sackok ws 7 ts 1000
		netstack: > SA 0(0) ack 1 nosack nows ecr 1000
		else: > SA 0(0) ack 1 sackok ecr 1000
		quiet 1500ms
		< A 1(0) ack 1
		accept
		< PA 101(100) ack 1
		netstack: > A 1(0) ack 1 nosack
		else: > A 1(0) ack 1 sack 101-201
		else: < PA 1(100) ack 1
		else: > A 1(0) ack 201
		else: write 3000
		else: > A 1(1448) ack 201`,
		differs: []difference{{netstack, "offers neither window scale nor SACK", "they can be encoded in the timestamp; not that they must"}}},
	{name: "guessed SYN cookie", rfc: "4987 3.6", text: `
		listen backlog 4
		flood 64
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< PA 1(10) ack 100001
		> R 100001(0)
		noaccept`},
}
