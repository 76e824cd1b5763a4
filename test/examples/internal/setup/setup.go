package setup

import (
	"net/netip"
	"testing"

	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/memnic"
	"shardnet/stack"
)

// NIC starts a stack at the given address, such as "198.18.0.2/24", on a network
// interface. It takes root. The address must not be one of the host's.
func NIC(iface, address string) (*stack.Stack, error) {
	prefix, err := netip.ParsePrefix(address)
	if err != nil {
		return nil, err
	}
	dev, err := afxdp.Open(&afxdp.Config{Interface: iface, Addresses: []netip.Prefix{prefix}})
	if err != nil {
		return nil, err
	}
	return stack.New(dev, nil)
}

// ServerIP is the address of Pair's server.
const ServerIP = "198.18.0.1"

// Pair starts two stacks on a cable in memory: a server of two shards at ServerIP, and
// a client. They are closed when the test ends.
func Pair(t testing.TB) (server, client *stack.Stack) {
	t.Helper()
	a, b, err := memnic.NewPair(&memnic.Config{A: memnic.End{Queues: 2}})
	if err != nil {
		t.Fatal(err)
	}
	start := func(dev driver.Device, address string) *stack.Stack {
		st, err := stack.New(dev, &stack.Config{Addresses: []netip.Prefix{netip.MustParsePrefix(address)}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		return st
	}
	return start(a, ServerIP+"/24"), start(b, "198.18.0.2/24")
}
