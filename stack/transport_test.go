package stack_test

import (
	"testing"

	"shardnet/stack"
)

// transports are the TCPs that what is said of TCP must hold on.
var transports = []stack.Transport{stack.TransportNetstack, stack.TransportFast}

// onTransports runs f as a subtest on each TCP.
func onTransports(t *testing.T, f func(t *testing.T, tr stack.Transport)) {
	for _, tr := range transports {
		t.Run(tr.String(), func(t *testing.T) { f(t, tr) })
	}
}

func serverConfigOn(tr stack.Transport) *stack.Config {
	cfg := serverConfig()
	cfg.Transport = tr
	return cfg
}

func clientConfigOn(tr stack.Transport) *stack.Config {
	cfg := clientConfig()
	cfg.Transport = tr
	return cfg
}

// pairOn is pair with tr as the TCP of both stacks.
func pairOn(t testing.TB, tr stack.Transport, serverShards, clientShards int) (server, client *stack.Stack) {
	t.Helper()
	a, b := newCable(t, serverShards, clientShards)
	return startStack(t, a, serverConfigOn(tr)), startStack(t, b, clientConfigOn(tr))
}
