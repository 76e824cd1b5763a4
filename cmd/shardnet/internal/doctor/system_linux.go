package doctor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// umemPerQueue is the memory of one queue's frames, in bytes, which is what the
// kernel counts as locked: with the afxdp driver's defaults and an MTU of 1500.
const umemPerQueue = 6144 * 2048

// Host looks at the kernel and at what this process may do.
func Host() []Finding {
	caps, err := effectiveCaps("/proc/self/status")
	if err != nil {
		return []Finding{{Fail, "privilege", "can't be read: " + err.Error(), "mount /proc"}}
	}
	return []Finding{kernel(), privilege(caps), socket(), memlock(caps)}
}

// kernel wants what the drivers use: bpf_link for XDP came with 5.9, after
// AF_XDP's need-wakeup flag with 5.4.
func kernel() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Finding{Fail, "kernel", "has no name: " + err.Error(), "run on Linux"}
	}
	return kernelFinding(unix.ByteSliceToString(u.Release[:]))
}

func kernelFinding(release string) Finding {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return Finding{Warn, "kernel", release + " has a version that can't be read", "5.9 or newer is needed"}
	}
	if major < 5 || major == 5 && minor < 9 {
		return Finding{Fail, "kernel", release + " is too old", "use 5.9 or newer (XDP links)"}
	}
	return Finding{Level: OK, Subject: "kernel", Text: release}
}

// effectiveCaps reads the effective capabilities from a /proc status file.
func effectiveCaps(path string) (uint64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			return strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
		}
	}
	return 0, errors.New("no CapEff in " + path)
}

func has(caps uint64, c int) bool { return caps>>c&1 == 1 }

func privilege(caps uint64) Finding {
	var missing []string
	if !has(caps, unix.CAP_NET_ADMIN) {
		missing = append(missing, "CAP_NET_ADMIN")
	}
	if !has(caps, unix.CAP_NET_RAW) {
		missing = append(missing, "CAP_NET_RAW")
	}
	if !has(caps, unix.CAP_BPF) && !has(caps, unix.CAP_SYS_ADMIN) {
		missing = append(missing, "CAP_BPF")
	}
	if len(missing) > 0 {
		return Finding{Fail, "privilege", strings.Join(missing, ", ") + " missing",
			"run as root, or once: setcap cap_net_admin,cap_net_raw,cap_bpf+ep shardnet"}
	}
	return Finding{Level: OK, Subject: "privilege", Text: "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"}
}

func socket() Finding {
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	switch {
	case err == nil:
		_ = unix.Close(fd)
		return Finding{Level: OK, Subject: "AF_XDP", Text: "sockets can be made"}
	case errors.Is(err, unix.EAFNOSUPPORT):
		return Finding{Fail, "AF_XDP", "is not in this kernel", "use one built with CONFIG_XDP_SOCKETS"}
	case errors.Is(err, unix.EPERM):
		return Finding{Fail, "AF_XDP", "sockets need CAP_NET_RAW", "run as root"}
	}
	return Finding{Fail, "AF_XDP", "sockets can't be made: " + err.Error(), "look into the kernel's log"}
}

// memlock compares the limit of locked memory with what a queue needs. The kernel
// does not look at it for who has CAP_IPC_LOCK (xdp_umem_account_pages).
func memlock(caps uint64) Finding {
	if has(caps, unix.CAP_IPC_LOCK) {
		return Finding{Level: OK, Subject: "locked memory", Text: "not limited (CAP_IPC_LOCK)"}
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
		return Finding{Warn, "locked memory", "limit can't be read: " + err.Error(), "see ulimit -l"}
	}
	if lim.Cur == unix.RLIM_INFINITY {
		return Finding{Level: OK, Subject: "locked memory", Text: "not limited"}
	}
	text := fmt.Sprintf("%d KiB may be locked", lim.Cur>>10)
	if lim.Cur < umemPerQueue {
		return Finding{Fail, "locked memory", text, fmt.Sprintf("raise it to %d KiB a queue (ulimit -l), or give CAP_IPC_LOCK", umemPerQueue>>10)}
	}
	return Finding{Level: OK, Subject: "locked memory", Text: fmt.Sprintf("%s, enough for %d queues", text, lim.Cur/umemPerQueue)}
}
