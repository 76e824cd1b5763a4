package socketapi

import (
	"net/netip"
	"time"

	"shardnet/stack"
	"shardnet/stack/flow"
)

// host is the part of a *stack.Stack this package stands on. A second one, in
// memory and without packets, is in the tests: it can be made to answer in ways
// a working network seldom does.
type host interface {
	Shards() int
	Done() <-chan struct{}
	shard(i int) shard
}

// shard is the part of a *stack.Shard this package stands on.
type shard interface {
	ListenTCP(local netip.AddrPort, opt flow.SocketOptions) (flow.Listener, error)
	ListenUDP(local netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error)
	DialTCP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.Flow, error)
	DialUDP(local, remote netip.AddrPort, opt flow.SocketOptions) (flow.PacketFlow, error)

	Post(t flow.Task)
	AtEnd(t flow.Task) (cancel func())
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

type stackHost struct{ *stack.Stack }

func (h stackHost) shard(i int) shard { return h.Shard(i) }

// hostOf returns st as a host, or an error for a nil one: a forgotten field must
// not crash a server.
func hostOf(st *stack.Stack) (host, error) {
	if st == nil {
		return nil, errNoStack
	}
	return stackHost{st}, nil
}
