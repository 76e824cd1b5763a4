package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"shardnet/cmd/shardnet/internal/load"
)

// Config says how to run the demo.
type Config struct {
	// Driver is that of our servers: "afxdp", "asavie" or "mem".
	Driver string
	// Why says for what reason Driver is "mem", if it was not asked for.
	Why string
	// Duration is the measured time of each workload on each server.
	Duration time.Duration
	// Conns are the TCP connections, and UDP sockets, of a workload.
	TCPConns, UDPConns int
	// Program is the path of this program, to start servers with.
	Program string

	JSON   bool
	Output io.Writer // what is found
	Log    io.Writer // what the servers log
}

// shards is how many shards our servers have: as many as the veth pair queues.
const shards = 2

// port is where all servers listen, of either app.
const port = 7777

// Row is a line of the table: one workload on one server.
type Row struct {
	Workload          string   `json:"workload"`
	Server            string   `json:"server"` // "shardnet" or "kernel"
	Driver            string   `json:"driver"`
	Mode              string   `json:"mode"`
	Connections       int      `json:"connections"`
	Requests          uint64   `json:"requests"`
	RequestsPerSecond float64  `json:"requests_per_second"`
	P50Micros         float64  `json:"p50_us"`
	P99Micros         float64  `json:"p99_us"`
	PerShard          []uint64 `json:"per_shard,omitempty"`   // connections of TCP, datagrams of UDP; not known of the kernel's UDP
	WrongShard        *uint64  `json:"wrong_shard,omitempty"` // packets; for our TCP only
	Retransmits       *uint64  `json:"retransmits,omitempty"` // segments; for our TCP only
	Lost              uint64   `json:"lost"`                  // datagrams sent again
	Errors            uint64   `json:"errors"`                // sessions without their answer, or with a wrong one
}

// Report is all the demo found.
type Report struct {
	Driver  string  `json:"driver"`
	Network string  `json:"network"` // between clients and servers
	Rows    []Row   `json:"rows"`
	Seconds float64 `json:"seconds"`
	OK      bool    `json:"ok"`
}

// appWorkloads are what each app is asked.
var appWorkloads = []struct {
	app       string
	args      []string
	workloads []load.Workload
}{
	{"echo", nil, []load.Workload{load.EchoTCP, load.EchoUDP}},
	{"memcached", []string{"--udp"}, []load.Workload{load.MemcachedTCP, load.MemcachedUDP}},
}

// place is where servers run and how clients reach them.
type place interface {
	// banner says in a line what is about to be seen.
	banner() string
	// network says what lies between client and server, for the report.
	network() string
	// serve starts app on the kind of server: "shardnet" or "kernel".
	serve(ctx context.Context, app string, args []string, kind string) (*server, error)
	// dial is how clients reach a server; nil for one that asks itself.
	dial(kind string) load.Dial
	close() error
}

// Run runs the demo. The error says what was wrong with the answers, or what
// kept the demo from asking.
func Run(ctx context.Context, cfg Config) (err error) {
	began := time.Now()
	p, err := newPlace(&cfg)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := p.close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", cerr))
		}
	}()
	d := &demo{cfg: &cfg, place: p, report: Report{Driver: cfg.Driver, Network: p.network()}}
	if err := d.sayf("%s\n", p.banner()); err != nil {
		return err
	}
	var wrong []error
	for _, kind := range []string{"shardnet", "kernel"} {
		for _, a := range appWorkloads {
			if err := d.run(ctx, a.app, a.args, kind, a.workloads); err != nil {
				wrong = append(wrong, fmt.Errorf("%s on %s: %w", a.app, kind, err))
			}
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
		}
	}
	d.report.Seconds = time.Since(began).Seconds()
	d.report.OK = len(wrong) == 0
	return errors.Join(append(wrong, d.print())...)
}

func newPlace(cfg *Config) (place, error) {
	if cfg.Driver == "mem" {
		return &memory{cfg: cfg}, nil
	}
	return newLab(cfg)
}

type demo struct {
	cfg    *Config
	place  place
	report Report
}

// sayf prints progress, for people.
func (d *demo) sayf(format string, args ...any) error {
	if d.cfg.JSON {
		return nil
	}
	_, err := fmt.Fprintf(d.cfg.Output, format, args...)
	return err
}

// run serves app and asks it all workloads. It adds a row for each, and returns
// what was wrong.
func (d *demo) run(ctx context.Context, app string, args []string, kind string, workloads []load.Workload) error {
	s, err := d.place.serve(ctx, app, args, kind)
	if err != nil {
		return err
	}
	defer s.kill()
	start, err := s.started()
	if err != nil {
		return err
	}
	if err := d.sayf("%s\n", start); err != nil {
		return err
	}
	var rows []Row
	var wrong []error
	if dial := d.place.dial(kind); dial != nil {
		for _, w := range workloads {
			res := load.Run(ctx, load.Config{
				Workload: w, Dial: dial, Addresses: start.Addresses,
				Conns: d.conns(w), Duration: d.cfg.Duration,
			})
			wrong = append(wrong, res.Err())
			rows = append(rows, measured(w, res))
		}
	} else if rows, err = s.checks(len(workloads)); err != nil {
		return err
	}
	sum, err := s.stop()
	if err != nil {
		return errors.Join(append(wrong, err)...)
	}
	for i, w := range workloads {
		r := &rows[i]
		r.Server, r.Driver, r.Mode = kind, start.Driver, start.Mode
		r.count(w, sum)
		wrong = append(wrong, r.verify())
	}
	d.report.Rows = append(d.report.Rows, rows...)
	return errors.Join(wrong...)
}

func (d *demo) conns(w load.Workload) int {
	if w.Network == "udp" {
		return d.cfg.UDPConns
	}
	return d.cfg.TCPConns
}
