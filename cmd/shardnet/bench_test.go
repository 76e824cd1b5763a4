//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"shardnet/test/testutil"
)

// benchReport is the part of a report that these tests read.
type benchReport struct {
	Format      int
	Environment struct {
		Driver, Mode, Kernel string
		CPUs                 int
		Peers                map[string]string
	}
	Cells []benchCell
	Notes []string
}

type benchCell struct {
	Workload, Server, Unit string
	Params                 map[string]string
	Runs                   []map[string]any
}

// runBench runs bench with args and reads its report.
func runBench(t *testing.T, args ...string) (*benchReport, result) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "report.json")
	cmd := exec.Command(program, append([]string{"bench", "--quick", "--json", file}, args...)...)
	r := runCmd(t, cmd, (*exec.Cmd).Start)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	report := new(benchReport)
	if err := json.Unmarshal(b, report); err != nil {
		t.Fatal(err)
	}
	return report, r
}

// check wants a cell for each server, with right answers and figures that can be.
func (r *benchReport) check(t *testing.T, workload string, servers ...string) {
	t.Helper()
	found := make(map[string]bool)
	for _, c := range r.Cells {
		if c.Workload != workload {
			continue
		}
		found[c.Server] = true
		if len(c.Runs) != 1 || c.Unit == "" {
			t.Errorf("%s on %s: %d runs in %q, want one", workload, c.Server, len(c.Runs), c.Unit)
			continue
		}
		run := c.Runs[0]
		if rate, _ := run["rate"].(float64); rate < 10 {
			t.Errorf("%s on %s: %v %s", workload, c.Server, run["rate"], c.Unit)
		}
		for _, key := range []string{"wrong", "failed"} {
			if run[key] != nil {
				t.Errorf("%s on %s: %s %v", workload, c.Server, key, run[key])
			}
		}
		last := 0.0
		for _, key := range []string{"p50", "p90", "p99", "p999", "max"} {
			v, _ := run[key].(float64)
			if strings.HasPrefix(workload, "bulk") {
				continue // has no latency
			}
			if v <= 0 || v < last {
				t.Errorf("%s on %s: %s of %v µs after %v", workload, c.Server, key, v, last)
			}
			last = v
		}
	}
	for _, s := range servers {
		if !found[s] {
			t.Errorf("%s: %s was not measured: %q", workload, s, r.Notes)
		}
		delete(found, s)
	}
	if len(found) > 0 {
		t.Errorf("%s: %v were measured", workload, found)
	}
}

// TestBench measures every kind of server, and a peer, over veth.
func TestBench(t *testing.T) {
	needRoot(t)
	memcached, err := exec.LookPath("memcached")
	if err != nil {
		t.Skip("needs the memcached command, as a server that nobody here wrote")
	}
	r, out := runBench(t, "--run", "udp-echo,memcached-udp-get,tcp-rr/conns=64,bulk-send/flows=1",
		"--peer", "theirs:memcached="+memcached+" -u root -l {addr} -p {port} -U {port}")
	ours := []string{"handler", "conn", "netstack", "kernel"}
	r.check(t, "udp-echo", append(ours, "reflector", "kernel-norps")...)
	r.check(t, "memcached-udp-get", append(ours, "reflector", "memcached-c", "theirs")...)
	r.check(t, "tcp-rr", append(ours, "handler-fast", "conn-fast", "reflector", "kernel-norps")...)
	r.check(t, "bulk-send", "handler", "handler-fast", "conn-fast", "kernel", "kernel-offload")
	// A server on a busy machine may answer too late for its CPU time to be told of so
	// short a run; not all of them.
	told := 0
	for _, c := range r.Cells {
		if cpu, _ := c.Runs[0]["process_cpu"].(float64); cpu > 0 {
			told++
		}
	}
	if told < len(r.Cells)/2 {
		t.Errorf("the CPU time of %d servers of %d was measured", told, len(r.Cells))
	}
	if e := r.Environment; r.Format != 1 || e.Driver != "afxdp" || e.Mode == "" || e.Kernel == "" || e.CPUs < 2 || e.Peers["memcached-c"] == "" {
		t.Errorf("environment %+v", e)
	}
	for _, want := range []string{"udp-echo", "handler", "vs kernel"} {
		if !strings.Contains(out.stdout, want) {
			t.Errorf("prints no %q: %s", want, out.stdout)
		}
	}
}

// TestBenchIdle holds connections.
func TestBenchIdle(t *testing.T) {
	needRoot(t)
	r, _ := runBench(t, "--run", "idle", "--idle", "300", "--servers", "handler*,kernel", "--ipv6")
	r.check(t, "idle", "handler", "handler-fast", "kernel")
	for _, c := range r.Cells {
		extra, _ := c.Runs[0]["extra"].(map[string]any)
		if extra["held"] != 300.0 || extra["answered"] != 300.0 {
			t.Errorf("%s: %v", c.Server, extra)
		}
	}
}

// TestBenchMemory runs without any privilege.
func TestBenchMemory(t *testing.T) {
	r, _ := runBench(t, "--mem", "--run", "udp-echo,tcp-crr,shards/proto=udp")
	r.check(t, "udp-echo", "reflector", "handler", "conn", "netstack")
	r.check(t, "tcp-crr", "reflector", "handler", "handler-fast", "conn", "conn-fast", "netstack")
	shards := 0
	for _, c := range r.Cells {
		if c.Workload == "shards" {
			shards++
		}
	}
	if shards != 2 {
		t.Errorf("%d cells of shards, want one of 1 and one of 2: %q", shards, r.Notes)
	}
	if r.Environment.Driver != "mem" {
		t.Errorf("driver %q", r.Environment.Driver)
	}
}

