package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/cmd/shardnet/internal/report"
)

// TestWorkloads: names are unique, each workload has servers, and every goal is
// about one of them.
func TestWorkloads(t *testing.T) {
	seen := make(map[string]bool)
	ws := workloads(&Config{})
	for _, w := range ws {
		if id := w.id(); seen[id] {
			t.Errorf("%s is there twice", id)
		} else {
			seen[id] = true
		}
		if len(w.kinds(&Config{})) == 0 || w.unit == "" {
			t.Errorf("%s: servers %v, unit %q", w.id(), w.servers, w.unit)
		}
	}
	for _, goal := range report.Targets() {
		about := slices.ContainsFunc(ws, func(w *workload) bool {
			for k, v := range goal.Params {
				if w.params[k] != v {
					return false
				}
			}
			return w.name == goal.Workload && slices.Contains(w.servers.asked, goal.Server)
		})
		if !about {
			t.Errorf("no workload is what the goal %+v is about", goal)
		}
	}
}

func TestSelect(t *testing.T) {
	for _, tc := range []struct {
		run  string
		want int
	}{
		{"udp-echo", 1}, {"tcp-rr", 3}, {"tcp-rr/conns=64", 1}, {"tcp-*", 4}, {"tcp-*/conns=64", 2}, {"udp-ech", 0}, {"*/*mtu=9000*", 4},
	} {
		if got := selected(&Config{Run: []string{tc.run}}); len(got) != tc.want {
			t.Errorf("%q selects %d workloads, want %d", tc.run, len(got), tc.want)
		}
	}
	cfg := &Config{Run: []string{"udp-echo"}, Servers: []string{"k*"}, Peers: []Peer{{Name: "kestrel", App: "echo"}, {Name: "kmem", App: "memcached"}}}
	if got := selected(cfg)[0].kinds(cfg); !slices.Equal(got, []string{Kernel, KernelNoRPS, "kestrel"}) {
		t.Errorf("servers %v", got)
	}
}

func TestCommand(t *testing.T) {
	b := &bench{cfg: &Config{Peers: []Peer{{Name: "x", App: "echo", Command: []string{"srv", "--on={addr}:{port}"}}}}}
	cfg, err := b.serverConfig(&workload{app: "echo"}, "x")
	if err != nil || !slices.Equal(cfg.Command, []string{"srv", "--on=198.18.0.3:7777"}) {
		t.Errorf("command %q: %v", cfg.Command, err)
	}
	if _, err := b.serverConfig(&workload{app: "echo", work: rawload.Work{Conns: 1 << 31}}, Kernel); err == nil {
		t.Error("more connections than there can be sockets")
	}
}

// TestKinds: what tells nothing new is asked only when it is named.
func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		run     string
		servers []string
		mem     bool
		want    string
	}{
		{"bulk-send/mtu=1500", nil, false, "handler handler-fast conn-fast kernel kernel-offload"},
		{"bulk-send/mtu=1500", []string{"netstack", "kernel"}, false, "kernel netstack"},
		{"bulk-send/mtu=1500", []string{"*"}, true, "handler handler-fast conn-fast conn netstack"},
		{"tcp-rr/conns=64", []string{"*-fast"}, false, "handler-fast conn-fast"},
		{"udp-echo", []string{"*-fast"}, false, ""}, // UDP is netstack's either way
		{"idle/conns=1000000", nil, false, "handler-fast"},
		{"idle/conns=1000000", []string{"conn*"}, false, "conn conn-fast"},
	} {
		cfg := &Config{Run: []string{tc.run}, Servers: tc.servers, Memory: tc.mem}
		if got := strings.Join(selected(cfg)[0].kinds(cfg), " "); got != tc.want {
			t.Errorf("%s of %v: servers %q, want %q", tc.run, tc.servers, got, tc.want)
		}
	}
}

