//go:build linux

package main

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf/link"
)

// TestDoctor has it look at an interface that is fit, one that is not there, and
// one that another program is on.
func TestDoctor(t *testing.T) {
	_, vs := pair(t)
	findings := func(wantCode int, args ...string) map[string]string {
		t.Helper()
		r := run(t, vs.Host.Start, append([]string{"doctor"}, args...)...)
		if r.code != wantCode {
			t.Errorf("exit code %d, want %d: %s%s", r.code, wantCode, r.stdout, r.stderr)
		}
		found := make(map[string]string) // by the words that name the check
		for line := range strings.Lines(r.stdout) {
			level, rest, _ := strings.Cut(line, " ")
			found[strings.TrimSpace(rest)] = level
		}
		return found
	}
	want := func(found map[string]string, level, text string) {
		t.Helper()
		for f, l := range found {
			if l == level && strings.Contains(f, text) {
				return
			}
		}
		t.Errorf("no %s with %q in %q", level, text, found)
	}

	found := findings(0, "-i", "vs")
	want(found, "ok", "vs is up")
	want(found, "ok", "veth")
	want(found, "ok", "none in place")
	want(found, "ok", "CAP_NET_ADMIN")
	want(found, "ok", "sockets can be made")

	found = findings(1, "-i", "nope")
	want(found, "fail", `no "nope"`)
	found = findings(1, "-i", "lo")
	want(found, "fail", "lo is not Ethernet")

	if err := vs.SetMTU(12000); err != nil {
		t.Fatal(err)
	}
	found = findings(1, "-i", "vs")
	want(found, "fail", "12000 does not fit")
	if err := vs.SetMTU(9000); err != nil {
		t.Fatal(err)
	}
	found = findings(0, "-i", "vs")
	want(found, "warn", "9000 takes Linux 6.6")
	if err := vs.SetMTU(1500); err != nil {
		t.Fatal(err)
	}

	p := passAll(t)
	var l link.Link
	if err := vs.Host.Do(func() (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: vs.Index})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	found = findings(1, "-i", "vs")
	want(found, "fail", "in place native")

	if err := vs.SetDown(); err != nil {
		t.Fatal(err)
	}
	found = findings(1, "-i", "vs")
	want(found, "fail", "vs is down")
}

// TestDoctorWithoutPrivilege runs it as nobody.
func TestDoctorWithoutPrivilege(t *testing.T) {
	needRoot(t)
	cmd := exec.Command(program, "doctor")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	r := runCmd(t, cmd, (*exec.Cmd).Start)
	if r.code != 1 || !strings.Contains(r.stdout, "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF missing: run as root") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if strings.Count(r.stderr, "\n") != 1 {
		t.Errorf("complains %q, want one line", r.stderr)
	}
}
