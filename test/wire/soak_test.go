//go:build linux

package wire

// soakScripts wait for what takes a minute: see SHARDNET_SOAK.
var soakScripts = []script{
	{name: "retransmission doubles", rfc: "6298 5.5", soak: true, text: accepted + `
		write 100
		> A 1(100) ack 1
		> A 1(100) ack 1 after 190ms within 300ms
		> A 1(100) ack 1 after 380ms within 500ms
		> A 1(100) ack 1 after 780ms within 900ms
		> A 1(100) ack 1 after 1580ms within 1800ms
		> A 1(100) ack 1 after 3180ms within 3600ms
		> A 1(100) ack 1 after 6380ms within 7200ms
		< A 1(0) ack 101
		quiet 1s
		write 100
		> A 101(100) ack 1
		< A 1(0) ack 201`},
	{name: "a zero window is probed for as long as it is answered", rfc: "9293 3.8.6.1", soak: true, text: `
		listen
		< S 0(0) mss 1000
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 0
		accept
		write 500
		> A 0(0) within 5s or A 0(1) within 5s or A 1(1) within 5s
		< A 1(0) ack 1 win 0
		> A 0(0) within 5s or A 0(1) within 5s or A 1(1) within 5s
		< A 1(0) ack 1 win 0
		> A 0(0) within 5s or A 0(1) within 5s or A 1(1) within 5s
		< A 1(0) ack 1 win 0
		> A 0(0) within 5s or A 0(1) within 5s or A 1(1) within 5s
		< A 1(0) ack 1 win 0
		> A 0(0) within 10s or A 0(1) within 10s or A 1(1) within 10s
		< A 1(0) ack 1 win 0
		> A 0(0) within 20s or A 0(1) within 20s or A 1(1) within 20s
		< A 1(0) ack 1 win 0
		> A 0(0) within 40s or A 0(1) within 40s or A 1(1) within 40s
		< A 1(0) ack 1 win 5000
		> A 1(500) ack 1
		< A 1(0) ack 501`},
	{name: "TIME-WAIT ends", rfc: "9293 3.10.8", soak: true, text: accepted + toTimeWait + `
		+50s
		< FA 1(0) ack 2
		> A 2(0) ack 2
		+62s
		< FA 1(0) ack 2
		> R 2(0)`},
	{name: "FIN-WAIT-2 of a closed connection ends", rfc: "9293 3.6", soak: true, text: accepted + `
		close
		> FA 1(0) ack 1
		< A 1(0) ack 2
		+65s
		< FA 1(0) ack 2
		> R 2(0)`},
	{name: "SYN is sent again, doubling", rfc: "6298 5.5", soak: true, text: `
		dial
		> S 0(0)
		> S 0(0) after 900ms within 1300ms
		> S 0(0) after 1900ms within 2300ms
		> S 0(0) after 3900ms within 4500ms
		< SA 0(0) ack 1
		> A 1(0) ack 1
		connected`},
}
