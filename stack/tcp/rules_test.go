package tcp

import (
	"testing"
	"time"
)

// Openings of a script: a connection of either side without options, and with them.
const (
	accepted = `
		listen
		< S 0(0) win 65535 mss 1460
		> SA 0(0) ack 1
		< A 1(0) ack 1 win 65535
		accept
	`
	acceptedAll = `
		listen
		< S 0(0) win 65535 mss 1460 ws 0 sackok ts 1000
		> SA 0(0) ack 1 ws 7 sackok ecr 1000
		< A 1(0) ack 1 win 65535 ts 1001
		accept
	`
	acceptedSack = `
		listen
		< S 0(0) win 65535 mss 1000 sackok
		> SA 0(0) ack 1 sackok
		< A 1(0) ack 1 win 65535
		accept
	`
	connected = `
		dial
		> S 0(0) mss 1460 ws 7 sackok ecr 0
		< SA 0(0) ack 1 win 65535 mss 1460
		> A 1(0) ack 1 nots
	`
)

// TestRules holds one rule of the RFCs each.
func TestRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rfc    string
		cfg    Config
		script string
	}{
		{name: "passive open", rfc: "9293 3.5", script: accepted + "state ESTABLISHED"},
		{name: "active open", rfc: "9293 3.5", script: connected + "state ESTABLISHED\nevent writable"},
		{name: "simultaneous open", rfc: "9293 3.5", script: `
			dial
			> S 0(0)
			< S 0(0) win 65535 mss 1460
			> SA 0(0) ack 1
			state SYN-RECEIVED
			< SA 0(0) ack 1 win 65535
			state ESTABLISHED
			< SA 0(0) ack 1 win 65535
			> A 1(0) ack 1
			event writable`},
		{name: "connection refused", rfc: "9293 3.10.7.3", script: `
			dial
			> S 0(0)
			< RA 0(0) ack 1
			err ECONNREFUSED
			close
			none`},
		{name: "RST without ACK to SYN-SENT", rfc: "9293 3.10.7.3", script: `
			dial
			> S 0(0)
			< R 0(0)
			state SYN-SENT`},
		{name: "wrong ACK to SYN-SENT", rfc: "9293 3.10.7.3", script: `
			dial
			> S 0(0)
			< SA 0(0) ack 100 win 1000
			> R 100(0)
			state SYN-SENT`},
		{name: "SYN sent again, backing off", rfc: "6298 5.5", cfg: Config{SynRetries: 3}, script: `
			dial
			> S 0(0)
			+999ms
			+5ms
			> S 0(0)
			+2005ms
			> S 0(0)
			+4005ms
			> S 0(0)
			+8005ms
			err ETIMEDOUT
			close
			none`},
		{name: "SYN-ACK sent again", rfc: "6298 5.5", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			+1001ms
			> SA 0(0) ack 1
			< A 1(0) ack 1
			accept
			state ESTABLISHED`},
		{name: "SYN again while SYN-RECEIVED", rfc: "9293 3.10.7.4", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< A 1(0) ack 1
			accept`},
		{name: "RST to SYN-RECEIVED", rfc: "9293 3.10.7.4", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< R 1(0)
			none`},
		{name: "wrong ACK to SYN-RECEIVED", rfc: "9293 3.10.7.4", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< A 1(0) ack 7
			> R 7(0)`},
		{name: "ACK to LISTEN", rfc: "9293 3.10.7.2", script: `
			listen
			< A 5(0) ack 9
			> R 9(0)`},
		{name: "segment to CLOSED", rfc: "9293 3.10.7.1", script: `
			< S 0(0) win 1000
			> RA 0(0) ack 1
			< A 7(10) ack 3
			> R 3(0)
			< R 7(0)`},
		{name: "data with the third segment", rfc: "9293 3.10.7.4", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< PA 1(100) ack 1
			> A 1(0) ack 101
			accept
			read 100`},
		{name: "default MSS", rfc: "9293 3.7.1", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1 mss 1460
			< A 1(0) ack 1
			accept
			write 600
			> A 1(536) ack 1
			> PA 537(64) ack 1`},
		{name: "options only as offered", rfc: "7323 2.2", script: `
			listen
			< S 0(0) win 65535 mss 1460
			> SA 0(0) ack 1 nots nosack`},
		{name: "backlog", rfc: "9293 3.9.1", script: `
			listen 1
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< A 1(0) ack 1`},
		{name: "listener closed during a handshake", rfc: "9293 3.10.7.4", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			listenerclose
			< A 1(0) ack 1
			> RA 1(0) ack 1
			none`},
		{name: "listener closed before accept", rfc: "9293 3.10.5", script: `
			listen
			< S 0(0) win 65535
			> SA 0(0) ack 1
			< A 1(0) ack 1
			listenerclose
			> RA 1(0) ack 1
			none`},

		{name: "window is scaled, but for the SYN's", rfc: "7323 2.2", script: `
			listen
			< S 0(0) win 1000 mss 1000 ws 3 sackok ts 1
			> SA 0(0) ack 1 ws 7 win 16384
			< A 1(0) ack 1 win 100 ts 2
			accept
			write 900
			> A 1(800) ack 1 win 512
			< A 1(0) ack 801 win 100 ts 3
			> PA 801(100) ack 1`},
		{name: "PAWS", rfc: "7323 5.3", script: acceptedAll + `
			< PA 1(10) ack 1 ts 2000
			> A 1(0) ack 11 ecr 2000
			< PA 11(10) ack 1 ts 1999
			> A 1(0) ack 11 ecr 2000
			read 10`},
		{name: "a forged timestamp is not taken", rfc: "7323 5.3", script: acceptedAll + `
			< PA 1(10) ack 1000 ts 900000
			> A 1(0) ack 1 ecr 1001
			< PA 1(10) ack 1 ts 1002
			> A 1(0) ack 11 ecr 1002`},
		{name: "RST is not subject to PAWS", rfc: "7323 5.2", script: acceptedAll + `
			< R 1(0) ts 1
			err ECONNRESET`},
		{name: "timestamp missing", rfc: "7323 3.2", script: acceptedAll + `
			< PA 1(10) ack 1
			err WOULDBLOCK`},
		{name: "TS.Recent is the oldest unacknowledged", rfc: "7323 4.3", script: acceptedAll + `
			< PA 2(10) ack 1 ts 3000
			> A 1(0) ack 1 ecr 1001 sack 2-12
			< PA 1(1) ack 1 ts 2000
			> A 1(0) ack 12 ecr 2000`},

		{name: "delayed ACK", rfc: "1122 4.2.3.2", script: accepted + `
			write 1
			> PA 1(1) ack 1
			< PA 1(100) ack 2
			+39ms
			+3ms
			> A 2(0) ack 101`},
		{name: "every second full segment", rfc: "5681 4.2", script: accepted + `
			write 1
			> PA 1(1) ack 1
			< A 1(1460) ack 2
			< A 1461(1460) ack 2
			> A 2(0) ack 2921`},
		{name: "ACK rides on data", rfc: "1122 4.2.3.2", script: accepted + `
			write 1
			> PA 1(1) ack 1
			< PA 1(100) ack 2
			write 10
			> PA 2(10) ack 101
			+100ms`},
		{name: "out of order is acknowledged at once", rfc: "5681 4.2", script: accepted + `
			write 1
			> PA 1(1) ack 1
			< A 101(100) ack 2
			> A 2(0) ack 1
			< A 1(100) ack 2
			> A 2(0) ack 201
			read 200`},
		{name: "overlap keeps what came first", rfc: "9293 3.10.7.4", script: acceptedSack + `
			< A 101(100) ack 1
			> A 1(0) ack 1 sack 101-201
			< A 51(100) ack 1
			> A 1(0) ack 1 sack 101-151,51-201
			< A 1(300) ack 1
			> A 1(0) ack 301 sack 51-201
			read 300`},
		{name: "most recent block first", rfc: "2018 4", script: acceptedSack + `
			< A 101(100) ack 1
			> A 1(0) ack 1 sack 101-201
			< A 301(100) ack 1
			> A 1(0) ack 1 sack 301-401,101-201
			< A 501(100) ack 1
			> A 1(0) ack 1 sack 501-601,301-401,101-201
			< A 201(10) ack 1
			> A 1(0) ack 1 sack 101-211,501-601,301-401`},
		{name: "D-SACK", rfc: "2883 4", script: acceptedSack + `
			< A 1(100) ack 1
			> A 1(0) ack 101 nosack
			< A 1(100) ack 1
			> A 1(0) ack 101 sack 1-101
			< A 51(100) ack 1
			> A 1(0) ack 151 sack 51-101`},
		{name: "no SACK where not negotiated", rfc: "2018 2", script: accepted + `
			< A 101(100) ack 1
			> A 1(0) ack 1 nosack`},
		{name: "outside of the window", rfc: "9293 3.10.7.4", script: accepted + `
			< A 100000(10) ack 1
			> A 1(0) ack 1
			< A -10(5) ack 1
			> A 1(0) ack 1
			err WOULDBLOCK`},
		{name: "cut to the window", rfc: "9293 3.10.7.4", cfg: Config{RecvBuffer: 2048, MaxRecvBuffer: 2048}, script: accepted + `
			< A 1(1400) ack 1
			> A 1(0) ack 1401 win 648
			< A 1401(1400) ack 1
			> A 1(0) ack 2049 win 0
			read 2048
			> A 1(0) ack 2049 win 2048`},
		{name: "zero window takes the ACK", rfc: "9293 3.10.7.4", cfg: Config{RecvBuffer: 2048, MaxRecvBuffer: 2048}, script: accepted + `
			write 10
			> PA 1(10) ack 1
			< A 1(1400) ack 1
			< A 1401(648) ack 1
			+42ms
			> A 11(0) ack 2049 win 0
			< A 2049(1) ack 11
			> A 11(0) ack 2049 win 0
			+10s`},
		{name: "no small window updates", rfc: "1122 4.2.3.3", cfg: Config{RecvBuffer: 8192, MaxRecvBuffer: 8192}, script: accepted + `
			< A 1(1460) ack 1
			> A 1(0) ack 1461
			< A 1461(1460) ack 1
			> A 1(0) ack 2921
			< A 2921(1460) ack 1
			> A 1(0) ack 4381
			< A 4381(1460) ack 1
			> A 1(0) ack 5841
			< A 5841(1460) ack 1
			> A 1(0) ack 7301
			< A 7301(891) ack 1
			> A 1(0) ack 8192 win 1
			read 8191
			> A 1(0) ack 8192 win 8192`},

		{name: "zero window is probed, backing off", rfc: "9293 3.8.6.1", script: accepted + `
			write 100
			> PA 1(100) ack 1
			< A 1(0) ack 101 win 0
			write 100
			+201ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+401ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+810ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 50000
			> PA 101(100) ack 1`},
		{name: "a peer that answers probes is not given up", rfc: "1122 4.2.2.17", cfg: Config{Retries: 3, MaxRTO: time.Second}, script: accepted + `
			write 100
			> PA 1(100) ack 1
			< A 1(0) ack 101 win 0
			write 100
			+205ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+405ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+805ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+1005ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			+1005ms
			> A 100(0) ack 1
			< A 1(0) ack 101 win 0
			state ESTABLISHED
			close
			+1005ms
			> RA 101(0) ack 1
			none`},
		{name: "a peer that does not answer probes is", rfc: "9293 3.8.6.1", cfg: Config{Retries: 2, MaxRTO: time.Second}, script: accepted + `
			write 100
			> PA 1(100) ack 1
			< A 1(0) ack 101 win 0
			write 100
			+205ms
			> A 100(0) ack 1
			+405ms
			> A 100(0) ack 1
			+805ms
			> RA 101(0) ack 1
			err ETIMEDOUT`},
		{name: "silly window is not filled", rfc: "1122 4.2.3.4", script: accepted + `
			write 100
			> PA 1(100) ack 1
			< A 1(0) ack 101 win 10
			write 2000
			+210ms
			> A 101(10) ack 1`},
		{name: "Nagle", rfc: "1122 4.2.3.4", script: accepted + `
			nagle
			write 10
			> PA 1(10) ack 1
			write 10
			write 10
			< A 1(0) ack 11
			> PA 11(20) ack 1`},
		{name: "no Nagle", rfc: "1122 4.2.3.4", script: accepted + `
			write 10
			> PA 1(10) ack 1
			write 10
			> PA 11(10) ack 1`},
		{name: "initial window", rfc: "6928 2", script: acceptedSack + `
			write 20000
			> A 1(1000) ack 1
			> A 1001(1000) ack 1
			> A 2001(1000) ack 1
			> A 3001(1000) ack 1
			> A 4001(1000) ack 1
			> A 5001(1000) ack 1
			> A 6001(1000) ack 1
			> A 7001(1000) ack 1
			> A 8001(1000) ack 1
			> A 9001(1000) ack 1
			< A 1(0) ack 1001
			> A 10001(1000) ack 1
			> A 11001(1000) ack 1`},
		{name: "old window is not taken", rfc: "9293 3.10.7.4", script: accepted + `
			< PA 1(10) ack 1 win 50000
			> A 1(0) ack 11
			< A 1(0) ack 1 win 0
			> A 1(0) ack 11
			write 100
			> PA 1(100) ack 11`},

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
			> A 2(0) ack 2
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
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.cfg.MinRTO == 0 {
				tc.cfg.MinRTO = 200 * time.Millisecond
			}
			runScript(t, tc.cfg, tc.script)
		})
	}
}
