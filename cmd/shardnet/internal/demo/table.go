package demo

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"shardnet/cmd/shardnet/internal/load"
	"shardnet/cmd/shardnet/internal/serve"
)

func measured(w load.Workload, r *load.Result) Row {
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Row{
		Workload: w.Name, Connections: r.Conns, Requests: r.Requests, RequestsPerSecond: r.Rate(),
		P50Micros: micros(r.Quantile(50)), P99Micros: micros(r.Quantile(99)), Lost: r.Lost, Errors: r.Errors,
	}
}

// count takes from a server's summary what belongs to the row.
func (r *Row) count(w load.Workload, sum *serve.Summary) {
	ours := r.Server == "shardnet"
	if w.Network == "udp" && !ours {
		return
	}
	var wrong uint64
	for _, s := range sum.Shards {
		wrong += s.WrongShard
		if w.Network == "udp" {
			r.PerShard = append(r.PerShard, s.Datagrams)
		} else {
			r.PerShard = append(r.PerShard, s.Connections)
		}
	}
	if w.Network == "tcp" && ours {
		r.WrongShard = &wrong
	}
}

// verify says what is wrong with a row whose answers were all right: a shard of
// ours that had nothing to do.
func (r *Row) verify() error {
	if r.Server != "shardnet" || r.Errors > 0 {
		return nil
	}
	if len(r.PerShard) != shards {
		return fmt.Errorf("%s: served on %d shards, not %d", r.Workload, len(r.PerShard), shards)
	}
	for i, n := range r.PerShard {
		if n == 0 {
			return fmt.Errorf("%s: shard %d got nothing of %d connections", r.Workload, i, r.Connections)
		}
	}
	return nil
}

// print writes the report.
func (d *demo) print() error {
	if d.cfg.JSON {
		return json.NewEncoder(d.cfg.Output).Encode(d.report)
	}
	w := tabwriter.NewWriter(d.cfg.Output, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\nworkload\tserver\tclients\trequests/s\tp50\tp99\tper shard\twrong shard\tlost\terrors\t")
	for _, r := range d.report.Rows {
		wrong := "-"
		if r.WrongShard != nil {
			wrong = fmt.Sprint(*r.WrongShard)
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%d\t%d\t\n", r.Workload, r.Server, r.Connections, r.RequestsPerSecond,
			duration(r.P50Micros), duration(r.P99Micros), perShard(r.PerShard), wrong, r.Lost, r.Errors)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "every answer was right"
	if !d.report.OK {
		verdict = "NOT every answer was right"
	}
	return d.sayf("per shard: connections of TCP, datagrams of UDP. %s: %s. %.1f s, %s.\n",
		"Clients and servers share this machine's cores", d.report.Network, d.report.Seconds, verdict)
}

func duration(micros float64) string {
	if micros < 1000 {
		return fmt.Sprintf("%.0f µs", micros)
	}
	return fmt.Sprintf("%.1f ms", micros/1000)
}

func perShard(n []uint64) string {
	if n == nil {
		return "-"
	}
	return strings.ReplaceAll(strings.Trim(fmt.Sprint(n), "[]"), " ", "+")
}
