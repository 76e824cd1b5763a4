package e2e

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"testing"
	"time"

	"shardnet/apps/echo"
	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/asavie"
	"shardnet/driver/netlab"
	"shardnet/socketapi"
	"shardnet/stack"
)

var (
	kernel4 = netip.MustParseAddr("198.18.0.1")
	kernel6 = netip.MustParseAddr("2001:db8::1")
	ours4   = netip.MustParseAddr("198.18.0.2")
	ours6   = netip.MustParseAddr("2001:db8::2")
)

// drivers are the backends every test of the data path runs on.
var drivers = []string{"afxdp", "asavie"}

// lan is a kernel host and the interface of another, on which a stack is run.
type lan struct {
	kernel *netlab.Host // 198.18.0.1, 2001:db8::1
	peer   *netlab.Interface
	server *netlab.Interface // no address: ours
}

func newLAN(t testing.TB, queues int) *lan {
	t.Helper()
	return newLANOf(t, netlab.LinkConfig{Queues: queues})
}

func newLANOf(t testing.TB, cfg netlab.LinkConfig) *lan {
	t.Helper()
	k, s := netlab.Pair(t,
		netlab.End{Addresses: []netip.Prefix{netip.PrefixFrom(kernel4, 24), netip.PrefixFrom(kernel6, 64)}},
		netlab.End{Name: "vs"},
		cfg)
	return &lan{kernel: k.Host, peer: k, server: s}
}

// openDevice opens the LAN's server interface.
func (l *lan) openDevice(kind string) (dev driver.Device, err error) {
	addrs := stackConfig().Addresses
	err = l.server.Host.Do(func() error {
		switch kind {
		case "afxdp":
			dev, err = afxdp.Open(&afxdp.Config{Interface: l.server.Name, Addresses: addrs})
		case "asavie":
			dev, err = asavie.Open(&asavie.Config{Interface: l.server.Name, Addresses: addrs})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return dev, nil
}

func stackConfig() *stack.Config {
	return &stack.Config{
		Addresses: []netip.Prefix{netip.PrefixFrom(ours4, 24), netip.PrefixFrom(ours6, 64)},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
}

// start runs a stack on the LAN's server interface until the test ends, and then
// checks that it closes in order and gives every frame back.
func (l *lan) start(t testing.TB, kind string) *stack.Stack {
	t.Helper()
	dev, err := l.openDevice(kind)
	if err != nil {
		t.Fatal(err)
	}
	st, err := stack.New(dev, stackConfig())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStack(t, st) })
	return st
}

func closeStack(t testing.TB, st *stack.Stack) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	for i := range st.Shards() {
		if n := st.Shard(i).Stats().Queue.Lent; n != 0 {
			t.Errorf("shard %d holds %d frames after Close", i, n)
		}
	}
	if t.Failed() {
		t.Logf("stack: %+v", st.Stats())
	}
}

// serveEcho runs the echo app on st, TCP and UDP.
func serveEcho(t testing.TB, st *stack.Stack, port int) *socketapi.Group {
	t.Helper()
	addr := fmt.Sprintf(":%d", port)
	g, err := socketapi.Listen(st, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	pg, err := socketapi.ListenPacket(st, "udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	srv := echo.NewServer()
	done := make(chan error, 2*st.Shards())
	for i := range st.Shards() {
		go func() { done <- srv.ServeTCP(g.Listener(i)) }()
		go func() { done <- srv.ServeUDP(pg.PacketConn(i)) }()
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
	})
	return g
}

// ask sends question and checks that the answer is the same.
func ask(c net.Conn, question []byte) error {
	if _, err := c.Write(question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	for got := 0; got < len(answer); {
		n, err := c.Read(answer[got:])
		if err != nil {
			return fmt.Errorf("read after %d of %d bytes: %w", got, len(answer), err)
		}
		got += n
	}
	if !bytes.Equal(answer, question) {
		return fmt.Errorf("answer differs from question")
	}
	return nil
}

func dialKernel(t testing.TB, l *lan, network string, addr netip.AddrPort) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := l.kernel.Dial(ctx, network, addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(time.Minute))
	return c
}

// run runs a program on the kernel host and returns what it prints.
func (l *lan) run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run test/setup.sh", name)
	}
	cmd := l.kernel.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Stdin = bytes.NewReader([]byte(stdin))
	timer := time.AfterFunc(time.Minute, func() {
		if cmd.Process != nil {
			cmd.Process.Kill()
		}
	})
	defer timer.Stop()
	if err := l.kernel.Run(cmd); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out.String())
	}
	return out.String()
}
