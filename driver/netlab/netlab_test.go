//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestPairCarriesTraffic(t *testing.T) {
	a, b := Pair(t,
		End{Addresses: []netip.Prefix{prefix("198.18.0.1/24"), prefix("2001:db8::1/64")}},
		End{Addresses: []netip.Prefix{prefix("198.18.0.2/24"), prefix("2001:db8::2/64")}, NoTxChecksum: true},
		LinkConfig{Queues: 2, MTU: 1400})
	for _, addr := range []string{"198.18.0.2:7", "[2001:db8::2]:7"} {
		ln, err := b.Host.Listen("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			c.Close()
		}()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		c, err := a.Host.Dial(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.WriteString(c, "hello"); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
			t.Fatalf("echo over %s: %q, %v", addr, got, err)
		}
		c.Close()
	}
	link, err := a.Host.Netlink().LinkByName(a.Name)
	if err != nil {
		t.Fatal(err)
	}
	if at := link.Attrs(); at.MTU != 1400 || at.NumTxQueues != 2 || at.NumRxQueues != 2 {
		t.Errorf("mtu %d, %d tx queues, %d rx queues", at.MTU, at.NumTxQueues, at.NumRxQueues)
	}
}

func TestSetOffload(t *testing.T) {
	a, _ := Pair(t, End{}, End{}, LinkConfig{})
	features := func() string {
		t.Helper()
		cmd := a.Host.Command("ethtool", "-k", a.Name)
		var out strings.Builder
		cmd.Stdout = &out
		if err := a.Host.Run(cmd); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if _, err := exec.LookPath("ethtool"); err != nil {
		t.Skip("needs the ethtool command, as the second opinion on what was set")
	}
	if !strings.Contains(features(), "tx-checksumming: on") {
		t.Fatalf("veth without TX checksum offload to begin with:\n%s", features())
	}
	for o, name := range map[Offload]string{TxChecksum: "tx-checksumming", GSO: "generic-segmentation-offload", GRO: "generic-receive-offload"} {
		for _, on := range []bool{false, true, false} {
			if err := a.SetOffload(o, on); err != nil {
				t.Fatal(err)
			}
			want := name + ": " + map[bool]string{true: "on", false: "off"}[on]
			if got := features(); !strings.Contains(got, want) {
				t.Errorf("want %q in\n%s", want, got)
			}
		}
	}
}

func currentNS(t *testing.T) string {
	t.Helper()
	ns, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	return ns.UniqueId()
}

func TestDoEntersAndRestores(t *testing.T) {
	lab := Test(t)
	h, err := lab.AddHost("x")
	if err != nil {
		t.Fatal(err)
	}
	home := currentNS(t)
	want := errors.New("what fn returned")
	var inside string
	err = h.Do(func() error {
		ns, err := netns.Get()
		if err != nil {
			return err
		}
		inside = ns.UniqueId()
		ns.Close()
		return want
	})
	if err != want {
		t.Errorf("Do returned %v", err)
	}
	if inside == home || inside != h.ns.UniqueId() {
		t.Errorf("fn ran in %s, home is %s, the host is %s", inside, home, h.ns.UniqueId())
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		_ = h.Do(func() error { runtime.Goexit(); return nil })
		t.Error("Do returned although fn ended the goroutine")
	}()
	<-ended
	// No thread of the process may be left inside.
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	if err != nil || len(tasks) == 0 {
		t.Fatalf("list threads: %v, %v", tasks, err)
	}
	for _, task := range tasks {
		var st unix.Stat_t
		if unix.Stat(task, &st) != nil {
			continue // ended meanwhile
		}
		if id := fmt.Sprintf("NS(%d:%d)", st.Dev, st.Ino); id == inside {
			t.Errorf("%s is still inside", task)
		}
	}
}

func TestStartedProcessRunsInsideAndDiesWithLab(t *testing.T) {
	lab := Test(t)
	h, err := lab.AddHost("x")
	if err != nil {
		t.Fatal(err)
	}
	cmd := h.Command("sleep", "60")
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ns, err := netns.GetFromPid(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if ns.UniqueId() != h.ns.UniqueId() {
		t.Errorf("process is in %s, host is %s", ns.UniqueId(), h.ns.UniqueId())
	}
	ns.Close()
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.Exited() {
		t.Errorf("process ended by itself: %v", cmd.ProcessState)
	}
}

func TestCloseRemovesEverything(t *testing.T) {
	lab := Test(t)
	var hosts []*Host
	for _, n := range []string{"a", "b"} {
		h, err := lab.AddHost(n)
		if err != nil {
			t.Fatal(err)
		}
		hosts = append(hosts, h)
	}
	if _, _, err := lab.Connect(End{Host: hosts[0]}, End{Host: hosts[1]}, LinkConfig{}); err != nil {
		t.Fatal(err)
	}
	if _, err := lab.AddHost("a"); err == nil {
		t.Error("a second host of the same name was made")
	}
	for range 2 {
		if err := lab.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range hosts {
		if _, err := os.Stat(filepath.Join(nsDir, h.Name())); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", h.Name(), err)
		}
	}
	if _, err := lab.AddHost("c"); err == nil {
		t.Error("a closed lab made a host")
	}
}

// TestSweep makes a namespace under the name of a process that has ended.
func TestSweep(t *testing.T) {
	Test(t)
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	dead := fmt.Sprintf("sn-%d-1-a", cmd.ProcessState.Pid())
	h, err := newHost(dead)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	alive := fmt.Sprintf("sn-%d-0-a", os.Getpid())
	h2, err := newHost(alive)
	if err != nil {
		t.Fatal(err)
	}
	defer h2.close()
	l := &Lab{hosts: map[string]*Host{}}
	if _, _, err := l.Connect(End{Host: h}, End{Host: h2}, LinkConfig{}); err != nil {
		t.Fatal(err)
	}
	lab, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	if _, err := os.Stat(filepath.Join(nsDir, dead)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("namespace of a dead process is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(nsDir, alive)); err != nil {
		t.Errorf("namespace of a live process: %v", err)
	}
	if _, err := h2.nl.LinkByName("v0"); err == nil {
		t.Error("link of a dead process is still there")
	}
}
