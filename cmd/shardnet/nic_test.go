//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"shardnet/driver/netlab"
	"shardnet/test/testutil"
)

// The addresses of a test's network: the client's, the server's kernel's, and the
// stack's.
var (
	clientAddrs = []netip.Prefix{netip.MustParsePrefix("198.18.0.1/24"), netip.MustParsePrefix("2001:db8::1/64")}
	hostAddrs   = []netip.Prefix{netip.MustParsePrefix("198.18.0.3/24"), netip.MustParsePrefix("2001:db8::3/64")}
	onStack     = []string{"-a", "198.18.0.2/24", "-a", "2001:db8::2/64"}
)

// pair is a client and a server with two queues, whose interface is named vs.
func pair(t *testing.T) (client, server *netlab.Interface) {
	t.Helper()
	return netlab.Pair(t,
		netlab.End{Addresses: clientAddrs},
		netlab.End{Name: "vs", Addresses: hostAddrs},
		netlab.LinkConfig{Queues: 2})
}

// passAll is an XDP program that passes everything.
func passAll(t *testing.T) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Apache-2.0",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()}, // XDP_PASS
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// TestBadInputNIC makes mistakes about an interface.
func TestBadInputNIC(t *testing.T) {
	_, vs := pair(t)
	for _, driver := range []string{"afxdp", "asavie"} {
		for _, tc := range []struct {
			name string
			args []string
			want []string
		}{
			{"no such interface", []string{"-i", "nope", "-a", "198.18.0.2/24"}, []string{"no such interface", `"nope"`}},
			{"name too long", []string{"-i", strings.Repeat("v", 20), "-a", "198.18.0.2/24"}, []string{"no such interface"}},
			{"not Ethernet", []string{"-i", "lo", "-a", "198.18.0.2/24"}, []string{"lo", "Ethernet"}},
			{"more shards than queues", []string{"-i", "vs", "-a", "198.18.0.2/24", "--shards", "3"}, []string{"3", "vs", "2"}},
			{"host's own address", []string{"-i", "vs", "-a", "198.18.0.3/24"}, []string{"198.18.0.3", "host"}},
			{"host's own IPv6 address", []string{"-i", "vs", "-a", "198.18.0.2/24", "-a", "2001:db8::3/64"}, []string{"2001:db8::3", "host"}},
			{"gateway elsewhere", []string{"-i", "vs", "-a", "198.18.0.2/24", "--gateway", "198.18.1.1"}, []string{"198.18.1.1", "subnet"}},
			{"CPU that is not", []string{"-i", "vs", "-a", "198.18.0.2/24", "--cpus", "0,4095"}, []string{"4095"}},
			{"capture in no folder", []string{"-i", "vs", "-a", "198.18.0.2/24", "--pcap", "/nonexistent/x"}, []string{"/nonexistent/x"}},
		} {
			t.Run(driver+"/"+tc.name, func(t *testing.T) {
				run(t, vs.Host.Start, append([]string{"echo", "--driver", driver}, tc.args...)...).checkComplaint(t, tc.want...)
				checkNoProgram(t, vs)
			})
		}
	}
	t.Run("zero-copy where there is none", func(t *testing.T) {
		run(t, vs.Host.Start, "echo", "-i", "vs", "-a", "198.18.0.2/24", "--mode", "zero-copy").checkComplaint(t, "zero-copy", "vs")
		checkNoProgram(t, vs)
	})
}

// checkNoProgram wants no XDP program on the interface: what fails leaves nothing
// behind.
func checkNoProgram(t *testing.T, i *netlab.Interface) {
	t.Helper()
	if id := programID(t, i); id != 0 {
		t.Errorf("XDP program %d is left on %s", id, i.Name)
	}
}

func programID(t *testing.T, i *netlab.Interface) uint32 {
	t.Helper()
	l, err := i.Host.Netlink().LinkByName(i.Name)
	if err != nil {
		t.Fatal(err)
	}
	if x := l.Attrs().Xdp; x != nil && x.Attached {
		return x.ProgId
	}
	return 0
}

