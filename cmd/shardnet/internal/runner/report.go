package runner

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/stack"
	"shardnet/stack/drop"
)

// Start is the start-up line: what is truly in force.
type Start struct {
	Event       string   `json:"event"` // "serving"
	App         string   `json:"app"`
	PID         int      `json:"pid"`
	Driver      string   `json:"driver"`
	Mode        string   `json:"mode"`
	Interface   string   `json:"interface,omitempty"`
	MAC         string   `json:"mac,omitempty"`
	MTU         int      `json:"mtu,omitempty"`
	Queues      int      `json:"queues,omitempty"`
	Shards      int      `json:"shards"`
	Steering    string   `json:"steering"`
	API         string   `json:"api"`
	TCP         string   `json:"tcp"`
	NetstackTCP string   `json:"netstack_tcp,omitempty"`
	Faults      string   `json:"faults,omitempty"` // as --fault takes them
	Addresses   []string `json:"addresses"`        // with the port
	Protocols   []string `json:"protocols"`
}

func (s *Start) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "serving %s on %s (%s)", s.App, strings.Join(s.Addresses, ", "), strings.Join(s.Protocols, ", "))
	fmt.Fprintf(&b, " driver=%s mode=%q", s.Driver, s.Mode)
	if s.Interface != "" {
		fmt.Fprintf(&b, " interface=%s mac=%s mtu=%d queues=%d", s.Interface, s.MAC, s.MTU, s.Queues)
	}
	fmt.Fprintf(&b, " shards=%d steering=%q api=%s tcp=%s", s.Shards, s.Steering, s.API, s.TCP)
	if s.NetstackTCP != "" {
		fmt.Fprintf(&b, " netstack-tcp=%s", s.NetstackTCP)
	}
	if s.Faults != "" {
		fmt.Fprintf(&b, " fault=%s", s.Faults)
	}
	return b.String()
}

// ShardCounters are what a summary says of a shard. On kernel sockets only
// Connections is known.
type ShardCounters struct {
	Connections uint64 `json:"connections"` // accepted
	Datagrams   uint64 `json:"datagrams"`   // delivered to sockets
	RxPackets   uint64 `json:"rx_packets"`
	TxPackets   uint64 `json:"tx_packets"`
	WrongShard  uint64 `json:"wrong_shard"`
	HandedOver  uint64 `json:"handed_over"`
	Retransmits uint64 `json:"retransmits"`
	RxDropped   uint64 `json:"rx_dropped"` // by the driver, by a shard, and by netstack for want of room in a socket
	TxDropped   uint64 `json:"tx_dropped"`
	// Drops is why shards dropped packets: the reasons of package stack/drop that have any.
	Drops map[string]uint64 `json:"drops,omitempty"`

	RxFaults *FaultCounters `json:"rx_faults,omitempty"` // with --fault only
	TxFaults *FaultCounters `json:"tx_faults,omitempty"`
}

func shardCounters(s stack.Stats) ShardCounters {
	drops := map[string]uint64{}
	for r, n := range s.Drops {
		if n > 0 {
			drops[drop.Reason(r).String()] = n
		}
	}
	return ShardCounters{
		Connections: s.Connections,
		Datagrams:   s.UDPReceived,
		RxPackets:   s.RxPackets,
		TxPackets:   s.Queue.TxPackets,
		WrongShard:  s.WrongShard,
		HandedOver:  s.HandedOut,
		Retransmits: s.Retransmits,
		RxDropped:   s.Queue.RxDropped + s.Drops.Received() + s.UDPDropped - s.Drops[drop.SocketBufferFull],
		TxDropped:   s.Drops.Sent() + s.Queue.TxErrors,
		Drops:       drops,
	}
}

// Summary is what is said at the end.
type Summary struct {
	Event   string            `json:"event"` // "stopped"
	App     string            `json:"app"`
	Seconds float64           `json:"seconds"`
	Counts  map[string]uint64 `json:"counters"` // the app's
	Shards  []ShardCounters   `json:"shards"`

	counters []Counter // as Counts, in the app's order
	kernel   bool      // of the shards, only the connections are known
}

func (s *Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "stopped %s after %.1f s:", s.App, s.Seconds)
	for i, c := range s.counters {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s %d", c.Name, c.Value)
	}
	for i, c := range s.Shards {
		if s.kernel {
			fmt.Fprintf(&b, "\nshard %d: connections %d", i, c.Connections)
			continue
		}
		fmt.Fprintf(&b, "\nshard %d: connections %d, datagrams %d, packets in %d, out %d, wrong shard %d, handed over %d, "+
			"retransmits %d, dropped in %d, out %d",
			i, c.Connections, c.Datagrams, c.RxPackets, c.TxPackets, c.WrongShard, c.HandedOver,
			c.Retransmits, c.RxDropped, c.TxDropped)
		for n, name := range slices.Sorted(maps.Keys(c.Drops)) {
			fmt.Fprintf(&b, "%s%s %d", [2]string{" (", ", "}[min(n, 1)], name, c.Drops[name])
		}
		if len(c.Drops) > 0 {
			b.WriteByte(')')
		}
		if c.RxFaults != nil {
			fmt.Fprintf(&b, "\nshard %d faults: in %v; out %v", i, c.RxFaults, c.TxFaults)
		}
	}
	return b.String()
}

// Check is what the cable's other end found.
type Check struct {
	Event             string  `json:"event"` // "checked"
	Workload          string  `json:"workload"`
	Connections       int     `json:"connections"`
	Requests          uint64  `json:"requests"`
	RequestsPerSecond float64 `json:"requests_per_second"`
	P50Micros         float64 `json:"p50_us"`
	P99Micros         float64 `json:"p99_us"`
	Lost              uint64  `json:"lost"`
	Errors            uint64  `json:"errors"`
}

func newCheck(w load.Workload, r *load.Result) *Check {
	return &Check{
		Event: "checked", Workload: w.Name, Connections: r.Conns,
		Requests: r.Requests, RequestsPerSecond: r.Rate(),
		P50Micros: micros(r.Quantile(50)), P99Micros: micros(r.Quantile(99)),
		Lost: r.Lost, Errors: r.Errors,
	}
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (c *Check) String() string {
	return fmt.Sprintf("checked %s: %d connections, %d requests, %.0f/s, p50 %.0f µs, p99 %.0f µs, %d lost, %d errors",
		c.Workload, c.Connections, c.Requests, c.RequestsPerSecond, c.P50Micros, c.P99Micros, c.Lost, c.Errors)
}

// say prints one of the above, as a line for people or for machines.
func (c *Config) say(v fmt.Stringer) error {
	w := c.Output
	if w == nil {
		w = os.Stdout
	}
	if c.JSON {
		return json.NewEncoder(w).Encode(v)
	}
	_, err := io.WriteString(w, v.String()+"\n")
	return err
}
