package bench

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/cmd/shardnet/internal/report"
)

// Units of a workload's rate.
const (
	requestsPerSecond    = "requests/s"
	connectionsPerSecond = "connections/s"
	bytesPerSecond       = "bytes/s"
)

// workload is a row of the report: what is asked, and of whom. Its work lacks what
// Config says: durations and addresses.
type workload struct {
	name    string
	params  map[string]string // what tells it from its namesakes
	app     string
	unit    string
	servers lineup
	mtu     int // of the link; 0 is 1500
	shards  int // of the server, on a cable in memory; 0 is one, wherever
	most    int // repetitions, if fewer than asked for; 0 is no bound
	work    rawload.Work
}

// id names the workload as --run has it: "tcp-rr/conns=64,size=64".
func (w *workload) id() string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(w.params)) {
		words = append(words, k+"="+w.params[k])
	}
	if len(words) == 0 {
		return w.name
	}
	return w.name + "/" + strings.Join(words, ",")
}

// matches reports whether one of the patterns, as path.Match has them, is for the
// workload: for its name, its name and parameters, or its name and one parameter.
func (w *workload) matches(patterns []string) bool {
	names := []string{w.name, w.id()}
	for k, v := range w.params {
		names = append(names, w.name+"/"+k+"="+v)
	}
	for _, p := range patterns {
		for _, n := range names {
			if ok, err := path.Match(p, n); err == nil && ok {
				return true
			}
		}
	}
	return false
}

// lineup is the kinds of server that can do a workload.
type lineup struct {
	asked []string // in the order they take turns: those that tell something the others don't
	also  []string // asked when they are named
}

// The servers of the workloads.
var (
	udpEchoServers  = lineup{asked: []string{Reflector, Handler, Conn, Netstack, Kernel, KernelNoRPS}}
	tcpEchoServers  = lineup{asked: []string{Reflector, Handler, HandlerFast, Conn, ConnFast, Netstack, Kernel, KernelNoRPS}}
	udpGetServers   = lineup{asked: []string{Reflector, Handler, Conn, Netstack, Kernel, MemcachedC}}
	tcpGetServers   = lineup{asked: []string{Reflector, Handler, HandlerFast, Conn, ConnFast, Kernel, MemcachedC}, also: []string{Netstack, KernelNoRPS}}
	udpLowServers   = lineup{asked: []string{Reflector, Handler, Kernel}, also: []string{Conn, Netstack, KernelNoRPS}}
	tcpLowServers   = lineup{asked: []string{Reflector, Handler, HandlerFast, ConnFast, Kernel}, also: udpLowServers.also}
	bulkServers     = lineup{asked: []string{Handler, HandlerFast, ConnFast, Kernel, KernelOffload}, also: []string{Conn, Netstack}}
	udpShardServers = lineup{asked: []string{Handler}}
	tcpShardServers = lineup{asked: []string{Handler, HandlerFast}}
)

// idleServers are asked to hold n connections. The more there are the longer that
// takes, and the fewer servers are worth it.
func idleServers(n int) lineup {
	all := []string{Handler, HandlerFast, Conn, ConnFast, Netstack, Kernel}
	switch {
	case n <= 50_000:
		return lineup{asked: all}
	case n <= manyIdle:
		return lineup{asked: []string{Handler, HandlerFast, ConnFast, Kernel}, also: all}
	}
	return lineup{asked: []string{HandlerFast}, also: all}
}

// Defaults of the workloads that Config can change.
var (
	defaultConnections = []int{1, 64, 512}
	defaultSizes       = []int{64}
)

const (
	outstanding    = 64 // requests under way in UDP workloads
	echoSize       = 64 // bytes of a request
	memcachedKeys  = 10_000
	memcachedValue = 64
	// memcachedZipf is the exponent of the key choice: the load of many caches
	// (Atikoglu et al., SIGMETRICS 2012) is about as skewed.
	memcachedZipf = 1.01
)