// TestNoPrivilege runs as nobody.
func TestNoPrivilege(t *testing.T) {
	_, vs := pair(t)
	for _, driver := range []string{"afxdp", "asavie"} {
		t.Run(driver, func(t *testing.T) {
			cmd := exec.Command(program, "echo", "--driver", driver, "-i", "vs", "-a", "198.18.0.2/24")
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			runCmd(t, cmd, vs.Host.Start).checkComplaint(t, "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "root")
		})
	}
}

// TestProgramInPlace leaves another's XDP program alone.
func TestProgramInPlace(t *testing.T) {
	_, vs := pair(t)
	p := passAll(t)
	var l link.Link
	if err := vs.Host.Do(func() (err error) {
		l, err = link.AttachXDP(link.XDPOptions{Program: p, Interface: vs.Index})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	before := programID(t, vs)
	if before == 0 {
		t.Fatal("the program in place is not seen")
	}
	for _, driver := range []string{"afxdp", "asavie"} {
		run(t, vs.Host.Start, "echo", "--driver", driver, "-i", "vs", "-a", "198.18.0.2/24").
			checkComplaint(t, "another XDP program", "vs", fmt.Sprint(before))
	}
	if after := programID(t, vs); after != before {
		t.Errorf("program is %d, was %d", after, before)
	}
}

// background is a server that runs until it is told to stop.
type background struct {
	cmd    *exec.Cmd
	start  string // its start-up line
	waited chan error

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// serve starts the command on a host and returns once it serves.
func serve(t *testing.T, h *netlab.Host, args ...string) *background {
	t.Helper()
	b := &background{cmd: exec.Command(program, args...), waited: make(chan error, 1)}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b.cmd.Stdout, b.cmd.Stderr = w, &b.stderr
	if err := h.Start(b.cmd); err != nil {
		t.Fatal(err)
	}
	w.Close()
	first := make(chan string, 1)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		in := bufio.NewReader(r)
		line, _ := in.ReadString('\n')
		first <- line
		rest, _ := io.ReadAll(in)
		b.mu.Lock()
		b.stdout.Write(rest)
		b.mu.Unlock()
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		err := b.cmd.Wait()
		<-read
		b.waited <- err
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-ended // the next test finds no XDP program of this one
	})
	select {
	case b.start = <-first:
		if !strings.HasPrefix(b.start, "serving ") && !strings.HasPrefix(b.start, `{"event":"serving"`) {
			<-b.waited
			t.Fatalf("%q: says %q: %s", args, b.start, b.stderr.String())
		}
	case <-time.After(runTimeout):
		t.Fatalf("%q does not serve after %v", args, runTimeout)
	}
	return b
}

// stop sends a signal and returns what the server said at the end.
func (b *background) stop(t *testing.T, s os.Signal) string {
	t.Helper()
	if err := b.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
	if err := b.wait(t); err != nil {
		t.Errorf("ends with %v: %s", err, b.stderr.String())
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stdout.String()
}

func (b *background) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-b.waited:
		return err
	case <-time.After(runTimeout):
		t.Fatalf("still runs after %v", runTimeout)
		return nil
	}
}

// hostRun runs a program on a host and returns what it prints.
func hostRun(t *testing.T, h *netlab.Host, stdin, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs the %s command, as a client that nobody here wrote", name)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	r := runCmd(t, cmd, h.Start)
	if r.code != 0 {
		t.Errorf("%s %q: exit code %d: %s%s", name, args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// TestByHand does what the README tells its reader to do.
func TestByHand(t *testing.T) {
	client, vs := pair(t)
	for _, tc := range []struct{ driver, api, tcp, says string }{
		{"afxdp", "handler", "netstack", " tcp=netstack netstack-tcp=inline"},
		{"asavie", "conn", "netstack", " tcp=netstack netstack-tcp=inline"},
		{"afxdp", "handler", "fast", " tcp=fast"},
		{"afxdp", "conn", "fast", " tcp=fast"},
		{"asavie", "handler", "fast", " tcp=fast"},
	} {
		t.Run(tc.driver+"/"+tc.api+"/"+tc.tcp, func(t *testing.T) {
			b := serve(t, vs.Host, append([]string{"echo", "-i", "vs", "--driver", tc.driver, "--api", tc.api, "--tcp", tc.tcp}, onStack...)...)
			for _, want := range []string{"driver=" + tc.driver, "interface=vs", "queues=2", "shards=2", "steering=", "api=" + tc.api, tc.says, "198.18.0.2:7", "[2001:db8::2]:7"} {
				if !strings.Contains(b.start, want) {
					t.Errorf("start-up line lacks %q: %s", want, b.start)
				}
			}
			for _, addr := range []string{"198.18.0.2", "2001:db8::2"} {
				if out := hostRun(t, client.Host, "", "ping", "-n", "-c", "3", "-i", "0.2", "-W", "5", addr); !strings.Contains(out, " 0% packet loss") {
					t.Errorf("ping: %s", out)
				}
				if out := hostRun(t, client.Host, "hello\n", "nc", "-N", "-w", "5", addr, "7"); out != "hello\n" {
					t.Errorf("nc over TCP: %q", out)
				}
				if out := hostRun(t, client.Host, "hello\n", "nc", "-u", "-w", "1", addr, "7"); out != "hello\n" {
					t.Errorf("nc over UDP: %q", out)
				}
				host := addr
				if strings.Contains(addr, ":") {
					host = "[" + addr + "]"
				}
				if out := hostRun(t, client.Host, "", "curl", "-sS", "-m", "5", "-X", "HTTP/1.1 200 OK", "-d", "hello from curl", "http://"+host+":7/"); out != "hello from curl" {
					t.Errorf("curl: %q", out)
				}
			}
			// What is not the stack's is the kernel's, as before.
			if out := hostRun(t, client.Host, "", "ping", "-n", "-c", "1", "-W", "5", "198.18.0.3"); !strings.Contains(out, " 0% packet loss") {
				t.Errorf("ping of the host's own address: %s", out)
			}
			out := b.stop(t, syscall.SIGTERM)
			for _, want := range []string{"stopped echo after", "connections 4", "shard 0: ", "shard 1: ", "wrong shard "} {
				if !strings.Contains(out, want) {
					t.Errorf("summary lacks %q: %s", want, out)
				}
			}
			checkNoProgram(t, vs)
		})
	}
}

// TestFaultNIC loses every frame of a kernel's client, then every answer to it.
func TestFaultNIC(t *testing.T) {
	for _, driver := range []string{"afxdp", "asavie"} {
		for _, dir := range []string{"rx", "tx"} {
			t.Run(driver+"/"+dir, func(t *testing.T) {
				client, vs := pair(t) // anew, because a client that got no answer asks less often
				b := serve(t, vs.Host, append([]string{"echo", "-i", "vs", "--driver", driver, "--json", "--fault", "drop=100%,dir=" + dir}, onStack...)...)
				if !strings.Contains(b.start, `"faults":"drop=1,dir=`+dir+`,seed=0"`) {
					t.Errorf("start-up line is %s", b.start)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				if c, err := client.Host.Dial(ctx, "tcp", "198.18.0.2:7"); err == nil {
					c.Close()
					t.Error("a connection was made through a network that loses all")
				}
				stop := report(t, b.stop(t, syscall.SIGTERM))["stopped"][0]
				frames, dropped := faultsOf(stop, dir, "frames"), faultsOf(stop, dir, "dropped")
				if frames == 0 || dropped != frames {
					t.Errorf("%v of %v frames dropped", dropped, frames)
				}
				checkNoProgram(t, vs)
			})
		}
	}
}

// onTCPs runs f as a subtest for each of the command's --tcp.
func onTCPs(t *testing.T, f func(t *testing.T, tcp string)) {
	for _, tcp := range []string{"netstack", "fast"} {
		t.Run(tcp, func(t *testing.T) { f(t, tcp) })
	}
}

// TestTaken has a second server ask for what the first one has.
func TestTaken(t *testing.T) {
	_, vs := pair(t)
	b := serve(t, vs.Host, append([]string{"echo", "-i", "vs"}, onStack...)...)
	for _, driver := range []string{"afxdp", "asavie"} {
		run(t, vs.Host.Start, "memcached", "--driver", driver, "-i", "vs", "-a", "198.18.0.9/24").checkComplaint(t, "vs")
	}
	b.stop(t, os.Interrupt)
	checkNoProgram(t, vs)
}

// TestSecondSignal does not wait for a peer that is gone.
func TestSecondSignal(t *testing.T) { onTCPs(t, testSecondSignal) }

func testSecondSignal(t *testing.T, tcp string) {
	client, vs := pair(t)
	b := serve(t, vs.Host, append([]string{"echo", "-i", "vs", "--tcp", tcp}, onStack...)...)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c, err := client.Host.Dial(ctx, "tcp", "198.18.0.2:7")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	// The client's end of the connection never closes, so neither does the server's.
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("read until the server closes: %v", err)
	}
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = b.wait(t)
	if code := b.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("takes %v to end", d)
	}
	if !strings.Contains(b.stderr.String(), "not waiting") {
		t.Errorf("says %q", b.stderr.String())
	}
	checkNoProgramSoon(t, vs)
}

// checkNoProgramSoon gives the kernel time to clean up after a process.
func checkNoProgramSoon(t *testing.T, i *netlab.Interface) {
	t.Helper()
	testutil.Eventually(t, "the XDP program ends with its process", func() bool { return programID(t, i) == 0 })
}

// TestInterfaceRemoved: a server whose interface goes away says so and ends.
func TestInterfaceRemoved(t *testing.T) {
	for _, driver := range []string{"afxdp", "asavie"} {
		t.Run(driver, func(t *testing.T) {
			client, vs := pair(t)
			b := serve(t, vs.Host, append([]string{"echo", "-i", "vs", "--driver", driver}, onStack...)...)
			if err := client.Delete(); err != nil {
				t.Fatal(err)
			}
			_ = b.wait(t)
			if code := b.cmd.ProcessState.ExitCode(); code != 1 {
				t.Errorf("exit code %d, want 1", code)
			}
			if said := b.stderr.String(); !strings.Contains(said, "shardnet: ") || !strings.Contains(said, "gone") || strings.Contains(said, "goroutine ") {
				t.Errorf("says %q", said)
			}
		})
	}
}

// TestIdle: a server that nobody asks uses under 1 % of a CPU.
func TestIdle(t *testing.T) { onTCPs(t, testIdle) }

func testIdle(t *testing.T, tcp string) {
	client, vs := pair(t)
	b := serve(t, vs.Host, append([]string{"echo", "-i", "vs", "--tcp", tcp}, onStack...)...)
	hostRun(t, client.Host, "hello\n", "nc", "-N", "-w", "5", "198.18.0.2", "7") // it was busy once
	const span = 3 * time.Second
	before, at := cpuTime(t, b.cmd.Process.Pid), time.Now()
	time.Sleep(span) // the time over which is measured
	used, over := cpuTime(t, b.cmd.Process.Pid)-before, time.Since(at)
	if share := float64(used) / float64(over); share > 0.01 {
		t.Errorf("idle server used %v of %v: %.1f %% of a CPU", used, over, 100*share)
	}
	b.stop(t, syscall.SIGTERM)
}

// cpuTime is the CPU time a process has used, from /proc/pid/stat, in ticks of
// 10 ms.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	fields := strings.Fields(string(rest))
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
