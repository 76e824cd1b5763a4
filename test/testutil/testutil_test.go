package testutil

import (
	"os"
	"strings"
	"testing"
)

func TestMain(m *testing.M) { Main(m) }

func TestPoll(t *testing.T) {
	calls := 0
	if !Poll(func() bool { calls++; return calls == 3 }) || calls != 3 {
		t.Errorf("polled %d times, want 3", calls)
	}
}

// A goroutine and a file that are still there are seen, and no longer once they are
// gone.
func TestResources(t *testing.T) {
	before := Count()
	before.Check(t)
	if before.Files == 0 {
		t.Skip("file descriptors can't be counted here")
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { <-done }()
	if now := Count(); now.Files != before.Files+1 || now.Goroutines != before.Goroutines+1 {
		t.Errorf("counted %+v, before %+v", now, before)
	}
	if s := string(Stacks()); !strings.Contains(s, "testutil.TestResources") {
		t.Errorf("stacks lack this test:\n%s", s)
	}
	close(done)
	f.Close()
	before.Check(t)
}
