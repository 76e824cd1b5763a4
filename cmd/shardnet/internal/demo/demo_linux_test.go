package demo

import (
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/cmd/shardnet/internal/runner"
)

func TestTable(t *testing.T) {
	got := table([][]string{{"name", "p50"}, {"a", "12 µs"}, {"longer", "1 ms"}}, 1)
	want := "name      p50\na       12 µs\nlonger   1 ms\n"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestRowVerify: a shard that had nothing to do is wrong, though every answer was
// right.
func TestRowVerify(t *testing.T) {
	sum := func(n ...uint64) *runner.Summary {
		var s runner.Summary
		for _, c := range n {
			s.Shards = append(s.Shards, runner.ShardCounters{Connections: c, Datagrams: 2 * c, WrongShard: 1})
		}
		return &s
	}
	for _, tc := range []struct {
		name string
		row  Row
		w    load.Workload
		sum  *runner.Summary
		want string
	}{
		{"good", Row{Server: "shardnet"}, load.EchoTCP, sum(3, 4), ""},
		{"good, UDP", Row{Server: "shardnet"}, load.EchoUDP, sum(3, 4), ""},
		{"idle shard", Row{Server: "shardnet"}, load.EchoTCP, sum(3, 0), "shard 1 got nothing"},
		{"one shard", Row{Server: "shardnet"}, load.EchoTCP, sum(3), "served on 1 shards"},
		{"kernel", Row{Server: "kernel"}, load.EchoTCP, sum(3, 0), ""},
		{"errors are told elsewhere", Row{Server: "shardnet", Errors: 1}, load.EchoTCP, sum(0, 0), ""},
	} {
		tc.row.count(tc.w, tc.sum)
		err := tc.row.verify()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
		if ours := tc.row.Server == "shardnet" && tc.w.Network == "tcp"; (tc.row.WrongShard != nil) != ours {
			t.Errorf("%s: wrong shard %v", tc.name, tc.row.WrongShard)
		}
	}
}

// TestServerEnds: what a server says before it ends early is the error.
func TestServerEnds(t *testing.T) {
	for _, tc := range []struct{ name, script, want string }{
		{"complaint", "echo note >&2; echo 'shardnet: no such interface' >&2; exit 1", "no such interface"},
		{"silence", "exit 0", "ended before"},
		{"another event", `echo '{"event":"stopped"}'; cat`, "is stopped, not serving"},
		{"crash", "kill -9 $$", "killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", tc.script)
			var log strings.Builder
			said := &complaint{log: &log}
			cmd.Stderr = said
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			r, w := io.Pipe()
			cmd.Stdout = w
			cmd.WaitDelay = waitDelay
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			s := newProcess(cmd, said, stdin, r, w)
			defer s.kill()
			_, err = s.started()
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if tc.name == "complaint" && log.String() != "note\n" {
				t.Errorf("log is %q", log.String())
			}
		})
	}
}

// TestServerHangs: a server that says nothing is not waited for without end.
func TestServerHangs(t *testing.T) {
	s := &server{events: make(chan event), timeout: 20 * time.Millisecond}
	if _, err := s.started(); err == nil || !strings.Contains(err.Error(), "20ms") {
		t.Errorf("%v", err)
	}
}
