package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// Format is the version of the JSON this package writes, and the only one it reads.
const Format = 1

// The workloads that have a goal or a plot of their own. Others are welcome, and
// get a table and ratio bars.
const (
	UDPEcho         = "udp-echo"
	MemcachedUDPGet = "memcached-udp-get"
	TCPRR           = "tcp-rr"  // request and response on connections that stay
	TCPCRR          = "tcp-crr" // connect, request, response, close
	MemcachedGet    = "memcached-get"
	BulkReceive     = "bulk-receive" // the server receives
	BulkSend        = "bulk-send"    // the server sends
	Idle            = "idle"         // connections held, then each asked once
	Shards          = "shards"       // more shards, each on a core of its own
	LowLoad         = "low-load"     // an open loop far below saturation
)

// The servers that others are compared with, or that have a goal. Any other name
// is a peer's.
const (
	Kernel        = "kernel"         // kernel sockets and Go net, receive work on the server's core
	KernelNoRPS   = "kernel-norps"   // the same, receive work where the kernel leaves it
	KernelOffload = "kernel-offload" // the same as Kernel, segments cut and joined in bulk
	Reflector     = "reflector"      // answers raw frames without a stack: the limit
	Handler       = "handler"        // the event API, on netstack's TCP
	HandlerFast   = "handler-fast"   // the event API, on our own TCP
	Conn          = "conn"           // net.Conn and net.PacketConn, on netstack's TCP
	ConnFast      = "conn-fast"      // net.Conn, on our own TCP
	Netstack      = "netstack"       // gVisor's netstack as it comes
	MemcachedC    = "memcached-c"
)

// ours reports whether the server is this project's stack, which is what the
// summary counts.
func ours(server string) bool {
	switch server {
	case Handler, HandlerFast, Conn, ConnFast:
		return true
	}
	return false
}

// The parameters this package looks at. All values are as a person writes them;
// those that count something are decimal numbers without a unit.
const (
	ParamConns  = "conns"
	ParamSize   = "size" // payload, bytes
	ParamMTU    = "mtu"
	ParamFlows  = "flows" // of bulk transfer, at once
	ParamRate   = "rate"  // requests a second of an open loop
	ParamShards = "shards"
)

// Keys of [Run.Extra] that goals look at.
const (
	ExtraHeld       = "held"             // connections open at the end of an Idle run
	ExtraAnswered   = "answered"         // of those, how many then answered
	ExtraCPUPercent = "idle-cpu-percent" // of one core, by a server without any load
)

// Report is one run of the benchmark: everything that was measured in it.
type Report struct {
	Format      int         `json:"format"` // set by WriteJSON
	Environment Environment `json:"environment"`
	Cells       []Cell      `json:"cells"`
	// Notes say what was left out and why.
	Notes    []string  `json:"notes,omitempty"`
	Profiles []Profile `json:"profiles,omitempty"`
}

// Environment is what a reader needs to judge the figures, or repeat them.
// An empty field is not shown.
type Environment struct {
	Time      time.Time `json:"time"`
	Commit    string    `json:"commit,omitempty"`
	GoVersion string    `json:"go_version,omitempty"`
	GOOS      string    `json:"goos,omitempty"`
	GOARCH    string    `json:"goarch,omitempty"`
	GOAMD64   string    `json:"goamd64,omitempty"`
	PGO       bool      `json:"pgo"` // the binary was built with a profile

	Kernel   string `json:"kernel,omitempty"` // release, as uname -r
	CPUModel string `json:"cpu_model,omitempty"`
	CPUs     int    `json:"cpus,omitempty"`
	Memory   uint64 `json:"memory,omitempty"` // the machine's, bytes
	Governor string `json:"governor,omitempty"`

	Driver  string   `json:"driver,omitempty"`
	Mode    string   `json:"mode,omitempty"` // of the driver, as it reports it
	MTU     int      `json:"mtu,omitempty"`
	Command []string `json:"command,omitempty"` // of the benchmark, with its arguments

	// Peers has the version each foreign server reports, by the server's name.
	Peers map[string]string `json:"peers,omitempty"`
}

