package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"shardnet/cmd/shardnet/internal/bench"
	"shardnet/cmd/shardnet/internal/report"
	"shardnet/stack"
)

func newBench(std Streams) *cobra.Command {
	var (
		cfg                      bench.Config
		conns, sizes, idle, mtus []int
		peers                    []string
		spin                     time.Duration
		quick, list              bool
		jsonFile, htmlFile, md   string
	)
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure shardnet beside the kernel's sockets and other servers",
		Long: `Measures shardnet beside the kernel's sockets, gVisor's netstack as it comes,
memcached, and a reflector of raw frames as the limit, each on one core, under
load from raw frames on another. It takes half an hour; choose with --run.

Servers are shardnet by events (handler) and by net.Conn (conn), each on
netstack's TCP and, as handler-fast and conn-fast, on its own. --servers names
those to ask, some of which are not asked unless they are named.

It needs root, for two network namespaces with a veth pair between them, which it
makes and removes again. Without root there is --mem: our own servers on a cable
in memory.

Every answer is verified; a wrong one makes it fail.`,
		Example: `  shardnet bench --run udp-echo
  shardnet bench --run 'tcp-rr/conns=64,memcached-*' --servers handler,kernel
  shardnet bench --run 'tcp-*,bulk-*' --servers '*-fast,kernel*'
  shardnet bench --run idle --idle 1000000
  shardnet bench --run tcp-rr --peer 'nginx=nginx -c /tmp/echo.conf'
  shardnet bench --html bench.html --json bench.json
  shardnet bench --mem --quick`,
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringSliceVar(&cfg.Run, "run", nil, "workloads, as --list names them, with * and ? (default: all)")
	f.StringSliceVar(&cfg.Servers, "servers", nil, "servers, likewise (default: those that tell most of the workload)")
	f.StringArrayVar(&peers, "peer", nil, "another server, as NAME=COMMAND or NAME:APP=COMMAND, APP being echo (the\ndefault), memcached, source or sink; {addr} and {port} in the command stand\nfor where to serve; repeatable")
	f.BoolVar(&list, "list", false, "list the workloads, and end")
	f.IntVar(&cfg.Repeat, "repeat", 5, "repetitions; the servers take turns within each")
	f.DurationVar(&cfg.Duration, "duration", 2*time.Second, "measured time of each repetition")
	f.DurationVar(&cfg.Warmup, "warmup", 300*time.Millisecond, "time of each repetition before it is measured")
	f.DurationVar(&cfg.Hold, "hold", 3*time.Second, "how long idle connections are held")
	f.BoolVar(&quick, "quick", false, "a smoke test: --repeat 1 --duration 150ms --warmup 30ms, and few connections")
	f.IntSliceVar(&conns, "connections", nil, "connections of tcp-rr and memcached-get (default 1,64,512)")
	f.IntSliceVar(&sizes, "sizes", nil, "bytes of an echo request (default 64)")
	f.IntSliceVar(&idle, "idle", nil, "connections held idle (default 10000,200000,1000000)")
	f.IntSliceVar(&mtus, "mtu", nil, "MTU of the link, of bulk transfer (default 1500,9000)")
	f.BoolVar(&cfg.IPv6, "ipv6", false, "over IPv6")
	f.BoolVar(&cfg.Memory, "mem", false, "on a cable in memory, in one process: no privilege needed, and\nnothing of the kernel's to compare with")
	f.BoolVar(&cfg.BusyPoll, "busy-poll", false, "have our servers poll the kernel for its receive work")
	f.DurationVar(&spin, "spin", stack.DefaultSpin, "how long an idle shard of ours polls before it sleeps; 0 is not at all")
	f.IntVar(&cfg.ServerCPU, "server-cpu", 0, "CPU of the servers")
	f.IntVar(&cfg.GeneratorCPU, "generator-cpu", 1, "CPU of the load generator")
	f.StringVar(&cfg.Profiles, "profiles", "", "write CPU profiles of the servers in Go to this `FOLDER`; their top functions\nare in the report")
	f.StringVar(&jsonFile, "json", "", "write the report to this `FILE`, in JSON")
	f.StringVar(&htmlFile, "html", "", "write the report to this `FILE`, for a browser")
	f.StringVar(&md, "markdown", "", "put the tables into this `FILE` of Markdown, between its marks")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		if cfg.Peers, err = parsePeers(peers); err != nil {
			return err
		}
		cfg.Connections, cfg.Sizes, cfg.Idle, cfg.MTUs = conns, sizes, idle, mtus
		if quick {
			quicken(cmd, &cfg)
		}
		if cfg.Spin = spin; spin == 0 {
			cfg.Spin = -1 // for stack.Config zero is the default
		}
		if err := cfg.Validate(); err != nil {
			return err
		}
		if list {
			_, err := fmt.Fprintln(std.Out, strings.Join(bench.List(&cfg), "\n"))
			return err
		}
		if cfg.Program, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program, to start servers with: %w", err)
		}
		cfg.Command = append([]string{"shardnet"}, os.Args[1:]...)
		cfg.Log = std.Err
		cfg.Logger = newLogger(std.Err, false)
		r, err := bench.Run(cmd.Context(), &cfg)
		if r == nil {
			return err
		}
		errs := []error{err, report.WriteText(std.Out, r)}
		for _, o := range []struct {
			file  string
			write func(string, *report.Report) error
		}{{jsonFile, writeJSON}, {htmlFile, writeHTML}, {md, updateMarkdown}} {
			if o.file != "" {
				errs = append(errs, o.write(o.file, r))
			}
		}
		return errors.Join(errs...)
	}
	return cmd
}