// TestServerMemory: a million connections have the memory to be promised theirs.
func TestServerMemory(t *testing.T) {
	b := &bench{cfg: &Config{}}
	for conns, least := range map[int]int64{10_000: 0, 1_000_000: 8 << 30} {
		cfg, err := b.serverConfig(&workload{app: "echo", work: rawload.Work{Kind: rawload.Idle, Conns: conns}}, HandlerFast)
		if err != nil || cfg.TCPMemory < least || least == 0 && cfg.TCPMemory != 0 {
			t.Errorf("%d connections: %d bytes, want %d: %v", conns, cfg.TCPMemory, least, err)
		}
	}
}

// TestRun measures on a cable in memory, and fills in every field there can be.
func TestRun(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := &Config{
		Program: program,
		Run:     []string{"udp-echo", "bulk-*/flows=1"}, Servers: []string{Handler, Conn}, MTUs: []int{1500},
		Repeat: 2, Duration: 100 * time.Millisecond, Memory: true, Log: io.Discard, Profiles: t.TempDir(),
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) != 6 || len(r.Notes) != 0 {
		t.Fatalf("%d cells, notes %q", len(r.Cells), r.Notes)
	}
	for _, c := range r.Cells {
		if len(c.Runs) != 2 || c.Min(func(r report.Run) float64 { return r.Rate }) <= 0 {
			t.Errorf("%s on %s: %+v", c.Workload, c.Server, c.Runs)
		}
	}
	profiles, _ := filepath.Glob(cfg.Profiles + "/*.prof")
	if len(profiles) != 6 || len(r.Profiles) != 6 {
		t.Fatalf("profiles %q, %d in the report", profiles, len(r.Profiles))
	}
	if p := r.Profiles[0]; !strings.HasPrefix(p.Name, "udp-echo/") || !strings.Contains(p.Text, "flat%") {
		t.Errorf("profile %s:\n%s", p.Name, p.Text)
	}
	if runtime.GOOS == "linux" && r.Environment.Memory < 64<<20 {
		t.Errorf("the machine has %d bytes", r.Environment.Memory)
	}
	if r.Environment.Driver != "mem" || r.Environment.Mode != "memory" {
		t.Errorf("environment %+v", r.Environment)
	}
}

// TestTransports: each server is on the TCP that its name says.
func TestTransports(t *testing.T) {
	cfg := &Config{Run: []string{"tcp-rr/conns=64"}, Servers: []string{"handler*", "conn*"}, Repeat: 1, Duration: 100 * time.Millisecond, Memory: true, Log: io.Discard}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) != 4 {
		t.Fatalf("%d cells: %q", len(r.Cells), r.Notes)
	}
	for _, c := range r.Cells {
		fast := c.Runs[0].Extra["tcp-bypassed-per-request"]
		if want := strings.HasSuffix(c.Server, "-fast"); want != (fast > 0) {
			t.Errorf("%s: our own TCP had %v segments a request", c.Server, fast)
		}
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	cfg := &Config{Run: []string{"udp-echo"}, Servers: []string{Handler}, Repeat: 1, Duration: time.Minute, Memory: true, Log: io.Discard}
	if _, err := Run(ctx, cfg); err == nil || err.Error() != "interrupted" {
		t.Errorf("error %v", err)
	}
}

// TestWrongAnswerFails has one of two generators see a wrong answer.
func TestWrongAnswerFails(t *testing.T) {
	w := &workload{name: "x", unit: requestsPerSecond}
	right := &rawload.Result{Elapsed: time.Second, Requests: 100}
	wrong := &rawload.Result{Elapsed: time.Second, Requests: 50, Wrong: 1, Lost: 2, Failed: 3, Resets: 4, FirstWrong: "a seven for a nine"}
	b := &bench{cfg: &Config{}}
	b.judge(w, Handler, []*rawload.Result{right, wrong})
	if !errors.Is(b.wrong, ErrWrong) || !strings.Contains(b.wrong.Error(), "x on handler: a seven for a nine") {
		t.Errorf("error %v", b.wrong)
	}
	run := newRun(w, []*rawload.Result{right, wrong})
	if run.Rate != 150 || run.Wrong != 1 || run.Lost != 2 || run.Failed != 7 {
		t.Errorf("run %+v", run)
	}
}

