package cli

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"shardnet/cmd/shardnet/internal/demo"
)

func newDemo(std Streams) *cobra.Command {
	var (
		driver   = choice{"", []string{"afxdp", "asavie", "mem"}}
		cfg      demo.Config
		duration time.Duration
	)
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Serve real clients for a few seconds and print what came of it",
		Long: `Serves echo and memcached on two shards, asks them over hundreds of connections
with TCP and UDP, IPv4 and IPv6, verifies every answer, does the same with the
kernel's sockets as the server, and prints a table. It takes some 20 seconds.

As root it does so over AF_XDP, on a veth pair between two network namespaces that
it makes and removes again. Without root it uses a cable in memory.`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.Var(&driver, "driver", "what our servers run on (default: afxdp as root, mem otherwise)")
	f.DurationVar(&duration, "duration", 2*time.Second, "measured time of each workload on each server")
	f.IntVar(&cfg.TCPConns, "tcp-connections", 256, "connections of each TCP workload")
	f.IntVar(&cfg.UDPConns, "udp-sockets", 64, "sockets of each UDP workload")
	f.BoolVar(&cfg.JSON, "json", false, "print the report as one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		switch {
		case duration < 10*time.Millisecond || duration > time.Minute:
			return fmt.Errorf("duration %v is too short or too long: give --duration 10ms to 1m", duration)
		case cfg.TCPConns < 1 || cfg.UDPConns < 1 || cfg.TCPConns > 10000 || cfg.UDPConns > 10000:
			return errors.New("give --tcp-connections and --udp-sockets 1 to 10000")
		}
		cfg.Driver, cfg.Duration = driver.value, duration
		cfg.Output, cfg.Log = std.Out, std.Err
		if cfg.Driver == "" {
			cfg.Driver = "afxdp"
			if os.Geteuid() != 0 || runtime.GOOS != "linux" {
				cfg.Driver, cfg.Why = "mem", "not root, so without AF_XDP"
			}
		}
		if cfg.Program, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program, to start servers with: %w", err)
		}
		return demo.Run(cmd.Context(), cfg)
	}
	return cmd
}
