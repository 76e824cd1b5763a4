//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"shardnet/test/testutil"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: the demo makes network namespaces")
	}
}

// TestDemo runs the demo as root has it, short.
func TestDemo(t *testing.T) {
	needRoot(t)
	cmd := exec.Command(program, "demo", "--duration", "300ms", "--tcp-connections", "200", "--json")
	r := runCmd(t, cmd, (*exec.Cmd).Start)
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	checkDemo(t, r.stdout, "afxdp", 200, 64)
	checkCleanedUp(t, cmd.Process.Pid)
}

// TestDemoInterrupted: the demo cleans up on Ctrl-C too.
func TestDemoInterrupted(t *testing.T) {
	needRoot(t)
	cmd := startDemo(t)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(runTimeout, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if said := cmd.Stderr.(*strings.Builder).String(); said != "shardnet: interrupted\n" {
		t.Errorf("says %q", said)
	}
	checkCleanedUp(t, cmd.Process.Pid)
}

// TestDemoKilled: the servers of a demo that is killed end with it, and the next
// demo removes its namespaces.
func TestDemoKilled(t *testing.T) {
	needRoot(t)
	cmd := startDemo(t)
	servers := childrenOf(t, cmd.Process.Pid)
	if len(servers) != 1 {
		t.Errorf("demo has children %v, want one server", servers)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range servers {
		testutil.Eventually(t, fmt.Sprintf("server %d ends with its demo", pid), func() bool { return !alive(pid) })
	}
	r := run(t, (*exec.Cmd).Start, "demo", "--duration", "20ms", "--tcp-connections", "64", "--json")
	if r.code != 0 {
		t.Errorf("the next demo: exit code %d: %s", r.code, r.stderr)
	}
	checkCleanedUp(t, cmd.Process.Pid)
}

// startDemo starts a demo that would take long, and returns once its first server
// is asked.
func startDemo(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(program, "demo", "--duration", "1m")
	cmd.Stderr = new(strings.Builder)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); r.Close() })
	_ = r.SetReadDeadline(time.Now().Add(runTimeout))
	var said []byte
	for !strings.Contains(string(said), "\nserving echo") {
		buf := make([]byte, 1024)
		n, err := r.Read(buf)
		if err != nil {
			t.Fatalf("demo says %q, then %v: %v", said, err, cmd.Stderr)
		}
		said = append(said, buf[:n]...)
	}
	return cmd
}

// checkCleanedUp wants no namespace of a demo's process left.
func checkCleanedUp(t *testing.T, pid int) {
	t.Helper()
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/sn-%d-*", pid))
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("namespaces %v are left", left)
	}
}

// childrenOf lists the processes that pid started.
func childrenOf(t *testing.T, pid int) (children []int) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, stat := range stats {
		b, err := os.ReadFile(stat)
		if err != nil {
			continue // ended meanwhile
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		var state string
		var parent, child int
		if _, err := fmt.Sscan(rest, &state, &parent); err != nil || parent != pid {
			continue
		}
		if _, err := fmt.Sscan(string(b), &child); err != nil {
			t.Fatal(err)
		}
		children = append(children, child)
	}
	return children
}

// alive reports whether a process runs; one that waits to be reaped does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}
