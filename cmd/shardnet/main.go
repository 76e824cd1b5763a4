// Command shardnet serves echo and memcached from a TCP/IP stack of its own, and
// shows what that does. See shardnet --help.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"shardnet/cmd/shardnet/internal/cli"
)

func main() {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		<-signals
		cancel()
		s := <-signals
		fmt.Fprintf(os.Stderr, "shardnet: %v again: not waiting for a clean end\n", s)
		os.Exit(1)
	}()
	code := cli.Run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	cancel()
	os.Exit(code)
}
