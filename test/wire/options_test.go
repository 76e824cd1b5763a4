//go:build linux

package wire

var optionScripts = []script{
	{name: "MSS is kept to", rfc: "9293 3.7.1", text: `
		listen
		< S 0(0) mss 700
		> SA 0(0) ack 1 mss 1460
		< A 1(0) ack 1
		accept
		write 1500
		> A 1(700) x2 ack 1
		> A 1401(100) ack 1`},
	{name: "no MSS", rfc: "9293 3.7.1", text: `
		listen
		< S 0(0)
		> SA 0(0) ack 1 mss 1460
		< A 1(0) ack 1
		accept
		write 1200
		> A 1(536) x2 ack 1
		> A 1073(128) ack 1`},
	{name: "no MSS, IPv6", rfc: "9293 3.7.1", v6: true, text: `
		listen
		< S 0(0)
		> SA 0(0) ack 1 mss 1440
		< A 1(0) ack 1
		accept
		write 2500
		netstack: > A 1(536) x4 ack 1
		else: > A 1(1220) x2 ack 1
		else: > A 2441(60) ack 1`,
		differs: []difference{{netstack, "assumes 536 bytes", "1220 for IPv6 (MUST-15)"}}},
	{name: "MSS above the link's", rfc: "9293 3.7.1", text: `
		listen
		< S 0(0) mss 9000
		> SA 0(0) ack 1 mss 1460
		< A 1(0) ack 1
		accept
		write 3000
		> A 1(1460) x2 ack 1
		> A 2921(80) ack 1`},
	{name: "timestamps make segments smaller", rfc: "6691 2", text: `
		listen
		< S 0(0) mss 1460 ts 1000
		> SA 0(0) ack 1 ecr 1000
		< A 1(0) ack 1
		accept
		write 2000
		> A 1(1448) ack 1
		> A 1449(552) ack 1`},
	{name: "MSS of zero", rfc: "9293 3.7.1", text: `
		listen
		< S 0(0) mss 0
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 600
		> A 1(536) ack 1
		> A 537(64) ack 1`},
	{name: "MSS not on a SYN", rfc: "9293 3.2", text: accepted + `
		< A 1(0) ack 1 mss 500
		write 1460
		> A 1(1460) ack 1`},
	{name: "no options offered, none answered", rfc: "7323 2.2", text: `
		listen
		< S 0(0)
		> SA 0(0) ack 1 nows nosack nots
		< A 1(0) ack 1
		accept
		< PA 1(10) ack 1
		> A 1(0) ack 11 nots`},
	{name: "all options", rfc: "7323 2.2", text: `
		listen
		< S 0(0) mss 1460 sackok ts 1000 ws 7
		> SA 0(0) ack 1 mss 1460 sackok ecr 1000
		< A 1(0) ack 1 ts 1001
		accept
		< PA 1(10) ack 1 ts 1002
		> A 1(0) ack 11 ecr 1002`},
	{name: "options offered by a dial, none taken", rfc: "7323 2.2", text: `
		dial
		> S 0(0) mss 1460 sackok ecr 0
		< SA 0(0) ack 1
		> A 1(0) ack 1 nots
		connected
		< PA 101(100) ack 1
		> A 1(0) ack 1 nots nosack
		write 600
		> A 1(536) ack 1 nots
		> A 537(64) ack 1 nots`},
	{name: "odd paddings", rfc: "9293 3.1", text: `
		listen
		< S 0(0) opt 0101020402bc0101010303070100
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1
		> A 701(100) ack 1`},
	{name: "an unaligned option", rfc: "9293 3.1", text: `
		listen
		< S 0(0) opt 01020402bc030307
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1
		> A 701(100) ack 1`},
	{name: "nothing is read after the end of options", rfc: "9293 3.1", text: `
		listen
		< S 0(0) opt 00020402bc0402
		> SA 0(0) ack 1 nosack
		< A 1(0) ack 1
		accept
		write 600
		> A 1(536) ack 1
		> A 537(64) ack 1`},
	{name: "unknown options", rfc: "9293 3.1", text: `
		listen
		< S 0(0) opt fd06aabbccdd020402bc4402fe04aabb
		> SA 0(0) ack 1
		< A 1(0) ack 1 opt fd06aabbccdd
		accept
		write 800
		> A 1(700) ack 1
		> A 701(100) ack 1`},
	{name: "options of 40 bytes", rfc: "9293 3.1", text: `
		listen
		< S 0(0) opt fd2400000000000000000000000000000000000000000000000000000000000000000000020402bc
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1
		> A 701(100) ack 1`},
	{name: "an option of length zero", rfc: "9293 3.2", text: `
		listen
		< S 0(0) opt 020402bcfd000402
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1`},
	{name: "an option of length one", rfc: "9293 3.2", text: `
		listen
		< S 0(0) opt 020402bcfd010402
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1`},
	{name: "an option longer than the header", rfc: "9293 3.2", text: `
		listen
		< S 0(0) opt 020402bcfd090402
		> SA 0(0) ack 1 nosack
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1`},
	{name: "an MSS of the wrong length", rfc: "9293 3.2", text: `
		listen
		< S 0(0) opt 020302bc
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 600
		> A 1(536) ack 1`},
	{name: "a kind without a length at the end", rfc: "9293 3.2", text: `
		listen
		< S 0(0) opt 020402bc010101fd
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 800
		> A 1(700) ack 1`},
	{name: "data offset below five", rfc: "9293 3.1", text: accepted + `
		< PA 1(20) ack 1 doff 4
		quiet 50ms
		unreadable
		< PA 1(20) ack 1
		> A 1(0) ack 21
		read 20`},
	{name: "data offset beyond the segment", rfc: "9293 3.1", text: accepted + `
		< PA 1(20) ack 1 doff 15
		quiet 50ms
		unreadable
		< PA 1(20) ack 1
		> A 1(0) ack 21
		read 20`},
	{name: "window scale above 14", rfc: "7323 2.3", text: `
		listen
		< S 0(0) mss 1024 ws 15
		> SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		write 15360
		> A 1(1024) x10 ack 1
		< A 1(0) ack 10241 win 4
		> A 10241(1024) x5 ack 1
		< A 1(0) ack 15361 win 1
		+20ms
		write 20480
		> A 15361(1024) x16 ack 1
		quiet 100ms
		< A 1(0) ack 31745 win 1
		> A 31745(1024) x4 ack 1`},
	{name: "window scale not on a SYN", rfc: "7323 2.2", text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1 nows
		< A 1(0) ack 1 win 2000 ws 7
		accept
		write 5000
		> A 1(1000) x2 ack 1
		quiet 100ms`},
	{name: "ECN is offered", rfc: "3168 6.1.1", text: `
		listen
		< SEC 0(0) mss 1460
		kernel: > SAE 0(0) ack 1
		else: > SA 0(0) ack 1
		< A 1(0) ack 1
		accept
		< PA 1(100) ack 1
		> A 1(0) ack 101
		read 100`,
		differs: []difference{{kernel, "takes it", "ECE in the SYN-ACK of a host that is willing"}}},
	{name: "a full segment beside SACK", rfc: "6691 2", text: `
		listen
		< S 0(0) mss 1000 sackok
		> SA 0(0) ack 1 sackok
		< A 1(0) ack 1
		accept
		write 1000
		netstack: > A 1(964) ack 1
		else: > A 1(1000) ack 1`,
		differs: []difference{{netstack, "leaves 36 bytes free for SACK in every segment", "the MSS is reduced by the options that a segment does have"}}},
}
