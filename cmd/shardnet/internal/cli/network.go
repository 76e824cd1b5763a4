package cli

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"shardnet/cmd/shardnet/internal/runner"
	"shardnet/stack"
)

// network holds the flags that say where and how to serve; every serving command
// has them.
type network struct {
	driver, mode  choice
	api, tcp      choice // "" is the default
	tcpMemory     int    // MiB
	iface         string
	addresses     prefixes
	gateways      addrs
	port          int
	shards        int
	cpus          cpus
	spin          time.Duration
	busyPoll      bool
	capture       string
	faults        faults
	json, verbose bool
	untilEOF      bool
}

// register adds the flags to cmd; port is the default port.
func (n *network) register(cmd *cobra.Command, port int) {
	n.driver = choice{runner.Drivers[0], runner.Drivers}
	n.mode = choice{runner.Modes[0], runner.Modes}
	n.api, n.tcp = choice{"", runner.APIs}, choice{"", runner.Transports}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVarP(&n.iface, "interface", "i", "", "network interface to serve on")
	f.VarP(&n.addresses, "address", "a", "address of the stack with its prefix length, IPv4 or IPv6; repeatable")
	f.Var(&n.gateways, "gateway", "default gateway, one IPv4 and one IPv6; repeatable")
	f.IntVarP(&n.port, "port", "p", port, "port, of TCP and of UDP")
	f.Var(&n.driver, "driver", "what to serve on: AF_XDP (afxdp, or asavie by that library),\na cable in memory that checks itself and ends (mem), or the\nkernel's own sockets to compare with (kernel)")
	f.Var(&n.mode, "mode", "how AF_XDP drives the NIC; auto is the best there is, any other\nis that or an error")
	f.IntVar(&n.shards, "shards", 0, "shards, each on a queue (default: the NIC's queues)")
	f.Var(&n.cpus, "cpus", "CPUs to run on, as in 0,1 or 2-5: shard i on the i-th")
	f.DurationVar(&n.spin, "spin", stack.DefaultSpin, "how long an idle shard polls before it sleeps; 0 is not at all")
	f.BoolVar(&n.busyPoll, "busy-poll", false, "do the NIC's receive work on the shard's CPU (driver afxdp; set the\ninterface's napi_defer_hard_irqs and gro_flush_timeout as well)")
	f.StringVar(&n.capture, "pcap", "", "record all traffic to this pcapng `FILE`")
	f.Var(&n.faults, "fault", "make the network bad: frames of the stack are lost, repeated, ...,\nin and out, as in drop=1%,reorder=2%,dup=0.1%,corrupt=1e-4,delay=5ms,\nrate=10mbit,queue=64,dir=rx,seed=7")
	f.Var(&n.api, "api", "what the app is served by: callbacks on the shards' own\ngoroutines (handler, the default), or net.Conn and a goroutine\na connection (conn, all there is on the kernel's sockets)")
	f.Var(&n.tcp, "tcp", "implementation of TCP: shardnet's own (fast, the default), or\ngVisor's (netstack)")
	f.IntVar(&n.tcpMemory, "tcp-memory", 0, "memory for connections in MiB, of --tcp fast, their buffers counted as\nif they were full (default: a third of the machine's)")
	f.BoolVar(&n.json, "json", false, "report in JSON, an object a line")
	f.BoolVarP(&n.verbose, "verbose", "v", false, "log details")
	f.BoolVar(&n.untilEOF, "until-eof", false, "stop when standard input ends")
	// For programs that start this one, and may be killed: it goes with them.
	_ = f.MarkHidden("until-eof")
}

// config is what the flags say.
func (n *network) config(std Streams) (*runner.Config, error) {
	if n.spin < 0 {
		return nil, fmt.Errorf("spin %v is negative: give --spin a duration such as 50us, or 0 to not poll", n.spin)
	}
	spin := n.spin
	if spin == 0 {
		spin = -1 // for stack.Config zero is the default
	}
	const most = 1 << 30 // MiB: a petabyte, and no overflow
	if n.tcpMemory < 0 || n.tcpMemory > most {
		return nil, fmt.Errorf("memory of %d MiB can't be: give --tcp-memory 1 or more", n.tcpMemory)
	}
	return &runner.Config{
		Driver:    n.driver.value,
		Mode:      n.mode.value,
		BusyPoll:  n.busyPoll,
		Interface: n.iface,
		Addresses: n.addresses,
		Gateways:  n.gateways,
		Port:      n.port,
		Shards:    n.shards,
		CPUs:      n.cpus,
		Spin:      spin,
		API:       n.api.value,
		Transport: n.tcp.value,
		TCPMemory: int64(n.tcpMemory) << 20,
		Capture:   n.capture,
		Faults:    n.faults.cfg,
		JSON:      n.json,
		Output:    std.Out,
		Logger:    newLogger(std.Err, n.verbose),
	}, nil
}

// untilEnd calls stop when the command's input ends, if that was asked for.
func (n *network) untilEnd(in io.Reader, stop func()) {
	if !n.untilEOF {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
}
