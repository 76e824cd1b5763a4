package runner

import (
	"fmt"
	"net/netip"

	"shardnet/driver"
	"shardnet/driver/memnic"
	"shardnet/stack"
)

// cableShards is how many shards serve on a cable if it is not said: enough to
// show that there are several.
const cableShards = 2

func openCable(cfg *Config) (near, far driver.Device, err error) {
	if cfg.Shards == 0 {
		cfg.Shards = cableShards
	}
	end := memnic.End{Queues: cfg.Shards}
	a, b, err := memnic.NewPair(&memnic.Config{A: end, B: end})
	if err != nil {
		return nil, nil, err
	}
	return a, b, nil
}

// newPeer starts the stack on the other end of the cable, with an address in each
// subnet. It closes far when it fails.
func newPeer(far driver.Device, cfg *Config) (*stack.Stack, error) {
	var addrs []netip.Prefix
	for _, a := range cfg.Addresses {
		p, err := neighbour(a, cfg.Addresses)
		if err != nil {
			_ = far.Close() // in memory: closing can't fail
			return nil, err
		}
		addrs = append(addrs, p)
		cfg.Logger.Debug("client's address on the cable", "address", p)
	}
	return stack.New(far, &stack.Config{Addresses: addrs, Spin: cfg.Spin, Transport: cfg.transport(), Logger: cfg.Logger})
}

// neighbour picks an address of a's subnet that is not taken.
func neighbour(a netip.Prefix, taken []netip.Prefix) (netip.Prefix, error) {
	used := make(map[netip.Addr]bool)
	for _, t := range taken {
		used[t.Addr()] = true
	}
	ip := a.Masked().Addr()
	if a.Bits() < a.Addr().BitLen()-1 {
		ip = ip.Next() // the first is the network's, or the routers' anycast
	}
	for ; a.Contains(ip); ip = ip.Next() {
		if !used[ip] && !(ip.Is4() && a.Bits() < 31 && ip == broadcast(a)) {
			return netip.PrefixFrom(ip, a.Bits()), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("address %v leaves no room for a client on the cable: give a shorter prefix, such as %v",
		a, netip.PrefixFrom(a.Addr(), a.Addr().BitLen()-8))
}
