package tcp

import (
	"testing"
	"time"
)

// TestDataRules holds the rules of what is sent and received.
func TestDataRules(t *testing.T) {
	runRules(t, []rule{
		{name: "window is scaled, but for the SYN's", rfc: "7323 2.2", script: `
			listen
			< S 0(0) win 1000 mss 1000 ws 3 sackok ts 1
			> SA 0(0) ack 1 ws 7 win 16384
			< A 1(0) ack 1 win 100 ts 2
			accept
			write 900
			> A 1(800) ack 1 win 128
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
		{name: "each segment after a duplicate", rfc: "5681 4.2", script: accepted + `
			write 1
			> PA 1(1) ack 1
			< A 1(1000) ack 2
			+40ms
			+3ms
			> A 2(0) ack 1001
			< A 1(1000) ack 2
			> A 2(0) ack 1001
			< A 1001(100) ack 2
			> A 2(0) ack 1101
			< A 1101(100) ack 2
			> A 2(0) ack 1201`},
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
	})
}
