package stack_test

import (
	"sync/atomic"
	"testing"
	"time"

	"shardnet/driver/memnic"
	"shardnet/stack"
)

// Tasks for the end of a loop run once, before Close returns, whether the stack is
// closed or its device fails; those taken back do not; and those that come too late
// run at once.
func TestAtEnd(t *testing.T) {
	for name, fails := range map[string]bool{"closed": false, "device failed": true} {
		t.Run(name, func(t *testing.T) {
			a, b, err := memnic.NewPair(nil)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			st, err := stack.New(a, serverConfig()) // what a failed device had lent can't be given back
			if err != nil {
				t.Fatal(err)
			}
			sh := st.Shard(0)
			var ran, back atomic.Int64
			for range 3 {
				sh.AtEnd(taskFunc(func() { ran.Add(1) }))
			}
			sh.AtEnd(taskFunc(func() { back.Add(1) }))()
			if ran.Load() != 0 {
				t.Error("a task ran before the end")
			}
			if fails {
				a.Close()
				<-st.Done()
			}
			st.Close()
			if ran.Load() != 3 || back.Load() != 0 {
				t.Errorf("%d of 3 tasks ran, %d that were taken back", ran.Load(), back.Load())
			}
			cancel := sh.AtEnd(taskFunc(func() { ran.Add(1) }))
			cancel()
			if ran.Load() != 4 {
				t.Error("a task given after the end did not run")
			}
		})
	}
}

func TestAfterFunc(t *testing.T) {
	server, _ := pair(t, 1, 1)
	sh := server.Shard(0)
	// A timer counts from the turn in which it is armed: this one from a turn that begins
	// after start.
	var start time.Time
	onLoop(sh, func() { start = time.Now() })
	ran := make(chan time.Duration, 1)
	var stop func() bool
	onLoop(sh, func() { stop = sh.AfterFunc(20*time.Millisecond, func() { ran <- time.Since(start) }) })
	if d := <-ran; d < 20*time.Millisecond {
		t.Errorf("ran after %v, want 20 ms", d)
	}
	if stop() {
		t.Error("stopped what had run")
	}
	stop = sh.AfterFunc(time.Hour, func() { t.Error("ran an hour early") })
	if !stop() || stop() {
		t.Error("want stopped once")
	}
	// Of two that are due in one turn, one stops the other.
	var never bool
	done := make(chan struct{})
	onLoop(sh, func() {
		var other func() bool
		sh.AfterFunc(0, func() {
			if !other() {
				t.Error("not stopped")
			}
		})
		other = sh.AfterFunc(0, func() { never = true })
		sh.AfterFunc(10*time.Millisecond, func() { close(done) })
	})
	<-done
	if never {
		t.Error("ran although it was stopped on the loop")
	}
}
