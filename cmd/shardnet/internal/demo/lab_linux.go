package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/driver/netlab"
)

// Addresses of the lab: the client's, our server's, and the kernel's as a server.
var (
	clientAddrs = prefixes("198.18.0.1/24", "2001:db8::1/64")
	stackAddrs  = prefixes("198.18.0.2/24", "2001:db8::2/64")
	kernelAddrs = prefixes("198.18.0.3/24", "2001:db8::3/64")
)

func prefixes(list ...string) (ps []netip.Prefix) {
	for _, s := range list {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

// waitDelay bounds the wait for a server's output after its end.
const waitDelay = 5 * time.Second

// lab is the place that needs root: two namespaces with a veth pair of two queues
// between them.
type lab struct {
	cfg            *Config
	lab            *netlab.Lab
	server, client *netlab.Host
	iface          string
}

func newLab(cfg *Config) (place, error) {
	nl, err := netlab.New()
	if err != nil {
		return nil, fmt.Errorf("%w (shardnet demo --driver mem needs no privilege)", err)
	}
	l := &lab{cfg: cfg, lab: nl}
	if err := l.build(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w (shardnet demo --driver mem needs no privilege)", err), nl.Close())
	}
	return l, nil
}

func (l *lab) build() (err error) {
	if l.server, err = l.lab.AddHost("server"); err != nil {
		return err
	}
	if l.client, err = l.lab.AddHost("client"); err != nil {
		return err
	}
	s, _, err := l.lab.Connect(
		netlab.End{Host: l.server, Addresses: kernelAddrs},
		netlab.End{Host: l.client, Addresses: clientAddrs},
		netlab.LinkConfig{Queues: shards})
	if err != nil {
		return err
	}
	l.iface = s.Name
	return nil
}

func (l *lab) banner() string {
	return fmt.Sprintf("shardnet demo: AF_XDP (%s) on a veth pair of %d queues, servers in namespace %s, clients on kernel sockets in %s",
		l.cfg.Driver, shards, l.server.Name(), l.client.Name())
}

func (l *lab) network() string { return "a veth pair between two namespaces" }

func (l *lab) dial(string) load.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		return l.client.Dial(ctx, network, address)
	}
}

// serve runs this program in the server's namespace. It ends when its standard
// input does, and so also when this process is killed.
func (l *lab) serve(_ context.Context, app string, args []string, kind string) (*server, error) {
	args = append([]string{app, "--json", "--until-eof", "--port", strconv.Itoa(port), "--shards", strconv.Itoa(shards)}, args...)
	addresses := kernelAddrs
	if kind == "shardnet" {
		args = append(args, "--driver", l.cfg.Driver, "--interface", l.iface)
		addresses = stackAddrs
	} else {
		args = append(args, "--driver", "kernel")
	}
	for _, a := range addresses {
		args = append(args, "--address", a.String())
	}
	cmd := l.server.Command(l.cfg.Program, args...)
	// A terminal's interrupt goes to this process alone, which ends the servers.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	complaint := &complaint{log: l.cfg.Log}
	cmd.Stderr = complaint
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	// Not StdoutPipe: Wait would close it before all is read.
	r, w := io.Pipe()
	cmd.Stdout = w
	cmd.WaitDelay = waitDelay
	if err := l.server.Start(cmd); err != nil {
		return nil, fmt.Errorf("start a server: %w", err)
	}
	return newProcess(cmd, complaint, stdin, r, w), nil
}

// newProcess is the server that cmd, which has been started, runs.
func newProcess(cmd *exec.Cmd, said *complaint, stdin io.Closer, r io.Reader, w io.Closer) *server {
	done := make(chan struct{})
	var result error
	go func() {
		defer close(done)
		result = cmd.Wait()
		_ = w.Close() // a pipe in memory
	}()
	wait := func() error {
		<-done
		if result != nil && said.last != "" {
			return errors.New(said.last)
		}
		return result
	}
	var once sync.Once
	finish := func() { once.Do(func() { _ = stdin.Close() }) }
	return &server{
		events: listen(r),
		finish: finish,
		wait:   wait,
		force: func() {
			// Children of the server, if any, may hold its output open: they see
			// their input end.
			finish()
			_ = cmd.Process.Kill()
			<-done
		},
		timeout: 15 * time.Second,
	}
}

// complaint takes a server's standard error: the line with which it ends is kept,
// without the program's name, and all others are passed on.
type complaint struct {
	log  io.Writer
	part []byte // of a line that is not whole yet
	last string
}

func (c *complaint) Write(p []byte) (int, error) {
	c.part = append(c.part, p...)
	for {
		line, rest, whole := bytes.Cut(c.part, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		c.part = rest
		if said, ok := bytes.CutPrefix(line, []byte("shardnet: ")); ok {
			c.last = string(said)
			continue
		}
		if _, err := fmt.Fprintf(c.log, "%s\n", line); err != nil {
			return 0, err
		}
	}
}

func (l *lab) close() error { return l.lab.Close() }
