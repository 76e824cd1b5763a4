package stack_test

import (
	"net/netip"
	"testing"

	"shardnet/stack"
	"shardnet/stack/flow"
	"shardnet/test/testutil"
)

// transports are the TCPs that what is said of TCP must hold on.
var transports = []flow.Transport{flow.TransportNetstack, flow.TransportFast}

// onTransports runs f as a subtest on each TCP.
func onTransports(t *testing.T, f func(t *testing.T, tr flow.Transport)) {
	for _, tr := range transports {
		t.Run(tr.String(), func(t *testing.T) { f(t, tr) })
	}
}

func serverConfigOn(tr flow.Transport) *stack.Config {
	cfg := serverConfig()
	cfg.Transport = tr
	return cfg
}

func clientConfigOn(tr flow.Transport) *stack.Config {
	cfg := clientConfig()
	cfg.Transport = tr
	return cfg
}

// pairOn is pair with tr as the TCP of both stacks.
func pairOn(t testing.TB, tr flow.Transport, serverShards, clientShards int) (server, client *stack.Stack) {
	t.Helper()
	a, b := newCable(t, serverShards, clientShards)
	return startStack(t, a, serverConfigOn(tr)), startStack(t, b, clientConfigOn(tr))
}

// accept waits for a connection.
func accept(t testing.TB, l flow.Listener) *conn {
	t.Helper()
	var f flow.Flow
	testutil.Eventually(t, "a connection comes", func() (ok bool) {
		var err error
		if f, err = l.Accept(); err != nil && err != flow.ErrWouldBlock {
			t.Fatal(err)
		}
		return err == nil
	})
	return newConn(f)
}

// listenOn listens on a port of sh with tr.
func listenOn(t testing.TB, sh *stack.Shard, tr flow.Transport, port uint16) flow.Listener {
	t.Helper()
	l, err := sh.ListenTCP(netip.AddrPortFrom(netip.IPv6Unspecified(), port), flow.SocketOptions{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
