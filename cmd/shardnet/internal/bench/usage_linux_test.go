package bench

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestCPUMask(t *testing.T) {
	for cpu, want := range map[int]string{0: "1", 5: "20", 31: "80000000", 32: "1,00000000", 70: "40,00000000,00000000"} {
		if got := cpuMask(cpu); got != want {
			t.Errorf("CPU %d is %s, want %s", cpu, got, want)
		}
	}
}

// TestUsage burns CPU on a known one, and finds it in the counters.
func TestUsage(t *testing.T) {
	cpus, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	cpu := cpus[0]
	const burn = 100 * time.Millisecond
	core, err := coreUse(cpu)
	if err != nil {
		t.Fatal(err)
	}
	process, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good
		err := pinThread(cpu)
		// Not by the clock: on a busy machine others have the CPU meanwhile. The
		// thread may have run before.
		var before, used unix.Timespec
		if err == nil {
			err = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &before)
		}
		for start := time.Now(); err == nil && time.Since(start) < 10*time.Second; {
			if err = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &used); used.Nano()-before.Nano() >= burn.Nanoseconds() {
				break
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	used, err := processCPU(os.Getpid())
	if used -= process; err != nil || used < burn/4 {
		t.Errorf("process used %v: %v", used, err)
	}
	if sum, err := processCPU(os.Getppid()); err != nil || sum < 0 {
		t.Errorf("parent used %v: %v", sum, err)
	}
	after, err := coreUse(cpu)
	if err != nil {
		t.Fatal(err)
	}
	if used := after.busy - core.busy; used < burn/4 {
		t.Errorf("CPU %d was busy for %v", cpu, used)
	}
	if rss, err := residentBytes(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("resident %d bytes: %v", rss, err)
	}
	if slab, err := kernelBytes(); err != nil || slab < 1<<20 {
		t.Errorf("kernel's objects: %d bytes: %v", slab, err)
	}
	if _, err := coreUse(1 << 20); err == nil {
		t.Error("a CPU that is not there is busy")
	}
}

// TestOnCPU: a child sees the one CPU, and this process goes on as it was.
func TestOnCPU(t *testing.T) {
	cpus, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command("nproc")
	var out []byte
	if err := onCPU(cpus[len(cpus)-1], func() (err error) { out, err = cmd.Output(); return err }); err != nil {
		t.Fatal(err)
	}
	if string(out) != "1\n" {
		t.Errorf("child sees %q CPUs", out)
	}
	if now, err := allowedCPUs(); err != nil || len(now) != len(cpus) {
		t.Errorf("this thread may run on %v, was %v: %v", now, cpus, err)
	}
}

func TestPinProcess(t *testing.T) {
	cpus, err := allowedCPUs()
	if err != nil {
		t.Fatal(err)
	}
	undo, err := pinProcess(cpus[0])
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("nproc").Output() // from whichever thread
	if err != nil || string(out) != "1\n" {
		t.Errorf("a child sees %q CPUs: %v", out, err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if now, err := allowedCPUs(); err != nil || len(now) != len(cpus) {
		t.Errorf("CPUs %v, were %v: %v", now, cpus, err)
	}
}

func TestTail(t *testing.T) {
	for _, tc := range []struct{ said, want string }{
		{"", ""},
		{"one\ntwo\n", "two"},
		{"log\nshardnet: no such luck\n", "shardnet: no such luck"},
		{"panic: oh no\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: oh no"},
	} {
		var tl tail
		_, _ = tl.Write([]byte(tc.said))
		if got := tl.last(); got != tc.want {
			t.Errorf("of %q: %q, want %q", tc.said, got, tc.want)
		}
	}
	var long tail
	for range 1000 {
		_, _ = long.Write(make([]byte, 100))
	}
	if len(long.b) > tailSize {
		t.Errorf("keeps %d bytes", len(long.b))
	}
}
