//go:build linux

package wire

// resetScripts are about segments that may be forged: RST, and old timestamps.
var resetScripts = []script{
	{name: "RST", rfc: "5961 3.2", text: accepted + `
		< R 1(0)
		error ECONNRESET
		< A 1(0) ack 1
		> R 1(0)`},
	{name: "RST with ACK", rfc: "5961 3.2", text: accepted + `
		< RA 1(0) ack 1
		error ECONNRESET`},
	{name: "RST, IPv6", rfc: "5961 3.2", v6: true, text: accepted + `
		< R 1(0)
		error ECONNRESET`},
	{name: "RST in the window", rfc: "5961 3.2", text: accepted + `
		< R 101(0)
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "RST outside of the window", rfc: "5961 3.2", text: accepted + `
		< R 1000001(0)
		quiet 50ms
		< R -1(0)
		quiet 50ms
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "RST after data out of order", rfc: "5961 3.2", text: accepted + `
		< PA 101(100) ack 1
		> A 1(0) ack 1
		< R 201(0)
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 201
		read 200`},
	{name: "RST with data", rfc: "9293 3.10.7.4", text: accepted + `
		< R 1(100)
		error ECONNRESET`},
	{name: "RST while the target sends", rfc: "9293 3.10.7.4", text: accepted + `
		write 100
		> A 1(100) ack 1
		< R 1(0)
		error ECONNRESET
		quiet 500ms`},
	{name: "RST is read after the data", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< R 101(0)
		quiet 50ms
		read 100
		error ECONNRESET`},
	{name: "PAWS", rfc: "7323 5.3", text: acceptedAll + `
		< PA 1(100) ack 1 ts 2000
		> A 1(0) ack 101 ecr 2000
		read 100
		< PA 101(100) ack 1 ts 1500
		netstack: > A 1(0) ack 201 ecr 2000
		else: > A 1(0) ack 101 ecr 2000
		else: unreadable
		else: < PA 101(100) ack 1 ts 2001
		else: > A 1(0) ack 201 ecr 2001
		read 100`,
		differs: []difference{{netstack, "takes the data: it has no PAWS", "acknowledge and drop"}}},
	{name: "PAWS lets RST through", rfc: "7323 5.2", text: acceptedAll + `
		< R 1(0) ts 10
		error ECONNRESET`},
	{name: "RST without a timestamp", rfc: "7323 3.2", text: acceptedAll + `
		< R 1(0) nots
		error ECONNRESET`},
	{name: "a timestamp is missing", rfc: "7323 3.2", text: acceptedAll + `
		< PA 1(100) ack 1 nots
		kernel,netstack: > A 1(0) ack 101
		else: quiet 100ms
		else: unreadable
		else: < PA 1(100) ack 1
		else: > A 1(0) ack 101
		read 100`,
		differs: []difference{
			{kernel, "takes the data", "drop silently (SHOULD)"},
			{netstack, "takes the data", "drop silently (SHOULD)"}}},
	{name: "a timestamp that was not negotiated", rfc: "7323 3.2", text: accepted + `
		< PA 1(100) ack 1 ts 5000
		> A 1(0) ack 101 nots
		read 100`},
	{name: "the timestamp echoed is that of the last in order", rfc: "7323 4.3", text: acceptedAll + `
		< PA 1(100) ack 1 ts 2000
		> A 1(0) ack 101 ecr 2000
		< PA 201(100) ack 1 ts 2002
		> A 1(0) ack 101 ecr 2000
		< PA 101(100) ack 1 ts 2001
		> A 1(0) ack 301 ecr 2001
		read 300`},
	{name: "a forged timestamp is not taken", rfc: "7323 5.3", text: acceptedAll + `
		< PA 1(100) ack 1 ts 2000
		> A 1(0) ack 101 ecr 2000
		< PA 1000001(100) ack 1 ts 900000
		> A 1(0) ack 101 ecr 2000
		< PA 101(100) ack 1 ts 2001
		> A 1(0) ack 201 ecr 2001`},
	{name: "PAWS on a retransmission across the wrap", rfc: "7323 5.2", text: `
		listen
		< S 0(0) mss 1460 ts 4294967290
		> SA 0(0) ack 1 ecr 4294967290
		< A 1(0) ack 1 ts 4294967295
		accept
		< PA 1(100) ack 1 ts 5
		> A 1(0) ack 101 ecr 5
		read 100`},
	{name: "keep-alive", rfc: "9293 3.8.4", text: accepted + `
		keepalive 1s 1s 2
		> A 0(0) or A 0(1) after 800ms within 1500ms
		< A 1(0) ack 1
		> A 0(0) or A 0(1) after 800ms within 1500ms
		> A 0(0) or A 0(1) after 800ms within 1500ms
		else: > R 1(0) or RA 1(0) after 800ms within 1500ms
		error ETIMEDOUT`,
		differs: []difference{{netstack, "says nothing to the peer", "nothing about a RST"}}},
	{name: "keep-alive is answered", rfc: "9293 3.8.4", text: accepted + `
		< A 0(0) ack 1
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "keep-alive with a byte is answered", rfc: "9293 3.8.4", text: accepted + `
		< A 0(1) ack 1 junk
		> A 1(0) ack 1
		unreadable`},
}
