package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// A serverProcess is a stack in a process of its own, on one CPU, whose CPU time
// can be told from the clients'.
type serverProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// startServer runs this test binary as a server: see serveChild for the kinds.
func (l *lan) startServer(t testing.TB, kind string) *serverProcess {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := l.server.Host.Command(self)
	cmd.Env = append(os.Environ(), "SHARDNET_E2E_SERVE="+l.server.Name, "SHARDNET_E2E_KIND="+kind)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.server.Host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	p := &serverProcess{cmd, in, bufio.NewReader(out)}
	if line, err := p.out.ReadString('\n'); line != "serving\n" {
		t.Fatalf("server says %q, %v", line, err)
	}
	return p
}

// ask sends a line to the server and returns its answer.
func (p *serverProcess) ask(t testing.TB, what string) string {
	t.Helper()
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		t.Fatal(err)
	}
	line, err := p.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func (p *serverProcess) stop(t testing.TB) {
	t.Helper()
	p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("server: %v", err)
	}
}

// cpu is the CPU time the process has used, in the clock ticks of /proc.
func (p *serverProcess) cpu(t testing.TB) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	// Fields 14 and 15, counted from behind the command's name; USER_HZ is 100.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// serveChild serves echo on port 7 until standard input ends. The kind names, in
// words: "tasks" (served on the shard's loop) or "conns" (a goroutine a
// connection), "fast" TCP or "netstack", "pinned".
func serveChild(iface, kind string) error {
	runtime.GOMAXPROCS(1)
	cfg := stackConfig()
	cfg.Transport = flow.TransportNetstack
	switch {
	case strings.Contains(kind, "fast"):
		cfg.Transport = flow.TransportFast
	}
	if strings.Contains(kind, "pinned") {
		cfg.CPUs = []int{0}
	}
	st, err := openHere(iface, cfg)
	if err != nil {
		return err
	}
	if strings.Contains(kind, "tasks") {
		for i := range st.Shards() {
			if err := serveTasks(st.Shard(i), 7); err != nil {
				return err
			}
		}
	} else {
		serveEcho(exitTB{}, st, 7)
	}
	fmt.Println("serving")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "goroutines":
			fmt.Println(dataPathGoroutines())
		case "stats":
			fmt.Printf("%+v\n", st.Stats())
		}
	}
	return st.Close()
}

// dataPathGoroutines counts the goroutines that run the stack or serve its
// connections. Netstack's parked TCP processors, which wait to be resumed, run
// nothing.
func dataPathGoroutines() int {
	n := 0
	for _, g := range strings.Split(string(testutil.Stacks()), "\n\n") {
		parked := strings.Contains(g, "(*processor).start") && strings.Contains(g, "[chan receive")
		own := strings.Contains(g, "dataPathGoroutines") || strings.Contains(g, "ServeUDP") || strings.Contains(g, ".ServeTCP(")
		if !parked && !own && (strings.Contains(g, "shardnet/") || strings.Contains(g, "gvisor.dev/")) {
			n++
		}
	}
	return n
}

// serveTasks echoes on the shard's loop, without a goroutine a connection.
func serveTasks(sh *stack.Shard, port uint16) error {
	l, err := sh.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), flow.SocketOptions{})
	if err != nil {
		return err
	}
	l.Serve(&acceptTask{l: l})
	return nil
}

type acceptTask struct{ l flow.Listener }

func (a *acceptTask) RunOnShard() {
	for {
		f, err := a.l.Accept()
		if err != nil {
			return
		}
		f.Serve(&echoTask{f: f, buf: make([]byte, 2048)})
	}
}

type echoTask struct {
	f   flow.Flow
	buf []byte
}

func (e *echoTask) RunOnShard() {
	for {
		n, err := e.f.Read(e.buf)
		if err == flow.ErrWouldBlock {
			return
		}
		if err == nil {
			_, err = e.f.Write(e.buf[:n])
		}
		if err != nil {
			e.f.Close()
			return
		}
	}
}

// requests has conns connections each ask per times, and returns how long all of
// it took.
func (l *lan) requests(t testing.TB, conns, per int, between func()) time.Duration {
	t.Helper()
	var cs []net.Conn
	for range conns {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := l.kernel.Dial(ctx, "tcp", netip.AddrPortFrom(ours4, 7).String())
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		if err := ask(c, make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		cs = append(cs, c)
	}
	between()
	var wg sync.WaitGroup
	start := time.Now()
	for _, c := range cs {
		wg.Go(func() {
			for range per {
				if err := ask(c, make([]byte, 64)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// The event loop runs the whole data path on one goroutine a shard.
func TestOneGoroutineOnTheDataPath(t *testing.T) {
	l := newLAN(t, 1)
	for kind, want := range map[string]func(n int) bool{
		"tasks fast pinned":     func(n int) bool { return n == 1 },
		"conns fast":            func(n int) bool { return n >= 64 },
		"tasks netstack pinned": func(n int) bool { return n == 1 },
		"conns netstack":        func(n int) bool { return n >= 64 },
	} {
		p := l.startServer(t, kind)
		l.requests(t, 64, 20, func() {
			if n, _ := strconv.Atoi(p.ask(t, "goroutines")); !want(n) {
				t.Errorf("%s: %d goroutines on the data path of 64 connections", kind, n)
			}
		})
		p.stop(t)
	}
}

// BenchmarkRequestCost is what a TCP request and its response, 64 bytes each, on
// 64 connections of kernel clients, cost the server's process: run to completion
// on the loop, pinned and not, beside a goroutine a connection, on both TCPs. The kinds take turns; each figure is a median.
func BenchmarkRequestCost(b *testing.B) {
	kinds := []string{"tasks fast pinned", "tasks fast", "conns fast", "tasks netstack pinned", "tasks netstack", "conns netstack"}
	const conns, rounds = 64, 5
	per := max(b.N/conns, 2000)
	l := newLAN(b, 1)
	cost := map[string][]float64{}
	rate := map[string][]float64{}
	for range rounds {
		for _, kind := range kinds {
			p := l.startServer(b, kind)
			var before time.Duration
			took := l.requests(b, conns, per, func() { before = p.cpu(b) })
			n := float64(conns * per)
			cost[kind] = append(cost[kind], float64((p.cpu(b)-before).Nanoseconds())/n)
			rate[kind] = append(rate[kind], n/took.Seconds())
			p.stop(b)
		}
	}
	for _, kind := range kinds {
		name := strings.ReplaceAll(kind, " ", "-")
		b.ReportMetric(median(cost[kind]), name+"-ns/req")
		b.Logf("%-20s %6.0f ns/req  %7.0f req/s", kind, median(cost[kind]), median(rate[kind]))
	}
	b.ReportMetric(0, "ns/op")
}

func median(v []float64) float64 {
	v = append([]float64(nil), v...)
	sort.Float64s(v)
	return v[len(v)/2]
}
