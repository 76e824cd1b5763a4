package runner

import (
	"context"
	"net"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/socketapi"
)

// Server is what an app is to this package. The apps' servers have these methods.
type Server interface {
	ServeTCP(net.Listener) error
	ServeUDP(net.PacketConn) error
	Handler() socketapi.Handler
	PacketHandler() socketapi.PacketHandler
	Shutdown(context.Context) error
}

// App is a server that was made and does not serve yet.
type App struct {
	Name     string // "echo"
	Server   Server
	UDP      bool // whether it serves UDP beside TCP
	Counters func() []Counter

	// Closed is the error that Server's methods return after Shutdown.
	Closed error
	// Workloads ask for all that the app serves.
	Workloads []load.Workload
}

// Counter is a number of the app's own for the summary.
type Counter struct {
	Name  string // in words, for people: "bytes in"
	Value uint64
}
