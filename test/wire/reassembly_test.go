//go:build linux

package wire

var reassemblyScripts = []script{
	{name: "out of order", rfc: "5681 4.2", text: accepted + `
		< PA 101(100) ack 1
		> A 1(0) ack 1 within 30ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 201 within 30ms
		read 200`},
	{name: "a duplicate", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA 1(100) ack 1
		> A 1(0) ack 101 within 30ms
		read 100
		unreadable`},
	{name: "an overlap on the left", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA 51(100) ack 1
		> A 1(0) ack 151
		read 150`},
	{name: "an overlap on the right", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 101(100) ack 1
		> A 1(0) ack 1
		< PA 1(150) ack 1
		> A 1(0) ack 201
		read 200`},
	{name: "a segment within a segment", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 101(100) ack 1
		> A 1(0) ack 1
		< PA 121(20) ack 1
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 201
		read 200`},
	{name: "a segment around a segment", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 121(20) ack 1
		> A 1(0) ack 1
		< PA 101(100) ack 1
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 201
		read 200`},
	{name: "the last byte first", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 5(1) ack 1
		> A 1(0) ack 1
		< PA 4(1) ack 1
		> A 1(0) ack 1
		< PA 3(1) ack 1
		> A 1(0) ack 1
		< PA 2(1) ack 1
		> A 1(0) ack 1
		< PA 1(1) ack 1
		> A 1(0) ack 6
		read 5`},
	{name: "beyond the window", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1000001(100) ack 1
		> A 1(0) ack 1
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100
		unreadable`},
	{name: "before the window", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100
		< PA -999(100) ack 1 junk
		> A 1(0) ack 101
		unreadable`},
	{name: "across the left edge of the stream", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		< PA -49(100) ack 1 junk
		> A 1(0) ack 101
		read 100
		unreadable`},
	{name: "FIN out of order", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 101(100) ack 1
		> A 1(0) ack 1
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 202
		read 200
		eof`},
	{name: "data without ACK", rfc: "9293 3.10.7.4", text: accepted + `
		< P 1(100)
		quiet 300ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "ACK of what was not sent", rfc: "9293 3.10.7.4", text: accepted + `
		< PA 1(100) ack 1000
		netstack: > A 1(0) ack 101
		else: > A 1(0) ack 1
		else: < PA 1(100) ack 1
		else: > A 1(0) ack 101
		read 100`,
		differs: []difference{{netstack, "takes the data", "acknowledge and drop (MUST)"}}},
	{name: "an ACK far too old", rfc: "5961 5.2", text: accepted + `
		< PA 1(100) ack -1000000
		netstack: > A 1(0) ack 101
		else: > A 1(0) ack 1
		else: unreadable
		else: < PA 1(100) ack 1
		else: > A 1(0) ack 101
		read 100`,
		differs: []difference{{netstack, "takes the data", "acknowledge and drop (MUST)"}}},
	{name: "a wrong checksum", rfc: "9293 3.1", text: accepted + `
		< PA 1(100) ack 1 badsum
		quiet 100ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "a wrong checksum, IPv6", rfc: "9293 3.1", v6: true, text: accepted + `
		< PA 1(100) ack 1 badsum
		quiet 100ms
		unreadable
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "a SYN with a wrong checksum", rfc: "9293 3.1", text: `
		listen
		< S 0(0) mss 1460 badsum
		quiet 100ms
		< S 0(0) mss 1460
		> SA 0(0) ack 1`},
	{name: "a RST with a wrong checksum", rfc: "9293 3.1", text: accepted + `
		< R 1(0) badsum
		quiet 50ms
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`},
	{name: "urgent data", rfc: "6093 6", text: accepted + `
		< PAU 1(10) ack 1 urg 5
		> A 1(0) ack 11
		kernel: read 4
		else: read 10`,
		differs: []difference{{kernel, "takes the urgent byte out of the stream, and stops a read before it", "deliver it in line (SHOULD), as with SO_OOBINLINE"}}},
	{name: "an urgent pointer without the flag", rfc: "9293 3.8.5", text: accepted + `
		< PA 1(10) ack 1 urg 5
		> A 1(0) ack 11
		read 10`},
	{name: "an urgent pointer beyond the segment", rfc: "9293 3.8.5", text: accepted + `
		< PAU 1(10) ack 1 urg 1000
		> A 1(0) ack 11
		read 10
		< PA 11(10) ack 1
		> A 1(0) ack 21
		read 10`},
}
