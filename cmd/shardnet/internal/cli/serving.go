package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"shardnet/apps/memcached"
	"shardnet/cmd/shardnet/internal/runner"
)

// Ports of the services, as IANA has them.
const (
	echoPort      = 7
	memcachedPort = 11211
)

func newEcho(std Streams) *cobra.Command {
	var n network
	cmd := &cobra.Command{
		Use:   "echo",
		Short: "Send back what is sent, over TCP and UDP",
		Example: `  shardnet echo -i eth1 -a 198.18.0.2/24 -a 2001:db8::2/64
  shardnet echo --driver mem`,
	}
	n.register(cmd, echoPort)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return n.run(cmd.Context(), std, runner.Echo())
	}
	return cmd
}

func newMemcached(std Streams) *cobra.Command {
	var (
		n       network
		memory  int
		maxItem = size(memcached.DefaultMaxItemSize)
		udp     bool
	)
	cmd := &cobra.Command{
		Use:   "memcached",
		Short: "Serve memcached's text protocol over TCP, and over UDP if asked to",
		Example: `  shardnet memcached -i eth1 -a 198.18.0.2/24 --memory 1024
  shardnet memcached --driver mem --udp`,
	}
	n.register(cmd, memcachedPort)
	f := cmd.Flags()
	f.IntVarP(&memory, "memory", "m", memcached.DefaultMemoryLimit>>20, "memory for items in MiB; the oldest make room for new ones")
	f.BoolVar(&udp, "udp", false, "serve UDP too (anybody who can forge an address can have answers,\nlonger than the questions, sent there)")
	f.Var(&maxItem, "max-item-size", "largest item in bytes, with k or m for KiB and MiB")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		const most = 1 << 30 // MiB: a petabyte, and no overflow
		if memory < 1 || memory > most {
			return fmt.Errorf("memory of %d MiB can't be: give --memory 1 or more", memory)
		}
		store, err := memcached.NewStore(&memcached.StoreConfig{
			MemoryLimit: int64(memory) << 20,
			MaxItemSize: int(maxItem),
		})
		if err != nil {
			return fmt.Errorf("%w: change --memory or --max-item-size", err)
		}
		defer store.Close()
		return n.run(cmd.Context(), std, runner.Memcached(store, udp))
	}
	return cmd
}

// run serves app as the flags say.
func (n *network) run(ctx context.Context, std Streams, app *runner.App) error {
	cfg, err := n.config(std)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	n.untilEnd(std.In, stop)
	return runner.Run(ctx, cfg, app)
}