// TestControl tells a server all there is to tell.
func TestControl(t *testing.T) {
	closed := false
	srv := &running{mode: "m", pid: os.Getpid(), counters: func() map[string]uint64 { return map[string]uint64{"x": 7} }, close: func() error { closed = true; return nil }}
	var out bytes.Buffer
	profile := filepath.Join(t.TempDir(), "p")
	in := strings.NewReader("stats\nnonsense\nsettle\nprofile " + profile + "\nquit\nstats\n")
	if err := control(t.Context(), srv, in, &out); err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(&out)
	var r ready
	if err := dec.Decode(&r); err != nil || r != (ready{Mode: "m", PID: os.Getpid()}) {
		t.Errorf("ready %+v: %v", r, err)
	}
	for i, wantErr := range []string{"", `"nonsense"`, "", "", ""} {
		var s stats
		if err := dec.Decode(&s); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if s.CPU == 0 || s.Mallocs == 0 || s.Heap == 0 {
			t.Errorf("answer %d has no figures: %+v", i, s)
		}
		if s.Counters["x"] != 7 || wantErr == "" && s.Err != "" || !strings.Contains(s.Err, wantErr) {
			t.Errorf("answer %d: %+v", i, s)
		}
	}
	if dec.More() {
		t.Error("answers after quit")
	}
	if closed {
		t.Error("closed by control, and not by its caller")
	}
}

// TestControlEndsWithInput: without a word more, as when the parent was killed.
func TestControlEndsWithInput(t *testing.T) {
	if err := control(t.Context(), &running{}, strings.NewReader(""), io.Discard); err != nil {
		t.Error(err)
	}
	failed := make(chan error, 1)
	failed <- errors.New("fell over")
	r, w := io.Pipe()
	defer w.Close()
	if err := control(t.Context(), &running{failed: failed}, r, io.Discard); err == nil || err.Error() != "fell over" {
		t.Errorf("error %v", err)
	}
}

// TestKernelServer serves each app on the kernel's sockets, and ends them with
// connections open.
func TestKernelServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	for name, exchange := range map[string][2]string{
		"echo":      {"hello", "hello"},
		"memcached": {"get x\r\n", "END\r\n"},
		"source":    {"", " !\"#$%&'()*+"},
		"sink":      {"x", ""},
	} {
		srv, err := startServer(t.Context(), &ServerConfig{Server: Kernel, App: name, Address: netip.MustParsePrefix("127.0.0.1/8"), Port: port}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(c, exchange[0]); err != nil {
			t.Error(err)
		}
		got := make([]byte, len(exchange[1]))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != exchange[1] {
			t.Errorf("%s answers %q: %v", name, got, err)
		}
		if err := srv.close(); err != nil {
			t.Errorf("close %s: %v", name, err)
		}
		c.Close()
	}
}

// TestCores has two shards serve, each on a cable of its own.
func TestCores(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	cfg := &Config{Log: io.Discard, Duration: 100 * time.Millisecond}
	m, err := newCores(cfg, defaultMTU, 2)
	if err != nil {
		t.Skipf("needs two CPUs: %v", err)
	}
	b := &bench{cfg: cfg, place: m}
	run, err := b.measure(t.Context(), &workload{name: "x", app: "echo", unit: requestsPerSecond, shards: 2,
		work: rawload.Work{Kind: rawload.TCPEcho, Conns: 8}}, Handler, 0)
	if err != nil {
		t.Fatal(err)
	}
	if run.Rate == 0 || run.Extra["server-wrong-shard"] != 0 {
		t.Errorf("run %+v", run)
	}
	if err := m.close(); err != nil || runtime.GOMAXPROCS(0) != before {
		t.Errorf("close: %v, GOMAXPROCS %d, was %d", err, runtime.GOMAXPROCS(0), before)
	}
	if _, err := newCores(cfg, defaultMTU, 1<<16); err == nil {
		t.Error("more shards than CPUs")
	}
}
