package bench

import (
	"bufio"
	"os"
	"os/exec"
	"path"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/report"
)

// environment is where and with what is measured.
func environment(cfg *Config) report.Environment {
	e := report.Environment{
		Time:      time.Now().UTC().Truncate(time.Second),
		GoVersion: runtime.Version(),
		GOOS:      runtime.GOOS,
		GOARCH:    runtime.GOARCH,
		Kernel:    fileLine("/proc/sys/kernel/osrelease"),
		CPUModel:  cpuModel(),
		CPUs:      runtime.NumCPU(),
		Memory:    machineMemory(),
		Governor:  fileLine("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
		Command:   cfg.Command,
		Peers:     make(map[string]string),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				e.Commit = s.Value
			case "GOAMD64":
				e.GOAMD64 = s.Value
			case "-pgo":
				e.PGO = s.Value != "" && s.Value != "off"
			}
		}
	}
	if e.Commit == "" {
		e.Commit = output("git", "rev-parse", "--short=12", "HEAD")
	}
	if v := output("memcached", "-V"); v != "" {
		e.Peers[MemcachedC] = strings.TrimPrefix(v, "memcached ")
	}
	return e
}

// output is the first line that a command prints, or nothing when there is no such
// command.
func output(name string, args ...string) string {
	b, err := exec.Command(name, args...).Output()
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}

// fileLine is the first line of a file, or nothing.
func fileLine(name string) string {
	b, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(b), "\n")
	return first
}

func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if key, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// machineMemory is the machine's memory in bytes, or 0.
func machineMemory() uint64 {
	f := strings.Fields(fileLine("/proc/meminfo")) // MemTotal: n kB
	if len(f) < 2 || f[0] != "MemTotal:" {
		return 0
	}
	kib, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}

// matchesAny reports whether one of the patterns matches, as path.Match has it.
func matchesAny(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}
