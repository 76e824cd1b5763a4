//go:build linux

package wire

// Openings of scripts about TIME-WAIT: the target has closed first.
const (
	toTimeWait = `
		closewrite
		> FA 1(0) ack 1
		< A 1(0) ack 2
		< FA 1(0) ack 2
		> A 2(0) ack 2
		eof
		close
	`
)

var closeScripts = []script{
	{name: "active close", rfc: "9293 3.6", text: accepted + `
		close
		> FA 1(0) ack 1
		< A 1(0) ack 2
		quiet 50ms
		< FA 1(0) ack 2
		> A 2(0) ack 2
		quiet 300ms`},
	{name: "passive close", rfc: "9293 3.6", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		eof
		close
		> FA 1(0) ack 2
		< A 2(0) ack 2
		quiet 300ms
		< A 2(0) ack 2
		> R 2(0)`},
	{name: "passive close, IPv6", rfc: "9293 3.6", v6: true, text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		eof
		close
		> FA 1(0) ack 2
		< A 2(0) ack 2
		quiet 300ms`},
	{name: "simultaneous close", rfc: "9293 3.6", text: accepted + `
		close
		> FA 1(0) ack 1
		< FA 1(0) ack 1
		> A 2(0) ack 2
		< A 2(0) ack 2
		quiet 300ms`},
	{name: "FIN with the ACK of ours", rfc: "9293 3.10.7.4", text: accepted + `
		close
		> FA 1(0) ack 1
		< FA 1(0) ack 2
		> A 2(0) ack 2
		quiet 300ms`},
	{name: "FIN with data", rfc: "9293 3.10.7.4", text: accepted + `
		< FPA 1(100) ack 1
		> A 1(0) ack 102
		read 100
		eof`},
	{name: "FIN follows the data", rfc: "9293 3.10.4", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 2000
		accept
		write 2500
		closewrite
		> A 1(1000) x2 ack 1
		< A 1(0) ack 2001 win 2000
		netstack: > A 2001(500) ack 1
		netstack: > FA 2501(0) ack 1
		else: > FA 2001(500) ack 1
		< A 1(0) ack 2502
		quiet 300ms`,
		differs: []difference{{netstack, "in a segment of its own", "either"}}},
	{name: "half close: the target reads on", rfc: "9293 3.6", text: accepted + `
		closewrite
		> FA 1(0) ack 1
		< A 1(0) ack 2
		< PA 1(100) ack 2
		> A 2(0) ack 101
		read 100
		< FA 101(0) ack 2
		> A 2(0) ack 102
		eof
		writeerror EPIPE`},
	{name: "half close: data with the FIN unacknowledged", rfc: "9293 3.10.7.4", text: accepted + `
		closewrite
		> FA 1(0) ack 1
		< PA 1(100) ack 1
		> A 2(0) ack 101
		read 100
		< A 101(0) ack 2
		quiet 300ms`},
	{name: "half close: the target writes on", rfc: "9293 3.6", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		eof
		write 100
		> A 1(100) ack 2
		< A 2(0) ack 101
		write 100
		> A 101(100) ack 2
		< A 2(0) ack 201
		close
		> FA 201(0) ack 2
		< A 2(0) ack 202
		quiet 300ms`},
	{name: "FIN again to CLOSE-WAIT", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		< FA 1(0) ack 1
		> A 1(0) ack 2
		eof
		write 10
		> A 1(10) ack 2`},
	{name: "FIN again to LAST-ACK", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		close
		> FA 1(0) ack 2
		< FA 1(0) ack 1
		> A 2(0) ack 2 or FA 1(0) ack 2 or A 1(0) ack 2
		< A 2(0) ack 2
		quiet 300ms`},
	{name: "FIN again to CLOSING", rfc: "9293 3.10.7.4", text: accepted + `
		close
		> FA 1(0) ack 1
		< FA 1(0) ack 1
		> A 2(0) ack 2
		< FA 1(0) ack 1
		> A 2(0) ack 2
		< A 2(0) ack 2
		quiet 300ms`},
	{name: "FIN again to TIME-WAIT", rfc: "9293 3.10.7.4", text: accepted + toTimeWait + `
		< FA 1(0) ack 2
		> A 2(0) ack 2
		quiet 50ms`},
	{name: "data after the FIN", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		< PA 2(100) ack 1
		quiet 50ms
		eof
		write 10
		> A 1(10) ack 2`},
	{name: "close with data unread", rfc: "9293 3.6.1", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101
		close
		> R 1(0) or RA 1(0) ack 101`},
	{name: "data after close", rfc: "9293 3.6.1", text: accepted + `
		close
		> FA 1(0) ack 1
		< A 1(0) ack 2
		quiet 50ms
		< PA 1(100) ack 2
		> R 2(0) or RA 2(0) ack 1`},
	{name: "data after close, FIN unacknowledged", rfc: "9293 3.6.1", text: accepted + `
		close
		> FA 1(0) ack 1
		< PA 1(100) ack 1
		> R 1(0) or R 2(0) or RA 2(0)`},
	{name: "abort", rfc: "9293 3.10.5", text: accepted + `
		write 100
		> A 1(100) ack 1
		abort
		> R 101(0) or RA 101(0) ack 1
		< A 1(0) ack 101
		> R 101(0)`},
	{name: "SYN to TIME-WAIT, a later sequence", rfc: "9293 3.6.1", text: accepted + toTimeWait + `
		< S 100000(0) mss 1460
		> SA 0(0) ack 100001
		< PA 100001(10) ack 1
		accept
		> A 1(0) ack 100011`},
	{name: "SYN to TIME-WAIT, an earlier sequence", rfc: "9293 3.10.7.4", text: accepted + toTimeWait + `
		< S -1000(0) mss 1460
		netstack: quiet 100ms
		else: > A 2(0) ack 2
		noaccept`,
		differs: []difference{{netstack, "drops it", "acknowledge it"}}},
	{name: "SYN to TIME-WAIT, a later timestamp", rfc: "6191 2", text: acceptedAll + toTimeWait + `
		< S -1000(0) mss 1460 ts 100000
		netstack: quiet 100ms
		else: > SA 0(0) ack -999 ecr 100000`,
		differs: []difference{{netstack, "drops it, by the sequence number", "a new connection (SHOULD)"}}},
	{name: "SYN to TIME-WAIT, an earlier timestamp", rfc: "6191 2", text: acceptedAll + toTimeWait + `
		< S 100000(0) mss 1460 ts 10
		netstack: > SA 0(0) ack 100001
		else: > A 2(0) ack 2
		noaccept`,
		differs: []difference{{netstack, "a new connection, by the sequence number", "drop it, as the timestamp is older"}}},
	{name: "RST to TIME-WAIT", rfc: "1337 3", text: accepted + toTimeWait + `
		< R 2(0)
		quiet 50ms
		< FA 1(0) ack 2
		kernel: > R 2(0)
		else: > A 2(0) ack 2`,
		differs: []difference{{kernel, "forgets the connection, unless tcp_rfc1337 is set", "ignore the RST; RFC 9293 section 3.10.7.4 would close"}}},
	{name: "data to TIME-WAIT", rfc: "9293 3.10.7.4", text: accepted + toTimeWait + `
		< PA 2(100) ack 2
		> A 2(0) ack 2
		quiet 50ms`},
	{name: "RST in FIN-WAIT-1", rfc: "9293 3.10.7.4", text: accepted + `
		closewrite
		> FA 1(0) ack 1
		< R 1(0)
		error ECONNRESET
		quiet 500ms`},
	{name: "RST in FIN-WAIT-2", rfc: "9293 3.10.7.4", text: accepted + `
		closewrite
		> FA 1(0) ack 1
		< A 1(0) ack 2
		quiet 50ms
		< R 1(0)
		error ECONNRESET`},
	{name: "RST in LAST-ACK", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		close
		> FA 1(0) ack 2
		< R 2(0)
		quiet 500ms
		< A 2(0) ack 2
		> R 2(0)`},
	{name: "RST in CLOSE-WAIT", rfc: "9293 3.10.7.4", text: accepted + `
		< FA 1(0) ack 1
		> A 1(0) ack 2
		< R 2(0)
		quiet 50ms
		netstack: writeerror ECONNABORTED
		else: writeerror EPIPE|ECONNRESET`,
		differs: []difference{{netstack, "another error, ECONNABORTED", "connection reset"}}},
}