// workloads are all there are, in the order they are run.
func workloads(cfg *Config) []*workload {
	var all []*workload
	add := func(w *workload) { all = append(all, w) }
	for _, size := range orDefault(cfg.Sizes, defaultSizes) {
		add(&workload{
			name: report.UDPEcho, params: map[string]string{report.ParamSize: strconv.Itoa(size), "outstanding": strconv.Itoa(outstanding)},
			app: "echo", unit: requestsPerSecond, servers: udpEchoServers,
			work: rawload.Work{Kind: rawload.UDPEcho, Conns: outstanding, Window: outstanding, Payload: size},
		})
	}
	memcached := func(name string, kind rawload.Kind, conns int, key string, servers lineup) {
		add(&workload{
			name: name, params: map[string]string{key: strconv.Itoa(conns), "keys": strconv.Itoa(memcachedKeys),
				"value": strconv.Itoa(memcachedValue), "dist": fmt.Sprintf("zipf-%g", memcachedZipf)},
			app: "memcached", unit: requestsPerSecond, servers: servers,
			work: rawload.Work{Kind: kind, Conns: conns, Keys: memcachedKeys, Value: memcachedValue, Zipf: memcachedZipf},
		})
	}
	memcached(report.MemcachedUDPGet, rawload.MemcachedUDP, outstanding, "outstanding", udpGetServers)
	conns := orDefault(cfg.Connections, defaultConnections)
	for _, n := range conns {
		for _, size := range orDefault(cfg.Sizes, defaultSizes) {
			add(&workload{
				name: report.TCPRR, params: map[string]string{report.ParamConns: strconv.Itoa(n), report.ParamSize: strconv.Itoa(size)},
				app: "echo", unit: requestsPerSecond, servers: tcpEchoServers,
				work: rawload.Work{Kind: rawload.TCPEcho, Conns: n, Payload: size},
			})
		}
	}
	add(&workload{
		name: report.TCPCRR, params: map[string]string{report.ParamConns: "64", report.ParamSize: strconv.Itoa(echoSize)},
		app: "echo", unit: connectionsPerSecond, servers: tcpEchoServers,
		work: rawload.Work{Kind: rawload.TCPConnect, Conns: 64, Payload: echoSize},
	})
	for _, n := range conns {
		if n > 1 {
			memcached(report.MemcachedGet, rawload.MemcachedTCP, n, report.ParamConns, tcpGetServers)
		}
	}
	for _, proto := range []string{"udp", "tcp"} {
		kind, servers := rawload.UDPEcho, udpLowServers
		if proto == "tcp" {
			kind, servers = rawload.TCPEcho, tcpLowServers
		}
		for _, rate := range []int{1000, 20000} {
			add(&workload{
				name: report.LowLoad, params: map[string]string{"proto": proto, report.ParamRate: strconv.Itoa(rate), report.ParamSize: strconv.Itoa(echoSize)},
				app: "echo", unit: requestsPerSecond, servers: servers,
				work: rawload.Work{Kind: kind, Conns: 16, Payload: echoSize, Rate: float64(rate)},
			})
		}
	}
	for _, mtu := range orDefault(cfg.MTUs, []int{defaultMTU, largeMTU}) {
		for _, flows := range []int{1, 8} {
			params := map[string]string{report.ParamFlows: strconv.Itoa(flows), report.ParamMTU: strconv.Itoa(mtu)}
			// Receiving and sending are the server's: the generator does the other.
			add(&workload{name: report.BulkReceive, params: params, app: "sink", unit: bytesPerSecond, servers: bulkServers, mtu: mtu,
				work: rawload.Work{Kind: rawload.BulkSend, Conns: flows}})
			add(&workload{name: report.BulkSend, params: params, app: "source", unit: bytesPerSecond, servers: bulkServers, mtu: mtu,
				work: rawload.Work{Kind: rawload.BulkReceive, Conns: flows}})
		}
	}
	for _, n := range orDefault(cfg.Idle, []int{10_000, 200_000, 1_000_000}) {
		add(&workload{
			name: report.Idle, params: map[string]string{report.ParamConns: strconv.Itoa(n)},
			app: "echo", unit: connectionsPerSecond, servers: idleServers(n),
			most: 1, // what it is for, memory, hardly varies, and it takes long
			work: rawload.Work{Kind: rawload.Idle, Conns: n, Payload: echoSize},
		})
	}
	for _, proto := range []string{"udp", "tcp"} {
		kind, servers := rawload.UDPEcho, udpShardServers
		if proto == "tcp" {
			kind, servers = rawload.TCPEcho, tcpShardServers
		}
		for _, n := range []int{1, 2} {
			add(&workload{
				name: report.Shards, params: map[string]string{"proto": proto, report.ParamShards: strconv.Itoa(n), report.ParamSize: strconv.Itoa(echoSize)},
				app: "echo", unit: requestsPerSecond, servers: servers, shards: n,
				work: rawload.Work{Kind: kind, Conns: 256, Payload: echoSize}, // by each generator
			})
		}
	}
	for _, w := range all {
		w.work.Timeout = requestTimeout
	}
	return all
}

// requestTimeout is when a datagram counts as lost: many times what the slowest
// server takes.
const requestTimeout = 200 * time.Millisecond

const (
	defaultMTU = 1500
	largeMTU   = 9000
)

func orDefault(given, def []int) []int {
	if len(given) > 0 {
		return given
	}
	return def
}