// quicken makes a smoke test of what the flags leave open.
func quicken(cmd *cobra.Command, cfg *bench.Config) {
	set := cmd.Flags().Changed
	if !set("repeat") {
		cfg.Repeat = 1
	}
	if !set("duration") {
		cfg.Duration = 150 * time.Millisecond
	}
	if !set("warmup") {
		cfg.Warmup = 30 * time.Millisecond
	}
	if !set("hold") {
		cfg.Hold = 500 * time.Millisecond
	}
	if !set("connections") {
		cfg.Connections = []int{1, 64}
	}
	if !set("idle") {
		cfg.Idle = []int{1000}
	}
	if !set("mtu") {
		cfg.MTUs = []int{1500}
	}
}

// parsePeers reads what --peer was given.
func parsePeers(words []string) ([]bench.Peer, error) {
	var peers []bench.Peer
	for _, w := range words {
		name, command, ok := strings.Cut(w, "=")
		name, app, hasApp := strings.Cut(name, ":")
		if !hasApp {
			app = "echo"
		}
		p := bench.Peer{Name: name, App: app, Command: strings.Fields(command)}
		if !ok || name == "" || len(p.Command) == 0 {
			return nil, fmt.Errorf("%q is not a server: write --peer NAME=COMMAND", w)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func writeJSON(file string, r *report.Report) error {
	return create(file, func(f *os.File) error { return report.WriteJSON(f, r) })
}

func writeHTML(file string, r *report.Report) error {
	return create(file, func(f *os.File) error { return report.WriteHTML(f, r) })
}

func create(file string, write func(*os.File) error) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return errors.Join(write(f), f.Close())
}

func updateMarkdown(file string, r *report.Report) error {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the tables' file: %w", err)
	}
	return os.WriteFile(file, report.UpdateMarkdown(old, r), 0o644)
}

// newBenchServer is what bench starts servers with.
func newBenchServer(std Streams) *cobra.Command {
	var (
		cfg     bench.ServerConfig
		address prefixes
		port    int
		cpus    cpus
	)
	cmd := &cobra.Command{
		Use:    "bench-server",
		Short:  "Serve for a benchmark, as told on standard input",
		Hidden: true,
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Server, "server", "", "kind of server")
	f.StringVar(&cfg.App, "app", "echo", "what it serves")
	f.StringVar(&cfg.Interface, "interface", "", "network interface to serve on")
	f.Var(&address, "address", "address with its prefix length")
	f.IntVar(&port, "port", 0, "port")
	f.DurationVar(&cfg.Spin, "spin", 0, "as stack.Config has it")
	f.BoolVar(&cfg.BusyPoll, "busy-poll", false, "as afxdp.Config has it")
	f.Var(&cpus, "cpus", "as stack.Config has it")
	f.Int64Var(&cfg.TCPMemory, "tcp-memory", 0, "as stack.Config has it")
	f.StringArrayVar(&cfg.Command, "command", nil, "a word of the command to run in place of a server; repeatable")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if len(address) != 1 || port < 1 || port > 65535 {
			return errors.New("give one --address and a --port")
		}
		cfg.Address, cfg.Port, cfg.CPUs = address[0], uint16(port), cpus
		cfg.Logger = newLogger(std.Err, false)
		return bench.RunServer(cmd.Context(), &cfg, std.In, std.Out)
	}
	return cmd
}