// Cell is one server under one workload: all its repetitions. A cell without
// Runs was meant to be measured and was not.
type Cell struct {
	Workload string            `json:"workload"`
	Params   map[string]string `json:"params,omitempty"`
	Server   string            `json:"server"`
	Unit     string            `json:"unit"` // of Run.Rate: "requests/s", "bytes/s", "connections/s"
	Runs     []Run             `json:"runs"`
}

// Run is one repetition. What was not measured is zero; nothing may be infinite
// or not a number.
type Run struct {
	Rate float64 `json:"rate"` // in Cell.Unit

	// Latency in microseconds, from when a request was due to its answer.
	P50  float64 `json:"p50,omitempty"`
	P90  float64 `json:"p90,omitempty"`
	P99  float64 `json:"p99,omitempty"`
	P999 float64 `json:"p999,omitempty"`
	Max  float64 `json:"max,omitempty"`
	// Percentiles is the distribution for the plot, ascending.
	Percentiles []Point `json:"percentiles,omitempty"`

	// ServerCPU is what ran on the server's core, all of it (user, system, irq,
	// softirq), in nanoseconds per request. ProcessCPU is the server's process alone.
	ServerCPU  float64 `json:"server_cpu,omitempty"`
	ProcessCPU float64 `json:"process_cpu,omitempty"`

	Allocs float64 `json:"allocs"` // heap allocations of the server per request
	// AllocsUnknown says that Allocs was not measured, as with a peer in C. Its zero
	// is otherwise a measured zero.
	AllocsUnknown bool    `json:"allocs_unknown,omitempty"`
	GCs           float64 `json:"gcs,omitempty"` // collections of the server during the run

	Lost        uint64 `json:"lost,omitempty"`  // requests without an answer
	Wrong       uint64 `json:"wrong,omitempty"` // answers that were not the right ones
	Retransmits uint64 `json:"retransmits,omitempty"`
	Failed      uint64 `json:"failed,omitempty"` // connections refused, reset or timed out

	Memory     float64 `json:"memory,omitempty"`      // bytes per connection, from the process's RSS
	HeapMemory float64 `json:"heap_memory,omitempty"` // bytes per connection, from the Go heap

	Extra map[string]float64 `json:"extra,omitempty"`
}

// Point says that Percentile percent of the requests took at most Microseconds.
type Point struct {
	Percentile   float64 `json:"percentile"` // 0 to 100
	Microseconds float64 `json:"microseconds"`
}

// Profile is a profile of a server in text, such as pprof's top functions.
type Profile struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// WriteJSON writes r with [Format] set, indented and with a newline at its end.
// A figure that JSON has no form for is an error that names its cell.
func WriteJSON(w io.Writer, r *Report) error {
	for _, c := range r.Cells {
		for i, run := range c.Runs {
			if err := run.finite(); err != nil {
				return fmt.Errorf("encode %s of %s, run %d: %w", c.Workload, c.Server, i+1, err)
			}
		}
	}
	out := *r
	out.Format = Format
	b, err := json.MarshalIndent(&out, "", "  ")
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// ReadJSON reads one report to the end of r. A format other than [Format] is an
// error; fields it does not know are not, so that additions stay readable.
func ReadJSON(r io.Reader) (*Report, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read report: %w", err)
	}
	var out Report
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("decode report: %w", err)
	}
	if out.Format != Format {
		return nil, fmt.Errorf("decode report: format %d is not %d", out.Format, Format)
	}
	return &out, nil
}

// finite returns an error that names the first figure of the run that is not a number.
func (r Run) finite() error {
	named := map[string]float64{
		"rate": r.Rate, "p50": r.P50, "p90": r.P90, "p99": r.P99, "p999": r.P999, "max": r.Max,
		"server_cpu": r.ServerCPU, "process_cpu": r.ProcessCPU, "allocs": r.Allocs, "gcs": r.GCs,
		"memory": r.Memory, "heap_memory": r.HeapMemory,
	}
	for k, v := range r.Extra {
		named["extra "+k] = v
	}
	for _, p := range r.Percentiles {
		named["percentiles"] += p.Percentile + p.Microseconds
	}
	for name, v := range named {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("%s is %v", name, v)
		}
	}
	return nil
}