// TestBenchRenderings writes all there is, and keeps a file's own words.
func TestBenchRenderings(t *testing.T) {
	dir := t.TempDir()
	md, html := filepath.Join(dir, "B.md"), filepath.Join(dir, "b.html")
	if err := os.WriteFile(md, []byte("# Own words\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nThe end.\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	runBench(t, "--mem", "--run", "udp-echo", "--servers", "handler", "--markdown", md, "--html", html)
	for file, want := range map[string][]string{md: {"# Own words", "udp-echo", "The end."}, html: {"<html", "udp-echo", "<svg"}} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !strings.Contains(string(b), w) {
				t.Errorf("%s has no %q", file, w)
			}
		}
		if strings.Contains(string(b), "\nold\n") {
			t.Errorf("%s has the old tables still", file)
		}
	}
}

// TestBenchKilled: servers, and other people's programs, end with the benchmark.
func TestBenchKilled(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("memcached"); err != nil {
		t.Skip("needs the memcached command, as a server that nobody here wrote")
	}
	cmd := exec.Command(program, "bench", "--run", "memcached-udp-get", "--servers", "memcached-c", "--duration", "1m")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if line, err := bufio.NewReader(stderr).ReadString('\n'); err != nil || !strings.Contains(line, "memcached-udp-get") {
		t.Fatalf("says %q: %v", line, err)
	}
	var family []int
	testutil.Eventually(t, "the benchmark has a server and memcached below it", func() bool {
		family = childrenOf(t, cmd.Process.Pid)
		for _, child := range family {
			family = append(family, childrenOf(t, child)...)
		}
		return len(family) >= 2
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range family {
		testutil.Eventually(t, fmt.Sprintf("process %d ends with its benchmark", pid), func() bool { return !alive(pid) })
	}
	runBench(t, "--run", "udp-echo", "--servers", "kernel")
	checkCleanedUp(t, cmd.Process.Pid)
}

// TestBenchMissingServer: what can't be measured is noted, and the rest measured.
func TestBenchMissingServer(t *testing.T) {
	needRoot(t)
	r, _ := runBench(t, "--run", "udp-echo", "--servers", "kernel,gone,mute",
		"--peer", "gone=/nonexistent/server", "--peer", "mute=/bin/false")
	r.check(t, "udp-echo", "kernel")
	if notes := strings.Join(r.Notes, "\n"); !strings.Contains(notes, "gone: ") || !strings.Contains(notes, "mute: ") || !strings.Contains(notes, "udp-echo") {
		t.Errorf("notes %q", r.Notes)
	}
}

func TestBenchList(t *testing.T) {
	r := run(t, (*exec.Cmd).Start, "bench", "--list", "--mem", "--run", "tcp-*", "--connections", "7")
	want := "tcp-rr/conns=7,size=64: reflector handler handler-fast conn conn-fast netstack\ntcp-crr/conns=64,size=64: reflector handler handler-fast conn conn-fast netstack\n"
	if r.code != 0 || r.stderr != "" || r.stdout != want {
		t.Errorf("exit code %d, prints %q, complains %q", r.code, r.stdout, r.stderr)
	}
}

// TestBenchBadInput makes mistakes.
func TestBenchBadInput(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"no such workload", []string{"--run", "sctp-echo"}, []string{"sctp-echo", "--list"}},
		{"no pattern", []string{"--run", "tcp-["}, []string{"tcp-[", "*"}},
		{"no such server", []string{"--servers", "windows"}, []string{"windows", "kernel"}},
		{"no repetitions", []string{"--repeat", "0"}, []string{"--repeat"}},
		{"too short", []string{"--duration", "1ms"}, []string{"--duration"}},
		{"negative warm-up", []string{"--warmup", "-1s"}, []string{"--warmup"}},
		{"no connections", []string{"--connections", "0"}, []string{"0 connections"}},
		{"large request", []string{"--sizes", "5000"}, []string{"--sizes", "one packet"}},
		{"large MTU", []string{"--mtu", "65536"}, []string{"--mtu"}},
		{"peer without command", []string{"--peer", "nginx"}, []string{"nginx", "NAME=COMMAND"}},
		{"peer named kernel", []string{"--peer", "kernel=true"}, []string{"kernel"}},
		{"peer of no app", []string{"--peer", "x:http=true"}, []string{`"http"`, "echo"}},
		{"one CPU for both", []string{"--server-cpu", "1"}, []string{"--server-cpu", "--generator-cpu"}},
		{"CPU that is not there", []string{"--server-cpu", "9999"}, []string{"CPU 9999"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			run(t, (*exec.Cmd).Start, append([]string{"bench"}, tc.args...)...).checkComplaint(t, tc.want...)
		})
	}
}

// TestBenchServerByHand: what bench starts servers with says so when it is started
// by somebody else.
func TestBenchServerByHand(t *testing.T) {
	run(t, (*exec.Cmd).Start, "bench-server").checkComplaint(t, "--address", "--port")
	run(t, (*exec.Cmd).Start, "bench-server", "--server", "kernel", "--app", "abacus", "--address", "127.0.0.1/8", "--port", "7").checkComplaint(t, "abacus")
}
