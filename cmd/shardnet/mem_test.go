package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// report decodes what a server said with --json, by the kind of event.
func report(t *testing.T, stdout string) map[string][]map[string]any {
	t.Helper()
	events := make(map[string][]map[string]any)
	for line := range strings.Lines(stdout) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		kind, _ := e["event"].(string)
		events[kind] = append(events[kind], e)
	}
	return events
}

// TestMemory serves each app on a cable in memory, which needs no privilege.
func TestMemory(t *testing.T) {
	for _, tc := range []struct {
		name   string
		args   []string
		checks []string
		tcp    any // netstack's mode; nil: the shards' own TCP
		api    string
	}{
		{"echo", []string{"echo"}, []string{"echo tcp", "echo udp"}, nil, "handler"},
		{"echo on net.Conn", []string{"echo", "--tcp", "fast", "--api", "conn", "--tcp-memory", "16"}, []string{"echo tcp", "echo udp"}, nil, "conn"},
		{"memcached", []string{"memcached", "--udp", "-m", "16"}, []string{"memcached tcp", "memcached udp"}, nil, "handler"},
		{"memcached on net.Conn", []string{"memcached", "--udp", "-m", "16", "--api", "conn"}, []string{"memcached tcp", "memcached udp"}, nil, "conn"},
		{"echo on netstack", []string{"echo", "--tcp", "netstack"}, []string{"echo tcp", "echo udp"}, "inline", "handler"},
		{"echo on netstack and net.Conn", []string{"echo", "--api", "conn", "--tcp", "netstack"}, []string{"echo tcp", "echo udp"}, "inline", "conn"},
		{"echo on another subnet, not polling", []string{"echo", "-a", "198.19.1.9/29", "--gateway", "198.19.1.10", "-p", "9999", "--spin", "0"}, []string{"echo tcp", "echo udp"}, nil, "handler"},
		{"memcached on netstack", []string{"memcached", "--tcp", "netstack", "--udp", "-m", "16"}, []string{"memcached tcp", "memcached udp"}, "inline", "handler"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := run(t, (*exec.Cmd).Start, append(tc.args, "--driver", "mem", "--json", "--shards", "2")...)
			if r.code != 0 || r.stderr != "" {
				t.Fatalf("exit code %d: %s", r.code, r.stderr)
			}
			events := report(t, r.stdout)
			if len(events["serving"]) != 1 || len(events["stopped"]) != 1 {
				t.Fatalf("reports %s", r.stdout)
			}
			start, stop := events["serving"][0], events["stopped"][0]
			tcp := "netstack"
			if tc.tcp == nil {
				tcp = "fast"
			}
			for key, want := range map[string]any{"driver": "mem", "mode": "memory", "shards": 2.0, "queues": 2.0, "api": tc.api, "tcp": tcp, "netstack_tcp": tc.tcp, "steering": "NIC RSS (Toeplitz)"} {
				if start[key] != want {
					t.Errorf("start-up line has %s %v, want %v", key, start[key], want)
				}
			}
			var checks []string
			for _, c := range events["checked"] {
				checks = append(checks, c["workload"].(string))
				if c["errors"] != 0.0 || c["requests"].(float64) < 10 || c["connections"] != 32.0 {
					t.Errorf("check found %v", c)
				}
			}
			if strings.Join(checks, ", ") != strings.Join(tc.checks, ", ") {
				t.Errorf("checked %q, want %q", checks, tc.checks)
			}
			connections := 0.0
			for _, s := range stop["shards"].([]any) {
				shard := s.(map[string]any)
				connections += shard["connections"].(float64)
				if shard["wrong_shard"] != 0.0 {
					t.Errorf("%v packets on the wrong shard, on a NIC with RSS", shard["wrong_shard"])
				}
			}
			if connections != 32 {
				t.Errorf("shards count %v connections, want 32", connections)
			}
		})
	}
}

