package tcp

import (
	"testing"
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

// rule is a script that holds one rule of an RFC.
type rule struct {
	name   string
	rfc    string
	cfg    Config
	script string
}

func runRules(t *testing.T, rules []rule) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) { runScript(t, r.cfg, r.script) })
	}
}

// TestOpenRules holds the rules of the opening of connections.
func TestOpenRules(t *testing.T) {
	runRules(t, []rule{
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
		{name: "MSS of zero", rfc: "9293 3.7.1", script: `
			listen
			< S 0(0) win 65535 mss 0
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
	})
}
