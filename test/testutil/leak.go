package testutil

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
)

// Resources are counts of what a process must give back.
type Resources struct {
	Goroutines int
	Files      int // file descriptors; 0 where they can't be counted
}

// Count counts the resources in use now.
func Count() Resources { return Resources{runtime.NumGoroutine(), openFiles()} }

// Leaked waits until no more resources are in use than in before, and returns nil. If
// that takes longer than Patience, the error has the counts and the stacks of all
// goroutines.
func (before Resources) Leaked() error {
	var now Resources
	isBack := func() bool {
		now = Count()
		if now.Goroutines <= before.Goroutines && now.Files <= before.Files {
			return true
		}
		runtime.GC() // package os closes files that nobody refers to
		return false
	}
	if Poll(isBack) {
		return nil
	}
	return fmt.Errorf("%d goroutines, %d before; %d file descriptors, %d before\n%s",
		now.Goroutines, before.Goroutines, now.Files, before.Files, Stacks())
}

// Check fails the test if resources have leaked since before was counted.
func (before Resources) Check(t testing.TB) {
	t.Helper()
	if err := before.Leaked(); err != nil {
		t.Errorf("leak: %v", err)
	}
}

// Main is a TestMain that fails when the tests leave goroutines or file descriptors
// behind. It does not return.
func Main(m *testing.M) {
	// The runtime opens descriptors of its own with the first socket.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	before := Count()
	code := m.Run()
	if f := flag.Lookup("test.fuzz"); f != nil && f.Value.String() != "" {
		os.Exit(code) // package testing leaves goroutines
	}
	if code == 0 {
		if err := before.Leaked(); err != nil {
			fmt.Fprintf(os.Stderr, "leak after all tests: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}

// Stacks returns the stacks of all goroutines, or of as many as fit in 4 MiB.
func Stacks() []byte {
	buf := make([]byte, 4<<20)
	return buf[:runtime.Stack(buf, true)]
}

func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
