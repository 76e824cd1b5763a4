package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// program is the built command, where any user may run it.
var program string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "shardnet-cmd-")
	if err != nil {
		println(err.Error())
		return 1
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "shardnet")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Stderr = os.Stderr
	if err := errors.Join(build.Run(), os.Chmod(dir, 0o755)); err != nil {
		println(err.Error())
		return 1
	}
	return m.Run()
}

// runTimeout bounds one run of the command.
const runTimeout = 30 * time.Second

// result is what a finished run left.
type result struct {
	code           int
	stdout, stderr string
}

// run runs the command until it ends. start is cmd.Start, or another way to start
// it.
func run(t *testing.T, start func(*exec.Cmd) error, args ...string) result {
	t.Helper()
	return runCmd(t, exec.Command(program, args...), start)
}

func runCmd(t *testing.T, cmd *exec.Cmd, start func(*exec.Cmd) error) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := start(cmd); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(runTimeout, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), withoutStalls(stderr.String())}
}

// withoutStalls drops the warnings of handlers that took long. By the clock, a
// machine that is busy with other things makes any handler do that.
func withoutStalls(stderr string) string {
	var rest strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.Contains(line, "a handler kept its shard") {
			rest.WriteString(line)
		}
	}
	return rest.String()
}

// checkComplaint wants one line on standard error that has all of want, and
// nothing else said.
func (r result) checkComplaint(t *testing.T, want ...string) {
	t.Helper()
	if r.code != 1 {
		t.Errorf("exit code %d, want 1", r.code)
	}
	if r.stdout != "" {
		t.Errorf("prints %q", r.stdout)
	}
	if !strings.HasPrefix(r.stderr, "shardnet: ") || strings.Count(r.stderr, "\n") != 1 || !strings.HasSuffix(r.stderr, "\n") {
		t.Errorf("complains %q, want one line", r.stderr)
	}
	for _, w := range want {
		if !strings.Contains(r.stderr, w) {
			t.Errorf("complains %q, want %q in it", r.stderr, w)
		}
	}
}
