package testutil

import (
	"testing"
	"time"
)

// Patience is how long a test waits for what should come at once. It is long, because
// machines that run tests are slow and busy.
const Patience = 10 * time.Second

// interval is the time between two looks at a condition.
const interval = time.Millisecond

// Poll calls cond every millisecond until it returns true, or for Patience, and
// returns what cond returned last.
func Poll(cond func() bool) bool {
	for deadline := time.Now().Add(Patience); time.Now().Before(deadline); time.Sleep(interval) {
		if cond() {
			return true
		}
	}
	return cond()
}

// Eventually polls cond, and ends the test if it does not become true. what is the
// condition in words: "the connection is closed".
func Eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !Poll(cond) {
		t.Fatalf("waited %v in vain until %s", Patience, what)
	}
}
