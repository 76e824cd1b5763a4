//go:build linux

package afxdp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"shardnet/driver/netlab"
)

// helperInterface, in the environment, makes the test binary a helper process: it
// opens the interface of that name, says how that went in a line, and bounces
// frames until it is killed.
const (
	helperInterface = "SHARDNET_AFXDP_INTERFACE"
	helperRing      = "SHARDNET_AFXDP_RING"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(helperInterface); name != "" {
		helper(name)
		return
	}
	os.Exit(m.Run())
}

func helper(name string) {
	cfg := Config{Interface: name, Addresses: addresses("198.18.0.2", "2001:db8::2")}
	_, _ = fmt.Sscan(os.Getenv(helperRing), &cfg.RxRing)
	cfg.TxRing = cfg.RxRing
	dev, err := Open(&cfg)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(dev.Info().Mode)
	fmt.Println(bounce(dev.Queue(0)))
}

// openInProcess opens the interface in a helper process and returns the line it
// says.
func openInProcess(t *testing.T, i *netlab.Interface, attr *syscall.SysProcAttr, env ...string) (line string, cmd *exec.Cmd) {
	t.Helper()
	// By this name the binary can be executed by a user who can't reach its folder.
	cmd = i.Host.Command("/proc/self/exe")
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
	cmd.Env = append(append(os.Environ(), helperInterface+"="+i.Name), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Host.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n"), cmd
}

// TestKill kills a process in mid-traffic: the interface is the kernel's again,
// and the next process can have it.
func TestKill(t *testing.T) {
	host, peer := hostAndPeer(t, netlab.End{})
	stop := make(chan struct{})
	stopped := make(chan struct{})
	c, err := peer.Host.ListenPacket("udp", "198.18.0.4:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		defer close(stopped)
		to := &net.UDPAddr{IP: net.IP{198, 18, 0, 2}, Port: 7}
		for {
			select {
			case <-stop:
				return
			default:
				_, _ = c.WriteTo(make([]byte, 1000), to)
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
	}()
	for range 3 {
		mode, cmd := openInProcess(t, host, nil)
		if mode != "native copy" {
			t.Fatalf("helper says %q", mode)
		}
		if !programOn(t, host) {
			t.Fatal("no XDP program while the process lives")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		for end := time.Now().Add(5 * time.Second); programOn(t, host); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("an XDP program is left by the killed process")
			}
		}
		if err := echoFromPeer(t, host, peer, "198.18.0.3:0"); err != nil {
			t.Errorf("the kernel does not answer: %v", err)
		}
	}
}

func programOn(t *testing.T, i *netlab.Interface) bool {
	t.Helper()
	link, err := i.Host.Netlink().LinkByName(i.Name)
	if err != nil {
		t.Fatal(err)
	}
	x := link.Attrs().Xdp
	return x != nil && x.Attached
}

// TestPrivileges opens as a user who is not root and has some capabilities: those
// the driver asks for are enough, and one that is missing is named.
func TestPrivileges(t *testing.T) {
	a, _ := netlab.Pair(t, netlab.End{}, netlab.End{}, netlab.LinkConfig{})
	const nobody = 65534
	for _, tt := range []struct {
		name string
		caps []uintptr
		ring string
		want string
	}{
		{"enough", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF}, "256", "native copy"},
		{"no bpf", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW}, "256", "lacks CAP_BPF ("},
		{"no raw", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_BPF}, "256", "lacks CAP_NET_RAW ("},
		{"none", nil, "256", "lacks CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF ("},
		{"memory", []uintptr{unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF}, "32768", "too little locked memory allowed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "memory" {
				var limit unix.Rlimit
				if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit); err != nil {
					t.Fatal(err)
				}
				if limit.Cur > 3*32768*2048 {
					t.Skipf("may lock %d bytes, more than the largest rings take", limit.Cur)
				}
			}
			attr := &syscall.SysProcAttr{
				Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
				AmbientCaps: tt.caps,
			}
			line, cmd := openInProcess(t, a, attr, helperRing+"="+tt.ring)
			if !strings.Contains(line, tt.want) {
				t.Errorf("helper says %q, want %q", line, tt.want)
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
}
