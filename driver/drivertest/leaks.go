package drivertest

import (
	"os"
	"runtime"
	"testing"
	"time"
)

// leakCheck fails t unless count comes down to what it was within the limit.
func leakCheck(t *testing.T, limit time.Duration, what string, before int, count func() int) {
	t.Helper()
	for end := time.Now().Add(limit); count() > before; {
		if time.Now().After(end) {
			t.Errorf("%d %s before, %d after\n%s", before, what, count(), stacks())
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// openFiles is how many file descriptors the process has, or 0 where that can't
// be known.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// stacks returns the stacks of all goroutines.
func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}