// TestCapture has the traffic recorded, and asks tshark what it thinks of it.
func TestCapture(t *testing.T) {
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("needs the tshark command, as a reader of captures that nobody here wrote")
	}
	file := filepath.Join(t.TempDir(), "echo.pcapng")
	r := run(t, (*exec.Cmd).Start, "echo", "--driver", "mem", "--shards", "2", "--pcap", file)
	if r.code != 0 {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	out := runCmd(t, exec.Command(tshark, "-r", file, "-Y", "tcp.flags.syn==1 && tcp.flags.ack==0 && tcp.dstport==7", "-T", "fields", "-e", "frame.interface_name"), (*exec.Cmd).Start)
	if out.code != 0 {
		t.Fatalf("tshark: %s", out.stderr)
	}
	seen := make(map[string]int)
	for line := range strings.Lines(out.stdout) {
		seen[strings.TrimSpace(line)]++
	}
	if seen["shard 0"]+seen["shard 1"] < 32 || seen["shard 0"] == 0 || seen["shard 1"] == 0 {
		t.Errorf("32 connections were opened, the capture has SYNs %v", seen)
	}
}

func TestCaptureIsRemovedOnFailure(t *testing.T) {
	file := filepath.Join(t.TempDir(), "echo.pcapng")
	run(t, (*exec.Cmd).Start, "echo", "--driver", "mem", "--cpus", "4095", "--shards", "1", "--pcap", file).checkComplaint(t, "4095")
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("an empty capture was left: %v", err)
	}
}

// TestDemoMemory runs the demo as it is without root.
func TestDemoMemory(t *testing.T) {
	r := run(t, (*exec.Cmd).Start, "demo", "--driver", "mem", "--duration", "300ms", "--tcp-connections", "64", "--udp-sockets", "16", "--json")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	checkDemo(t, r.stdout, "mem", 64, 16)

	r = run(t, (*exec.Cmd).Start, "demo", "--driver", "mem", "--duration", "50ms", "--tcp-connections", "64", "--udp-sockets", "16")
	if r.code != 0 || !strings.Contains(r.stdout, "Every answer was right.") || strings.Count(r.stdout, "memcached tcp") != 2 {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if first, _, _ := strings.Cut(r.stdout, "\n"); !strings.Contains(first, "cable in memory") {
		t.Errorf("first line is %q", first)
	}
}

// checkDemo looks at the demo's report in JSON.
func checkDemo(t *testing.T, stdout, driver string, tcpConns, udpConns int) {
	t.Helper()
	var rep struct {
		Driver string
		OK     bool
		Rows   []struct {
			Workload, Server, Driver string
			Connections              int
			Requests                 uint64
			Rate                     float64  `json:"requests_per_second"`
			P50                      float64  `json:"p50_us"`
			P99                      float64  `json:"p99_us"`
			PerShard                 []uint64 `json:"per_shard"`
			WrongShard               *uint64  `json:"wrong_shard"`
			Errors                   uint64
		}
	}
	if err := json.Unmarshal([]byte(stdout), &rep); err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	if !rep.OK || rep.Driver != driver || len(rep.Rows) != 8 {
		t.Errorf("report is %s", stdout)
	}
	seen := make(map[string]bool)
	for _, r := range rep.Rows {
		name := r.Workload + " on " + r.Server
		seen[name] = true
		conns := tcpConns
		if strings.HasSuffix(r.Workload, "udp") {
			conns = udpConns
		}
		if r.Connections != conns || r.Requests < uint64(conns) || r.Rate <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Errors != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		if r.Server != "shardnet" {
			continue
		}
		sum := uint64(0)
		for _, n := range r.PerShard {
			sum += n
		}
		switch {
		case len(r.PerShard) != 2 || r.PerShard[0] == 0 || r.PerShard[1] == 0:
			t.Errorf("%s: per shard %v", name, r.PerShard)
		case conns == tcpConns && (sum != uint64(conns) || r.WrongShard == nil):
			t.Errorf("%s: per shard %v of %d connections, wrong shard %v", name, r.PerShard, conns, r.WrongShard)
		}
	}
	for _, app := range []string{"echo", "memcached"} {
		for _, proto := range []string{"tcp", "udp"} {
			for _, server := range []string{"shardnet", "kernel"} {
				if name := app + " " + proto + " on " + server; !seen[name] {
					t.Errorf("no row %s", name)
				}
			}
		}
	}
}
