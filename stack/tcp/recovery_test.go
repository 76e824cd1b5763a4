package tcp

import "testing"

// Connections with a round trip of 10 ms and segments of 1000 bytes.
const (
	sackRTT = `
		listen
		< S 0(0) win 65535 mss 1000 sackok
		> SA 0(0) ack 1 sackok
		+10ms
		< A 1(0) ack 1 win 65535
		accept
	`
	plainRTT = `
		listen
		< S 0(0) win 65535 mss 1000
		> SA 0(0) ack 1
		+10ms
		< A 1(0) ack 1 win 65535
		accept
	`
	stampRTT = `
		listen
		< S 0(0) win 65535 mss 1012 sackok ts 1
		> SA 0(0) ack 1
		+10ms
		< A 1(0) ack 1 win 65535 ts 2
		accept
	`
	fiveSent = `
		write 5000
		> A 1(1000)
		> A 1001(1000)
		> A 2001(1000)
		> A 3001(1000)
		> PA 4001(1000)
		+10ms
	`
)

// TestRecovery holds the rules of loss recovery.
func TestRecovery(t *testing.T) {
	for _, tc := range []struct {
		name, rfc, script string
		check             func(t *testing.T, s *script)
	}{
		{name: "three SACKed segments", rfc: "8985 6.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-2001
			< A 1(0) ack 1 sack 1001-3001
			< A 1(0) ack 1 sack 1001-4001
			> A 1(1000)
			< A 1(0) ack 1 sack 1001-5001
			+10ms
			< A 1(0) ack 5001`, check: func(t *testing.T, s *script) {
			if s.c.rec.state != caOpen || s.c.cc.cwnd != s.c.cc.ssthresh || s.c.cc.cwnd != 3500 {
				t.Errorf("state %d, cwnd %d of %d: want the window at 0.7 of what was in flight", s.c.rec.state, s.c.cc.cwnd, s.c.cc.ssthresh)
			}
		}},
		{name: "three duplicate ACKs of a peer that agreed to SACK and reports nothing", rfc: "5681 3.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 1
			< A 1(0) ack 1
			< A 1(0) ack 1
			> A 1(1000)
			< A 1(0) ack 1
			+10ms
			< A 1(0) ack 2001
			> A 2001(1000)
			+10ms
			< A 1(0) ack 5001`, check: func(t *testing.T, s *script) {
			if st := s.e.Stats(); st.Timeouts != 0 || s.c.rec.state != caOpen || s.c.flags&flagNewReno != 0 {
				t.Errorf("%+v, state %d", st, s.c.rec.state)
			}
		}},
		{name: "one SACKed segment and a reordering window", rfc: "8985 6.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 1001 sack 2001-3001
			+1ms
			+4ms
			> A 1001(1000)`},
		{name: "reordering is no loss", rfc: "8985 6.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 1001 sack 2001-3001
			+1ms
			< A 1(0) ack 3001
			+1ms
			< A 1(0) ack 5001
			+1s`, check: func(t *testing.T, s *script) {
			if st := s.e.Stats(); st.Recoveries+st.Retransmitted != 0 || s.c.flags&flagReordered == 0 {
				t.Errorf("%+v, reordering seen: %v", st, s.c.flags&flagReordered != 0)
			}
		}},
		{name: "a retransmission is lost", rfc: "8985 6.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-4001
			> A 1(1000)
			write 1000
			> PA 5001(1000)
			+10ms
			< A 1(0) ack 1 sack 1001-5001
			+10ms
			< A 1(0) ack 1 sack 1001-6001
			> A 1(1000)`},
		{name: "two holes", rfc: "6937 3", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-2001,3001-5001
			> A 1(1000)
			> A 2001(1000)
			+10ms
			< A 1(0) ack 5001`},
		{name: "reneging", rfc: "2018 8", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-5001
			> A 1(1000)
			+10ms
			< A 1(0) ack 1001
			+225ms
			> A 1001(1000)
			< A 1(0) ack 2001
			> A 2001(1000)
			> A 3001(1000)`},
		{name: "SACK of what was not sent", rfc: "2018 3", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-9001
			< A 1(0) ack 1 sack 4001-2001`, check: func(t *testing.T, s *script) {
			if s.c.flight.sacked != 0 {
				t.Errorf("%d bytes are taken for SACKed", s.c.flight.sacked)
			}
		}},
		{name: "tail loss probe", rfc: "8985 7.3", script: sackRTT + fiveSent + `
			< A 1(0) ack 3001
			+19ms
			+6ms
			> PA 4001(1000)
			+10ms
			< A 1(0) ack 3001 sack 4001-5001
			> A 3001(1000)
			+10ms
			< A 1(0) ack 5001`},
		{name: "tail loss probe of new data", rfc: "8985 7.3", script: sackRTT + `
			write 11000
			> A 1(1000)
			> A 1001(1000)
			> A 2001(1000)
			> A 3001(1000)
			> A 4001(1000)
			> A 5001(1000)
			> A 6001(1000)
			> A 7001(1000)
			> A 8001(1000)
			> A 9001(1000)
			+19ms
			+6ms
			> PA 10001(1000)`},
		{name: "no probe when a SACK came while frames were short", rfc: "8985 7.3", script: sackRTT + fiveSent + `
			< A 1(0) ack 3001
			nobuf
			+30ms
			< A 1(0) ack 3001 sack 4001-5001
			buf
			+20ms
			> A 3001(1000)
			+10ms
			< A 1(0) ack 5001`},
		{name: "a probe that repaired reduces the window", rfc: "8985 7.4.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 4001
			+300ms
			> PA 4001(1000)
			+10ms
			write 1000
			> PA 5001(1000)
			< A 1(0) ack 5001
			< A 1(0) ack 6001`, check: func(t *testing.T, s *script) {
			if s.c.cc.ssthresh > 1<<30 {
				t.Error("the window was not reduced")
			}
		}},
		{name: "a probe that was not needed", rfc: "8985 7.4.2", script: sackRTT + fiveSent + `
			< A 1(0) ack 4001
			+300ms
			> PA 4001(1000)
			< A 1(0) ack 5001
			< A 1(0) ack 5001 sack 4001-5001
			write 1000
			> PA 5001(1000)
			< A 1(0) ack 6001`, check: func(t *testing.T, s *script) {
			if s.c.cc.ssthresh < 1<<30 {
				t.Error("the window was reduced")
			}
		}},
		{name: "retransmission timeout", rfc: "6298 5.4", script: plainRTT + fiveSent + `
			+210ms
			> A 1(1000)
			< A 1(0) ack 1001
			> A 1001(1000)
			> A 2001(1000)
			< A 1(0) ack 5001`, check: func(t *testing.T, s *script) {
			if st := s.e.Stats(); st.Timeouts != 1 || s.c.timers.backoff != 0 || s.c.rec.state != caOpen {
				t.Errorf("%+v, backoff %d", st, s.c.timers.backoff)
			}
		}},
		{name: "three duplicate ACKs", rfc: "6582 3.2", script: plainRTT + fiveSent + `
			< A 1(0) ack 1
			< A 1(0) ack 1
			< A 1(0) ack 1
			> A 1(1000)
			+10ms
			< A 1(0) ack 2001
			> A 2001(1000)
			+10ms
			< A 1(0) ack 5001`},
		{name: "the recovery point keeps up", rfc: "6582 3.2", script: plainRTT + fiveSent + `
			< A 1(0) ack 5001`, check: func(t *testing.T, s *script) {
			if s.c.rec.point != s.c.snd.una-1 {
				t.Errorf("it is %d behind", s.c.snd.una.sub(s.c.rec.point))
			}
		}},
		{name: "no fast retransmission of what recovery repeated", rfc: "6582 3.2", script: plainRTT + fiveSent + `
			+210ms
			> A 1(1000)
			< A 1(0) ack 5001
			write 4000
			> A 5001(1000)
			> A 6001(1000)
			> A 7001(1000)
			< A 1(0) ack 5001
			> PA 8001(1000)
			< A 1(0) ack 5001
			< A 1(0) ack 5001`},
		{name: "D-SACK takes the reduction back", rfc: "2883 4", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-4001
			> A 1(1000)
			< A 1(0) ack 5001
			< A 1(0) ack 5001 sack 1-1001
			+1s`, check: checkUndone(1)},
		{name: "D-SACK during recovery", rfc: "2883 4", script: sackRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-4001
			> A 1(1000)
			< A 1(0) ack 4001 sack 1-1001
			+1ms
			< A 1(0) ack 5001`, check: checkUndone(1)},
		{name: "a timestamp tells of a spurious retransmission", rfc: "3522 3.2", script: stampRTT + fiveSent + `
			< A 1(0) ack 1 sack 1001-4001 ts 3
			> A 1(1000)
			< A 1(0) ack 4001 ts 4 ecr -10
			+10ms
			< A 1(0) ack 5001 ts 5`, check: checkUndone(1)},
		{name: "Karn", rfc: "6298 3", script: plainRTT + `
			write 1000
			> PA 1(1000)
			+300ms
			> PA 1(1000)
			+200ms
			< A 1(0) ack 1001`, check: func(t *testing.T, s *script) {
			if s.c.rtt.srtt > 12000 {
				t.Errorf("the round trip is taken for %d µs", s.c.rtt.srtt)
			}
		}},
		{name: "idle restart", rfc: "5681 4.1", script: sackRTT + fiveSent + `
			< A 1(0) ack 5001
			+5s
			write 100
			> PA 5001(100)`, check: func(t *testing.T, s *script) {
			if s.c.cc.cwnd > 10000 {
				t.Errorf("cwnd is %d after an idle time", s.c.cc.cwnd)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := runScript(t, Config{}, tc.script)
			if tc.check != nil {
				tc.check(t, s)
			}
		})
	}
}

func checkUndone(n uint64) func(t *testing.T, s *script) {
	return func(t *testing.T, s *script) {
		if st := s.e.Stats(); st.Undone != n {
			t.Errorf("%d reductions undone, want %d: %+v", st.Undone, n, st)
		}
		if n > 0 && (s.c.rec.state != caOpen || s.c.cc.cwnd < 10000 || s.c.cc.ssthresh < 1<<30) {
			t.Errorf("state %d, cwnd %d, ssthresh %d: want what was before", s.c.rec.state, s.c.cc.cwnd, s.c.cc.ssthresh)
		}
	}
}

// TestFirstRecovery has segments lost before anything was acknowledged, with initial
// sequence numbers from all over.
func TestFirstRecovery(t *testing.T) {
	for i := range 32 {
		runScript(t, Config{Secret: [32]byte{byte(i)}}, plainRTT+fiveSent+`
			< A 1(0) ack 1
			< A 1(0) ack 1
			< A 1(0) ack 1
			> A 1(1000)`)
	}
}
