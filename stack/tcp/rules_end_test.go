package tcp

import (
	"testing"
)

// TestEndRules holds the rules of the end of connections, attacks, timers and ICMP.
func TestEndRules(t *testing.T) {
	runRules(t, []rule{
		{name: "RST exactly", rfc: "5961 3.2", script: accepted + `
			< R 1(0)
			err ECONNRESET
			close
			none`},
		{name: "RST in the window is challenged", rfc: "5961 3.2", script: accepted + `
			< R 100(0)
			> A 1(0) ack 1
			state ESTABLISHED`},
		{name: "RST outside of the window", rfc: "5961 3.2", script: accepted + `
			< R 100000(0)
			state ESTABLISHED`},
		{name: "SYN is challenged", rfc: "5961 4.2", script: accepted + `
			< S 100(0)
			> A 1(0) ack 1
			state ESTABLISHED`},
		{name: "ACK of what was not sent", rfc: "5961 5.2", script: accepted + `
			< PA 1(10) ack 1000
			> A 1(0) ack 1
			err WOULDBLOCK`},
		{name: "ACK far too old", rfc: "5961 5.2", script: accepted + `
			< PA 1(10) ack -70000
			> A 1(0) ack 1
			err WOULDBLOCK`},
		{name: "challenges are limited", rfc: "5961 7", script: accepted + `
			< R 100(0)
			> A 1(0) ack 1
			< R 101(0)
			< R 102(0)
			+501ms
			< R 103(0)
			> A 1(0) ack 1`},

		{name: "active close", rfc: "9293 3.6", script: accepted + `
			closewrite
			> FA 1(0) ack 1
			state FIN-WAIT-1
			< A 1(0) ack 2
			state FIN-WAIT-2
			< PA 1(10) ack 2
			+42ms
			> A 2(0) ack 11
			read 10
			< FA 11(0) ack 2
			> A 2(0) ack 12
			state TIME-WAIT
			err EOF
			close
			none
			timewait 1
			+61s
			timewait 0`},
		{name: "passive close", rfc: "9293 3.6", script: accepted + `
			< FA 1(0) ack 1
			> A 1(0) ack 2
			state CLOSE-WAIT
			err EOF
			write 10
			> PA 1(10) ack 2
			close
			> FA 11(0) ack 2
			< A 2(0) ack 12
			none
			timewait 0`},
		{name: "simultaneous close", rfc: "9293 3.6", script: accepted + `
			closewrite
			> FA 1(0) ack 1
			< FA 1(0) ack 1
			> A 2(0) ack 2
			state CLOSING
			< A 2(0) ack 2
			state TIME-WAIT`},
		{name: "FIN with the ACK of ours", rfc: "9293 3.10.7.4", script: accepted + `
			closewrite
			> FA 1(0) ack 1
			< FA 1(0) ack 2
			> A 2(0) ack 2
			state TIME-WAIT`},
		{name: "FIN with data", rfc: "9293 3.10.7.4", script: accepted + `
			< FPA 1(10) ack 1
			> A 1(0) ack 12
			read 10
			err EOF`},
		{name: "FIN out of order", rfc: "9293 3.10.7.4", script: accepted + `
			< FA 11(10) ack 1
			> A 1(0) ack 1
			state ESTABLISHED
			< PA 1(10) ack 1
			> A 1(0) ack 22
			read 20
			state CLOSE-WAIT`},
		{name: "FIN after the data", rfc: "9293 3.10.4", script: accepted + `
			write 100
			> PA 1(100) ack 1
			write 100
			> PA 101(100) ack 1
			closewrite
			> FA 201(0) ack 1`},
		{name: "FIN sent again", rfc: "6298 5.4", script: accepted + `
			closewrite
			> FA 1(0) ack 1
			+201ms
			> FA 1(0) ack 1`},
		{name: "close with data unread", rfc: "2525 2.17", script: accepted + `
			< PA 1(10) ack 1
			> A 1(0) ack 11
			close
			> RA 1(0) ack 11
			none`},
		{name: "data after close", rfc: "1122 4.2.2.13", script: accepted + `
			close
			> FA 1(0) ack 1
			< A 1(0) ack 2
			< PA 1(10) ack 2
			> RA 2(0) ack 1
			none`},
		{name: "close read discards", rfc: "9293 3.9.1", script: accepted + `
			closeread
			< PA 1(10) ack 1
			> A 1(0) ack 11
			err EOF`},
		{name: "FIN-WAIT-2 of a closed connection ends", rfc: "1122 4.2.2.20", script: accepted + `
			close
			> FA 1(0) ack 1
			< A 1(0) ack 2
			+59s
			+2s
			none`},
		{name: "abort", rfc: "9293 3.10.5", script: accepted + `
			write 10
			> PA 1(10) ack 1
			abort
			> RA 11(0) ack 1
			none`},

		{name: "FIN again in TIME-WAIT", rfc: "9293 3.10.7.4", script: accepted + `
			close
			> FA 1(0) ack 1
			< FA 1(0) ack 2
			> A 2(0) ack 2
			+50s
			< FA 1(0) ack 2
			> A 2(0) ack 2
			+50s
			timewait 1
			+11s
			timewait 0`},
		{name: "RST in TIME-WAIT", rfc: "1337 3", script: accepted + `
			close
			> FA 1(0) ack 1
			< FA 1(0) ack 2
			> A 2(0) ack 2
			< R 2(0)
			timewait 1`},
		{name: "TIME-WAIT is reused by a new sequence", rfc: "9293 3.6.1", script: accepted + `
			close
			> FA 1(0) ack 1
			< FA 1(0) ack 2
			> A 2(0) ack 2
			< S 1(0) win 1000
			> A 2(0) ack 2
			timewait 1
			< S 1000(0) win 1000
			> SA 0(0) ack 1001
			timewait 0`},
		{name: "TIME-WAIT is reused by a later timestamp", rfc: "6191 2", script: acceptedAll + `
			close
			> FA 1(0) ack 1
			< FA 1(0) ack 2 ts 5000
			> A 2(0) ack 2
			< S -1000(0) win 1000 ts 4999
			> A 2(0) ack 2
			timewait 1
			< S -1000(0) win 1000 ts 5001
			> SA 0(0) ack -999
			timewait 0`},

		{name: "keep-alive", rfc: "1122 4.2.3.6", script: accepted + `
			keepalive
			+9s
			+1010ms
			> A 0(0) ack 1
			< A 1(0) ack 1
			+9s
			+1010ms
			> A 0(0) ack 1
			+1s
			> A 0(0) ack 1
			+1001ms
			> A 0(0) ack 1
			+1010ms
			> RA 1(0) ack 1
			err ETIMEDOUT`},
		{name: "keep-alive is answered", rfc: "1122 4.2.3.6", script: accepted + `
			< A 0(0) ack 1
			> A 1(0) ack 1`},

		{name: "retransmission backs off and gives up", rfc: "6298 5.5", cfg: Config{Retries: 3}, script: accepted + `
			write 10
			> PA 1(10) ack 1
			+201ms
			> PA 1(10) ack 1
			+401ms
			> PA 1(10) ack 1
			+801ms
			> PA 1(10) ack 1
			+1610ms
			> RA 11(0) ack 1
			err ETIMEDOUT`},
		{name: "the router's reason", rfc: "1122 4.2.3.9", cfg: Config{Retries: 1}, script: accepted + `
			write 10
			> PA 1(10) ack 1
			icmp unreachable 1
			+201ms
			> PA 1(10) ack 1
			+810ms
			> RA 11(0) ack 1
			err EHOSTUNREACH`},
		{name: "ICMP does not reset", rfc: "5927 5.2", script: accepted + `
			write 10
			> PA 1(10) ack 1
			icmp refused 1
			state ESTABLISHED`},
		{name: "no neighbour for a SYN", rfc: "1122 4.2.3.9", script: `
			dial
			> S 0(0)
			icmp unreachable 0
			state SYN-SENT
			icmp noneighbour 0
			err EHOSTUNREACH`},
		{name: "ICMP refuses a SYN", rfc: "1122 4.2.3.9", script: `
			dial
			> S 0(0)
			icmp refused 7 ignored
			icmp refused 0
			err ECONNREFUSED`},
		{name: "path MTU", rfc: "1191 6.4", script: accepted + `
			write 3000
			> A 1(1460) ack 1
			> A 1461(1460) ack 1
			> PA 2921(80) ack 1
			icmp toobig 1 1000
			> A 1(960) ack 1
			> A 961(500) ack 1
			> A 1461(960) ack 1
			> A 2421(500) ack 1
			icmp toobig 1 1000 ignored
			icmp toobig 5000 600 ignored
			icmp toobig 2921 600 ignored`},
		{name: "path MTU of an old router", rfc: "1191 7.1", script: accepted + `
			write 1460
			> PA 1(1460) ack 1
			icmp toobig 1 0
			> A 1(1452) ack 1
			> PA 1453(8) ack 1`},
		{name: "path MTU is not below the least", rfc: "5927 7.2", script: accepted + `
			write 1000
			> PA 1(1000) ack 1
			icmp toobig 1 68
			> A 1(536) ack 1
			> PA 537(464) ack 1`},

		{name: "SYN cookie", rfc: "4987 3.6", script: `
			listen 1
			< S 0(0) win 65535
			> SA 0(0) ack 1`},
		{name: "frames come late", rfc: "", script: accepted + `
			nobuf
			write 10
			buf
			> PA 1(10) ack 1`},
	})
}
