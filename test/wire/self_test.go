//go:build linux

package wire

import (
	"strings"
	"testing"

	"shardnet/driver/netlab"
)

// TestWrongExpectationFails holds scripts against the kernel that are wrong in one line
// each, and asks that each fails there: a harness that takes anything proves
// nothing.
func TestWrongExpectationFails(t *testing.T) {
	netlab.Test(t)
	g := newTarget(t, kernel)
	t.Run("", func(t *testing.T) {
		for _, w := range []struct{ name, text, at, says string }{
			{"flags", "listen\n < S 0(0) mss 1460\n > A 0(0) ack 1", "> A 0(0) ack 1", "other flags"},
			{"sequence number", "listen\n < S 0(0) mss 1460\n > SA 1(0) ack 1", "> SA 1(0) ack 1", "sequence number 0, not 1"},
			{"acknowledgement", "listen\n < S 0(0) mss 1460\n > SA 0(0) ack 2", "> SA 0(0) ack 2", "ack 1, not 2"},
			{"window", "listen\n < S 0(0) mss 1460\n > SA 0(0) ack 1 win 1", "> SA 0(0) ack 1 win 1", "window"},
			{"window of more", "listen\n < S 0(0) mss 1460\n > SA 0(0) ack 1 win >65535", "> SA 0(0) ack 1 win >65535", "window"},
			{"MSS", "listen\n < S 0(0) mss 1460\n > SA 0(0) ack 1 mss 1400", "> SA 0(0) ack 1 mss 1400", "MSS 1460"},
			{"scale", "listen\n < S 0(0) mss 1460 ws 7\n > SA 0(0) ack 1 nows", "> SA 0(0) ack 1 nows", "window scale"},
			{"SACK", "listen\n < S 0(0) mss 1460\n > SA 0(0) ack 1 sackok", "> SA 0(0) ack 1 sackok", "SACK"},
			{"no SACK", "listen\n < S 0(0) mss 1460 sackok\n > SA 0(0) ack 1 nosack", "> SA 0(0) ack 1 nosack", "SACK"},
			{"echo", "listen\n < S 0(0) mss 1460 ts 7\n > SA 0(0) ack 1 ecr 8", "> SA 0(0) ack 1 ecr 8", "echoed timestamp 7"},
			{"no timestamp", "listen\n < S 0(0) mss 1460 ts 7\n > SA 0(0) ack 1 nots", "> SA 0(0) ack 1 nots", "timestamp"},
			{"SACK blocks", acceptedSack + "< A 101(100) ack 1\n > A 1(0) ack 1 sack 101-202", "> A 1(0) ack 1 sack 101-202", "other SACK blocks"},
			{"payload length", accepted + "write 10\n > A 1(11) ack 1", "> A 1(11) ack 1", "length 10, not 11"},
			{"too early", accepted + "write 10\n > A 1(10) ack 1 after 100ms", "> A 1(10) ack 1 after 100ms", "too early"},
			{"too late", accepted + "write 10\n > A 1(10) ack 1\n > A 1(10) ack 1 within 10ms", "> A 1(10) ack 1 within 10ms", "too late"},
			{"silence", accepted + "> A 1(0) ack 1 within 100ms", "> A 1(0) ack 1 within 100ms", "nothing came"},
			{"noise", accepted + "write 10\n quiet 100ms", "quiet 100ms", "it sent PA 1(10)"},
			{"alternatives", accepted + "write 10\n > A 1(9) ack 1 or R 1(0)", "> A 1(9) ack 1 or R 1(0)", "other flags"},
			{"one too many", acceptedSmall + "write 2000\n > A 1(1000) x3 ack 1", "> A 1(1000) x3 ack 1", "sequence number 1, not 2001"},
			{"other data", accepted + "< PA 1(10) ack 1 junk\n > A 1(0) ack 11\n read 10", "read 10", "other bytes"},
			{"too little data", accepted + "< PA 1(10) ack 1\n > A 1(0) ack 11\n read 11", "read 11", "after 10 bytes"},
			{"data in vain", accepted + "< PA 1(10) ack 1\n > A 1(0) ack 11\n unreadable", "unreadable", "there is data"},
			{"no connection", "listen\n accept", "accept", "timeout"},
			{"a connection", accepted + "peer 1\n < S 0(0)\n > SA 0(0) ack 1\n < A 1(0) ack 1\n noaccept", "noaccept", "there is a connection"},
			{"other error", "dial\n > S 0(0)\n < RA 0(0) ack 1\n dialerror ETIMEDOUT", "dialerror ETIMEDOUT", "connection refused"},
			{"no error", accepted + "error ECONNRESET", "error ECONNRESET", "i/o timeout"},
			{"no end", accepted + "eof", "eof", "i/o timeout"},
		} {
			t.Run(w.name, func(t *testing.T) {
				t.Parallel()
				s := script{name: w.name, text: w.text}
				steps, err := s.steps(kernel, true)
				if err != nil {
					t.Fatal(err)
				}
				err = converse(g, false, steps)
				if err == nil {
					t.Fatal("the script passed")
				}
				first, _, _ := strings.Cut(err.Error(), "\n")
				if !strings.HasPrefix(first, `"`+w.at+`": `) || !strings.Contains(first, w.says) {
					t.Errorf("not at %q for %q: %v", w.at, w.says, err)
				}
			})
		}
	})
}

// TestDifferencesAreHeld shows that a difference that is not listed fails on the target
// that has it, and so does one that is listed and is none.
func TestDifferencesAreHeld(t *testing.T) {
	netlab.Test(t)
	g := newTarget(t, kernel)
	const begin = "listen\n < S 0(0) mss 1460\n "
	for _, c := range []struct {
		name, text string
		listed     bool
		says       string
	}{
		{"listed", begin + "kernel: > SA 0(0) ack 1\n else: > RA 0(0) ack 1", true, ""},
		{"not listed", begin + "> RA 0(0) ack 1", false, "other flags"},
		{"listed wrongly", begin + "kernel: > A 0(0) ack 1\n else: > RA 0(0) ack 1", true, "other flags"},
		{"gone", begin + "kernel: > SA 0(0) ack 1\n else: > SA 0(0) ack 1 mss 1460", true, "difference is gone"},
	} {
		s := script{name: c.name, rfc: "0", text: c.text}
		if c.listed {
			s.differs = []difference{{kernel, "answers", "it may"}}
		}
		err := s.hold(t, g)
		if (c.says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCheck holds the check of scripts to finding what is wrong with them.
func TestCheck(t *testing.T) {
	const text = "kernel: listen\n else: dial"
	listed := script{text: text, differs: []difference{{kernel, "listens", "it may"}}}
	if err := listed.check(); err != nil {
		t.Errorf("a difference that is listed: %v", err)
	}
	for _, bad := range []script{
		{text: text},
		{text: "listen", differs: []difference{{kernel, "listens", "it may"}}},
		{text: text, differs: []difference{{kernel, "listens", ""}}},
		{text: "windows: listen"},
		{text: "lisen"},
		{text: "< S 0"},
		{text: "> S 0(0) badsum"},
		{text: "icmp toobig"},
	} {
		if bad.check() == nil {
			t.Errorf("nothing is said against %q with the differences %v", bad.text, bad.differs)
		}
	}
}
