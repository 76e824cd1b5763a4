//go:build linux

package wire

var windowScripts = []script{
	{name: "no more than the window", rfc: "9293 3.8.6", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 2000
		accept
		write 5000
		> A 1(1000) x2 ack 1
		quiet 50ms
		< A 1(0) ack 2001 win 2000
		> A 2001(1000) x2 ack 1
		< A 1(0) ack 4001 win 65535
		> A 4001(1000) ack 1`},
	{name: "window update", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 2000
		accept
		write 4000
		> A 1(1000) x2 ack 1
		< A 1(0) ack 2001 win 0
		quiet 50ms
		< A 1(0) ack 2001 win 3000
		> A 2001(1000) x2 ack 1`},
	{name: "the window of a SYN is not scaled", rfc: "7323 2.2", text: `
		listen
		< S 0(0) win 2000 mss 1000 ws 4
		> SA 0(0) ack 1
		< PA 1(10) ack 1 win 125
		accept
		> A 1(0) ack 11
		write 5000
		> A 1(1000) x2 ack 11
		quiet 50ms`},
	{name: "window is scaled", rfc: "7323 2.3", text: `
		listen
		< S 0(0) mss 1000 ws 4
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 250
		accept
		write 6000
		> A 1(1000) x4 ack 1
		quiet 50ms
		< A 1(0) ack 4001 win 250
		> A 4001(1000) x2 ack 1`},
	{name: "zero window is probed, backing off", rfc: "9293 3.8.6.1", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 0
		accept
		write 500
		> A 0(0) after 150ms within 1300ms or A 0(1) after 150ms within 1300ms or A 1(1) after 150ms within 1300ms
		< A 1(0) ack 1 win 0
		> A 0(0) after 300ms within 2500ms or A 0(1) after 300ms within 2500ms or A 1(1) after 300ms within 2500ms
		< A 1(0) ack 1 win 0
		quiet 300ms
		< A 1(0) ack 1 win 5000
		> A 1(500) ack 1`},
	{name: "the probe's answer opens the window", rfc: "9293 3.8.6.1", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 0
		accept
		write 500
		> A 0(0) after 150ms within 1300ms or A 0(1) after 150ms within 1300ms or A 1(1) after 150ms within 1300ms
		< A 1(0) ack 1 win 5000
		> A 1(500) ack 1`},
	{name: "the window shrinks", rfc: "9293 3.8.6", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 5000
		accept
		write 8000
		> A 1(1000) x5 ack 1
		< A 1(0) ack 2001 win 1000
		quiet 50ms
		< A 1(0) ack 5001 win 3000
		> A 5001(1000) x3 ack 1`},
	{name: "an old segment's window is not taken", rfc: "9293 3.10.7.4", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 2000
		accept
		< PA 1(10) ack 1 win 2000
		> A 1(0) ack 11
		< PA 11(10) ack 1 win 2000
		> A 1(0) ack 21
		write 5000
		> A 1(1000) x2 ack 21
		< A 1(10) ack 1 win 5000
		> A 2001(0) ack 21
		quiet 50ms`},
	{name: "a silly window is not filled", rfc: "9293 3.8.6.2.1", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 3000
		accept
		write 6000
		> A 1(1000) x3 ack 1
		< A 1(0) ack 3001 win 100
		netstack: > A 3001(100) ack 1
		else: quiet 100ms
		else: < A 1(0) ack 3001 win 1000
		else: > A 3001(1000) ack 1`,
		differs: []difference{{netstack, "fills it", "the sender MUST avoid it (MUST-38), with Nagle off as well"}}},
	{name: "Nagle", rfc: "9293 3.7.4", text: acceptedSmall + `
		nagle
		write 100
		> A 1(100) ack 1
		write 200
		write 300
		quiet 50ms
		< A 1(0) ack 101
		> A 101(500) ack 1`},
	{name: "no Nagle", rfc: "9293 3.7.4", text: acceptedSmall + `
		write 100
		> A 1(100) ack 1
		write 200
		> A 101(200) ack 1
		write 300
		> A 301(300) ack 1`},
	{name: "the receive window closes and opens", rfc: "9293 3.8.6.2.2", text: `
		listen rcvbuf 8192
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		fill 1000
		readall
		> A 1(0) win >1000`},
	{name: "a probe into a zero window", rfc: "9293 3.8.6.1", text: `
		listen rcvbuf 8192
		< S 0(0) mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		fill 1000
		probe 1
		> A 1(0) win 0
		readall
		> A 1(0) win >1000
		unreadable`},
	{name: "an ACK into a zero window", rfc: "9293 3.10.7.4", text: `
		listen rcvbuf 8192
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		fill 1000
		write 3000
		> A 1(1000) x3
		probe 0
		quiet 500ms`},
	{name: "delayed ACK", rfc: "9293 3.8.6.3", text: accepted + `
		< PA 1(100) ack 1
		> A 1(0) ack 101 within 500ms
		< PA 101(100) ack 1
		> A 1(0) ack 201 within 500ms`},
	{name: "an ACK for every second segment", rfc: "5681 4.2", text: accepted + `
		< A 1(1460) ack 1 x2
		> A 1(0) ack 2921 within 30ms
		< A 2921(1460) ack 1 x2
		> A 1(0) ack 5841 within 30ms
		read 5840`},
	{name: "an ACK rides on data", rfc: "9293 3.8.6.3", text: accepted + `
		< PA 1(100) ack 1
		read 100
		write 100
		> A 1(100) ack 101
		< A 101(0) ack 101
		quiet 300ms`},
	{name: "initial window", rfc: "6928 2", text: acceptedSmall + `
		write 15000
		> A 1(1000) x10 ack 1
		quiet 5ms
		< A 1(0) ack 5001
		> A 10001(1000) x5 ack 1`},
}
