package stack

import "golang.org/x/sys/unix"

// pinThread binds the calling thread to cpu.
func pinThread(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// maxCPU is one more than the highest CPU this process may run on.
func maxCPU() int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return 0
	}
	for i := len(set)*64 - 1; i >= 0; i-- {
		if set.IsSet(i) {
			return i + 1
		}
	}
	return 0
}

// totalMemory is how much the machine has, in bytes.
func totalMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(uint64(info.Totalram) * uint64(info.Unit))
}
