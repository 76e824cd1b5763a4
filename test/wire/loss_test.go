//go:build linux

package wire

// lossScripts are about what the target sends again, and when.
var lossScripts = []script{
	{name: "retransmission backs off", rfc: "6298 5.5", text: accepted + `
		write 100
		> A 1(100) ack 1
		> A 1(100) ack 1 after 150ms within 1300ms
		> A 1(100) ack 1 after 150ms within 2500ms
		> A 1(100) ack 1 after 350ms within 5s
		< A 1(0) ack 101
		quiet 500ms`},
	{name: "retransmission, IPv6", rfc: "6298 5.4", v6: true, text: `
		listen
		< S 0(0) mss 1440
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 100
		> A 1(100) ack 1
		> A 1(100) ack 1 after 150ms within 1300ms
		< A 1(0) ack 101
		quiet 500ms`},
	{name: "a timeout sends the first segment alone", rfc: "5681 3.1", text: acceptedSmall + `
		write 5000
		> A 1(1000) x5 ack 1
		> A 1(1000) ack 1 after 150ms within 1300ms
		quiet 150ms
		< A 1(0) ack 1001
		> A 1001(1000) x2 ack 1`},
	{name: "three duplicate ACKs", rfc: "5681 3.2", text: acceptedSmall + `
		write 1000
		> A 1(1000) ack 1
		< A 1(0) ack 1001
		write 5000
		> A 1001(1000) x5 ack 1
		< A 1(0) ack 1001 x3
		> A 1001(1000) ack 1 within 50ms
		< A 1(0) ack 6001
		quiet 300ms`},
	{name: "three duplicate ACKs of nothing", rfc: "6582 3.2", text: acceptedSmall + `
		write 5000
		> A 1(1000) x5 ack 1
		< A 1(0) ack 1 x3
		netstack: > A 1(1000) ack 1 after 150ms within 1300ms
		else: > A 1(1000) ack 1 within 50ms
		< A 1(0) ack 5001
		quiet 300ms`,
		differs: []difference{{netstack, "waits for the timeout, as nothing was acknowledged yet", "recover is at first the initial number, which an ACK of the SYN alone does not cover: so it may be read"}}},
	{name: "two duplicate ACKs", rfc: "5681 3.2", text: acceptedSmall + `
		write 5000
		> A 1(1000) x5 ack 1
		< A 1(0) ack 1 x2
		quiet 100ms
		< A 1(0) ack 5001
		quiet 300ms`},
	{name: "duplicate ACKs that carry data", rfc: "5681 2", text: acceptedSmall + `
		write 5000
		> A 1(1000) x5 ack 1
		< PA 1(100) ack 1
		< PA 101(100) ack 1
		< PA 201(100) ack 1
		< PA 301(100) ack 1
		> A 5001(0) ack 401
		quiet 100ms
		< A 401(0) ack 5001
		quiet 300ms`},
	{name: "limited transmit", rfc: "3042 2", text: acceptedSmall + `
		write 1000
		> A 1(1000) ack 1
		< A 1(0) ack 1001
		write 13000
		netstack: > A 1001(1000) x11 ack 1
		else: > A 1001(1000) x10 ack 1
		< A 1(0) ack 1001
		netstack: quiet 100ms
		else: > A 11001(1000) ack 1
		else: < A 1(0) ack 1001
		else: > A 12001(1000) ack 1`,
		differs: []difference{{netstack, "sends nothing", "one new segment for each of the first two duplicate ACKs (SHOULD, RFC 5681 section 3.2)"}}},
	{name: "a partial ACK", rfc: "6582 3.2", text: acceptedSmall + `
		write 1000
		> A 1(1000) ack 1
		< A 1(0) ack 1001
		write 6000
		> A 1001(1000) x6 ack 1
		< A 1(0) ack 1001 x3
		> A 1001(1000) ack 1 within 50ms
		< A 1(0) ack 3001
		> A 3001(1000) ack 1 within 50ms
		< A 1(0) ack 7001
		quiet 300ms`},
	{name: "SACK tells what is lost", rfc: "6675 5", text: acceptedSlow + `
		write 6000
		> A 1001(1000) x6 ack 1
		< A 1(0) ack 1001 sack 2001-3001
		< A 1(0) ack 1001 sack 2001-4001
		< A 1(0) ack 1001 sack 2001-5001
		> A 1001(1000) ack 1 within 100ms
		< A 1(0) ack 7001
		quiet 300ms`},
	{name: "two holes", rfc: "6675 5", text: acceptedSlow + `
		write 8000
		> A 1001(1000) x8 ack 1
		< A 1(0) ack 1001 sack 2001-3001
		< A 1(0) ack 1001 sack 4001-5001,2001-3001
		< A 1(0) ack 1001 sack 4001-7001,2001-3001
		< A 1(0) ack 1001 sack 4001-9001,2001-3001
		> A 1001(1000) ack 1 within 100ms
		netstack: quiet 50ms
		else: > A 3001(1000) ack 1 within 100ms
		< A 1(0) ack 9001
		quiet 300ms`,
		differs: []difference{{netstack, "sends the second hole only when the first is filled", "send while the pipe is below the window (SHOULD)"}}},
	{name: "what was SACKed is not sent again", rfc: "2018 5.1", text: acceptedSlow + `
		write 4000
		> A 1001(1000) x4 ack 1
		< A 1(0) ack 1001 sack 2001-5001
		> A 1001(1000) ack 1 within 300ms
		< A 1(0) ack 5001
		quiet 300ms`},
	{name: "one SACKed segment may be reordering", rfc: "8985 6.2", text: acceptedSlow + `
		write 5000
		> A 1001(1000) x5 ack 1
		+60ms
		< A 1(0) ack 1001 sack 2001-3001
		quiet 5ms
		< A 1(0) ack 3001
		quiet 30ms
		< A 1(0) ack 6001
		quiet 300ms`},
	{name: "one SACKed segment, and no reordering", rfc: "8985 6.2", text: acceptedSlow + `
		write 2000
		> A 1001(1000) x2 ack 1
		+60ms
		< A 1(0) ack 1001 sack 2001-3001
		netstack: > A 1001(1000) ack 1 after 110ms within 1300ms
		else: > A 1001(1000) ack 1 within 100ms
		< A 1(0) ack 3001
		quiet 300ms`,
		differs: []difference{{netstack, "waits for the timeout", "lost after a quarter of a round trip (SHOULD)"}}},
	{name: "SACK of what was not sent", rfc: "2018 5", text: acceptedSlow + `
		write 2000
		> A 1001(1000) x2 ack 1
		< A 1(0) ack 1001 sack 5001-6001
		< A 1(0) ack 3001
		write 1000
		> A 3001(1000) ack 1`},
	{name: "reneging", rfc: "2018 8", text: acceptedSlow + `
		write 3000
		> A 1001(1000) x3 ack 1
		< A 1(0) ack 1001 sack 2001-4001
		> A 1001(1000) ack 1 within 300ms
		< A 1(0) ack 2001
		> A 2001(1000) ack 1 within 1300ms`},
	{name: "a timestamp tells of a spurious timeout", rfc: "3522 3.2", text: `
		listen
		< S 0(0) mss 1012 ts 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 1000
		> A 1(1000) ack 1
		< A 1(0) ack 1001
		write 5000
		> A 1001(1000) x5 ack 1
		remember
		> A 1001(1000) ack 1 after 150ms within 1300ms
		< A 1(0) ack 2001 ecr remembered
		netstack: > A 2001(1000) x2 ack 1
		else: quiet 30ms
		else: < A 1(0) ack 6001
		else: quiet 300ms`,
		differs: []difference{{netstack, "does not tell, and sends on from there", "a sender may detect it"}}},
	{name: "D-SACK tells of a spurious retransmission", rfc: "2883 4", text: acceptedSlow + `
		write 6000
		> A 1001(1000) x6 ack 1
		< A 1(0) ack 1001 sack 2001-5001
		> A 1001(1000) ack 1 within 300ms
		< A 1(0) ack 7001
		< A 1(0) ack 7001 sack 1001-2001
		write 9000
		netstack: > A 7001(1000) x7 ack 1
		netstack: > A 7001(1000) ack 1 or A 13001(1000) ack 1
		else: > A 7001(1000) x9 ack 1`,
		differs: []difference{{netstack, "leaves the congestion window reduced", "a sender may tell from it that it was wrong; what it does then is its own"}}},
	{name: "FIN sent again", rfc: "6298 5.4", text: accepted + `
		closewrite
		> FA 1(0) ack 1
		> FA 1(0) ack 1 after 150ms within 1300ms
		< A 1(0) ack 2
		quiet 500ms`},
	{name: "FIN is lost with the data before it", rfc: "6298 5.4", text: accepted + `
		write 100
		> A 1(100) ack 1
		closewrite
		> FA 101(0) ack 1
		> A 1(100) ack 1 or FA 1(100) ack 1 or FA 101(0) ack 1 after 5ms within 1300ms
		fast: > FA 101(0) ack 1
		< A 1(0) ack 102
		quiet 500ms`,
		differs: []difference{{fast, "sends both again", "as much as the window allows, which is one full segment: they are less"}}},
	{name: "idle restart", rfc: "5681 4.1", text: acceptedSmall + `
		write 16000
		> A 1(1000) x10 ack 1
		< A 1(0) ack 10001
		> A 10001(1000) x6 ack 1
		< A 1(0) ack 16001
		+1500ms
		write 15000
		> A 16001(1000) x10 ack 1
		quiet 20ms`},
}
