package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestKernelFinding(t *testing.T) {
	for release, want := range map[string]Level{
		"6.18.44":          OK,
		"5.10.0-33-amd64":  OK,
		"5.9.0":            OK,
		"5.8.18":           Fail,
		"4.19.0-27-amd64":  Fail,
		"unreleased":       Warn,
		"5.15.0-105-azure": OK,
	} {
		if f := kernelFinding(release); f.Level != want || !strings.Contains(f.Text, release) {
			t.Errorf("%s: %v, want %s", release, f, want)
		}
	}
}

func TestPrivilege(t *testing.T) {
	bits := func(caps ...int) (b uint64) {
		for _, c := range caps {
			b |= 1 << c
		}
		return b
	}
	for _, tc := range []struct {
		caps uint64
		want string // missing; "" is none
	}{
		{bits(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF), ""},
		{bits(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN), ""},
		{bits(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW), "CAP_BPF missing"},
		{bits(unix.CAP_BPF), "CAP_NET_ADMIN, CAP_NET_RAW missing"},
	} {
		f := privilege(tc.caps)
		if (f.Level == OK) != (tc.want == "") || !strings.Contains(f.Text, tc.want) {
			t.Errorf("%#x: %v, want %q", tc.caps, f, tc.want)
		}
		if f.Level != OK && f.Remedy == "" {
			t.Errorf("%#x: no remedy", tc.caps)
		}
	}
}

func TestEffectiveCaps(t *testing.T) {
	file := filepath.Join(t.TempDir(), "status")
	if err := os.WriteFile(file, []byte("Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t00000000a80425fb\nCapBnd:\t0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if caps, err := effectiveCaps(file); err != nil || caps != 0xa80425fb {
		t.Errorf("%#x, %v", caps, err)
	}
	if err := os.WriteFile(file, []byte("Name:\tx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := effectiveCaps(file); err == nil {
		t.Error("no error without CapEff")
	}
}

// TestMemlock: who has CAP_IPC_LOCK is not held to the limit.
func TestMemlock(t *testing.T) {
	if f := memlock(1 << unix.CAP_IPC_LOCK); f.Level != OK || !strings.Contains(f.Text, "CAP_IPC_LOCK") {
		t.Error(f)
	}
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 64 << 10, Max: lim.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &lim); err != nil {
			t.Error(err)
		}
	}()
	if f := memlock(0); f.Level != Fail || !strings.Contains(f.Text, "64 KiB") || f.Remedy == "" {
		t.Error(f)
	}
}

func TestReport(t *testing.T) {
	var b strings.Builder
	ok, err := Report(&b, []Finding{{OK, "kernel", "6.1", ""}, {Warn, "queues", "64", "fewer"}}, false)
	if err != nil || !ok || b.String() != "ok    kernel        6.1\nwarn  queues        64: fewer\n" {
		t.Errorf("%v, %v: %q", ok, err, b.String())
	}
	b.Reset()
	ok, err = Report(&b, []Finding{{Fail, "MTU", "9000", "less"}}, true)
	if err != nil || ok || b.String() != `{"level":"fail","subject":"MTU","text":"9000","remedy":"less"}`+"\n" {
		t.Errorf("%v, %v: %q", ok, err, b.String())
	}
}
