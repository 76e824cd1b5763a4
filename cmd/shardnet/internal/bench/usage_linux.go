package bench

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU time in /proc: USER_HZ, which is 100 in the kernel's
// interface to user space whatever the kernel's own is.
const tick = time.Second / 100

// coreUse is what became of a CPU's time: busy is all but idle, waiting for I/O,
// and stolen. It counts in ticks.
func coreUse(cpu int) (t coreTime, err error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t, err
	}
	name := fmt.Sprintf("cpu%d", cpu)
	for l := range strings.Lines(string(b)) {
		f := strings.Fields(l)
		if len(f) < 9 || f[0] != name {
			continue
		}
		// proc(5): user nice system idle iowait irq softirq steal
		var ticks [9]time.Duration
		for i := 1; i < len(ticks); i++ {
			n, err := strconv.ParseUint(f[i], 10, 64)
			if err != nil {
				return t, fmt.Errorf("read /proc/stat: %w", err)
			}
			ticks[i] = time.Duration(n) * tick
		}
		return coreTime{busy: ticks[1] + ticks[2] + ticks[3] + ticks[6] + ticks[7], stolen: ticks[8]}, nil
	}
	return t, fmt.Errorf("read /proc/stat: no line for CPU %d", cpu)
}

// processCPU is the CPU time that a process has had: this one's to the
// microsecond, another's to the nanosecond where the kernel tells it, but without
// threads that have ended, and in ticks elsewhere.
func processCPU(pid int) (time.Duration, error) {
	if pid == os.Getpid() {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return 0, fmt.Errorf("read resource usage: %w", err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
	}
	if t := threadsCPU(pid); t > 0 {
		return t, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// proc(5): the second field, in brackets, may have spaces; utime and stime are
	// fields 14 and 15.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("read stat of process %d: %q", pid, b)
	}
	user, err := strconv.ParseUint(f[11], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read stat of process %d: %w", pid, err)
	}
	system, err := strconv.ParseUint(f[12], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read stat of process %d: %w", pid, err)
	}
	return time.Duration(user+system) * tick, nil
}

// threadsCPU sums what the scheduler says of a process's threads
// (Documentation/scheduler/sched-stats.rst); 0 where it does not.
func threadsCPU(pid int) (t time.Duration) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		ran, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0
		}
		t += time.Duration(n)
	}
	return t
}

// residentBytes is the memory a process has in RAM.
func residentBytes(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b)) // size resident shared ...
	if len(f) < 2 {
		return 0, fmt.Errorf("read statm of process %d: %q", pid, b)
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err
}

// kernelBytes is the memory of the kernel's own objects, on the whole machine:
// its sockets are among them, and in no process's memory.
func kernelBytes() (uint64, error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == "Slab:" {
			kib, err := strconv.ParseUint(f[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("read /proc/meminfo: no line for slabs")
}

// openFiles is how many files, and so sockets of the kernel's, a process can have
// open.
func openFiles() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("read the limit of open files: %w", err)
	}
	return int(min(l.Max, math.MaxInt32)), nil // Go programs raise it to the most
}

// pinProcess binds every thread of this process to cpu, and those to come, as they
// inherit it. The function returned undoes that.
func pinProcess(cpu int) (undo func() error, err error) {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	only.Set(cpu)
	if err := pinThreads(&only); err != nil {
		return nil, fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return func() error { return pinThreads(&before) }, nil
}

// pinThreads goes through the threads until it finds no new one.
func pinThreads(set *unix.CPUSet) error {
	pinned := make(map[int]bool)
	for again := true; again; {
		again = false
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || pinned[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, set); err != nil && err != unix.ESRCH {
				return err
			}
			pinned[tid], again = true, true
		}
	}
	return nil
}

// pinThread binds the calling thread to cpu, for good.
func pinThread(cpu int) error {
	var only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	return nil
}

// yieldCPU lets another thread have this thread's CPU. The thread keeps its
// processor of Go's scheduler.
func yieldCPU() { _, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// onCPU runs fn on a thread bound to cpu: processes that fn starts are bound to it
// from their first instruction on, so that a Go program among them sees one CPU.
func onCPU(cpu int, fn func() error) error {
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("read CPU affinity: %w", err)
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	err := fn()
	if rerr := unix.SchedSetaffinity(0, &before); err == nil {
		err = rerr
	}
	return err
}

// allowedCPUs are the CPUs this process may run on, in order.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("read CPU affinity: %w", err)
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}
